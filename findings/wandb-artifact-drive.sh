#!/usr/bin/env bash
# Versions: wandb 0.31.0, Python 3.11 on Linux.
# Expected: a file name that Linux allows is a valid path in an artifact; the docs name no forbidden characters.
# Seen: add_file(…, name="a:b.csv") raises ValueError: Invalid artifact path. One letter followed by a colon is a drive
#   on Windows. "ab:c.csv" is accepted.
# Matters because: names such as "t:0.5.ckpt" are valid on Linux. A logger that treats the error as a network problem retries the
#   artifact forever. ranklog writes the colon as _x003A_ in such a path.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q "wandb==0.31.0"
cd "$folder"
echo x > file.csv
WANDB_MODE=offline WANDB_DIR="$folder" WANDB_CACHE_DIR="$folder" WANDB_DATA_DIR="$folder" "$folder/venv/bin/python" - <<'PY'
import wandb

def outcome(name):
    try:
        wandb.Artifact("files", type="dataset").add_file("file.csv", name=name)
    except ValueError as error:
        return str(error)
    return "taken"

found = {name: outcome(name) for name in ("a:b.csv", "ab:c.csv", "b.csv")}
print(found)
assert found == {"a:b.csv": "Invalid artifact path: 'a:b.csv'", "ab:c.csv": "taken", "b.csv": "taken"}
PY
