#!/usr/bin/env bash
# `DTensor.item()` of a partial sum silently returns this rank's summand, and `clone()` of one is a collective.
#
# Versions: torch 2.13.0 (CPU, gloo), Python 3.11. TORCH="torch==2.13.0 --index-url URL" selects another build.
#
# Expected: a DTensor with placement Partial represents the sum over ranks. `item()` and `float()` return that sum, like `full_tensor()`,
#   or refuse. `clone()` is a local copy.
# Seen: `item()` and `float()` return this rank's summand, without an error or a warning: 1.0 on rank 0 and 2.0 on rank 1, although the
#   value is 3.0. `clone()` of the norm of a sharded tensor is a collective, which hangs if only one rank calls it.
# Matters because: `logger.log(weight.norm().item(), ...)` under FSDP2 stores a wrong number permanently. A logger that copies its input
#   hangs training, or pairs with a collective of the training. ranklog refuses such values and names `full_tensor()`.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
# shellcheck disable=SC2086
"$work/venv/bin/pip" install --quiet ${TORCH:-torch==2.13.0} numpy
cat > "$work/ranks.py" <<'PY'
import torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Shard

dist.init_process_group("gloo")
rank = dist.get_rank()
mesh = init_device_mesh("cpu", (2,))
total = DTensor.from_local(torch.tensor(rank + 1.0), mesh, [Partial()])
print(f"rank {rank}: item() {total.item()}, float() {float(total)}, full_tensor() {total.full_tensor().item()}", flush=True)
assert total.item() == float(total) == rank + 1.0 and total.full_tensor().item() == 3.0

norm = DTensor.from_local(torch.ones(2), mesh, [Shard(0)]).norm()
from torch.distributed.tensor.debug import CommDebugMode
with CommDebugMode() as seen:
    norm.clone()
print(f"rank {rank}: clone() of a norm runs {seen.get_total_counts()} collective", flush=True)
assert seen.get_total_counts() == 1
dist.destroy_process_group()
PY
cd "$work"
GLOO_SOCKET_IFNAME=lo "$work/venv/bin/python" -m torch.distributed.run --nproc-per-node 2 --rdzv-backend=c10d \
  --rdzv-endpoint=127.0.0.1:0 ranks.py
