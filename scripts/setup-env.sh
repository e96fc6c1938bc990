#!/usr/bin/env bash
# Creates or completes the environment in $1 and marks it as ready. Reads PYTHON and TORCH.
set -euo pipefail
venv=${1:?usage: setup-env.sh VENV}
python=${PYTHON:-python3}
"$python" - <<'PY' || { echo "ranklog needs Python 3.10 or newer; name one with: make PYTHON=python3.11 …" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 10))
PY
if [ ! -x "$venv/bin/python" ]; then
    echo "Creating the environment in $venv"
    "$python" -m venv "$venv" || { echo "No venv module: apt-get install python3-venv" >&2; exit 1; }
fi
# Bytecode is compiled afterwards on all cores; pip would compile it on one.
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$1" --no-compile "${@:2}"; }
# Install torch first: a requirement of another package would select the newest build. Word splitting is intended.
# shellcheck disable=SC2086
"$venv/bin/python" -c 'import torch' 2>/dev/null || { echo "Installing ${TORCH}"; pip install -q ${TORCH}; }
echo "Installing ranklog with every backend and the tools of its tests (a few minutes the first time)"
pip install -q -e '.[dev]'
"$venv/bin/python" -m compileall -q -j 0 "$venv"/lib >/dev/null || true # some packages contain files for other Pythons
touch "$venv/.ready"
