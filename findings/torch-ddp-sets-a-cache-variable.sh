#!/usr/bin/env bash
# Creating a DDP model puts a folder of this machine into the environment that child processes inherit.
#
# Versions: torch 2.13.0 (CPU), Python 3.11. TORCH="torch==2.13.0 --index-url URL" selects another build.
#
# Expected: `DistributedDataParallel(model)`, without `torch.compile`, leaves `os.environ` as it is.
# Seen: it imports torch's compiler, which sets `TORCHINDUCTOR_CACHE_DIR` to a folder in the temporary directory. Each process
#   that this one starts inherits the variable. It creates that folder when it makes a DDP model itself:
#     {'TORCHINDUCTOR_CACHE_DIR': '/tmp/torchinductor_ada'}
#     child without that temporary directory: NotADirectoryError
#     the same child without the variable: fine
# Matters because: a job script in Python that trains, then submits a job into a container with a read-only or missing
#   temporary directory, passes the variable on. That job fails in DDP although it never compiles. ranklog's own tests
#   failed so. They remove the variable now.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ${TORCH:-torch==2.13.0} numpy
cat > "$work/train.py" <<'PY'
import os
import sys

import torch

torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
print(os.environ["TORCHINDUCTOR_CACHE_DIR"])
torch.distributed.destroy_process_group()
PY
env -u TORCHINDUCTOR_CACHE_DIR "$work/venv/bin/python" - "$work" <<'PY'
import os
import subprocess
import sys

work = sys.argv[1]
python = f"{work}/venv/bin/python"


def train(store: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [python, f"{work}/train.py", f"{work}/{store}"]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True)


inherited = train("first").stdout.strip()
print({"TORCHINDUCTOR_CACHE_DIR": inherited})
assert inherited, "no longer set"
# A file in place of the temporary directory of the first process: the folder cannot be created.
open(f"{work}/gone", "w").close()
failed = train("second", TORCHINDUCTOR_CACHE_DIR=f"{work}/gone/{os.path.basename(inherited)}")
assert failed.returncode and "NotADirectoryError" in failed.stderr, failed.stderr
print("child without that temporary directory: NotADirectoryError")
assert train("third").returncode == 0
print("the same child without the variable: fine")
PY
