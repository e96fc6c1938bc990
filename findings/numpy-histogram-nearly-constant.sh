#!/usr/bin/env bash
# Versions: numpy 2.4.6, Python 3.11
# Expected: numpy.histogram counts any finite values. It does so for equal values, by widening their range by 0.5 per side.
# Seen: it raises ValueError if values differ by a few units in the last place, are equal and large, or span all floats:
#   [1.0, 1.0000000000000004] -> Too many bins for data range. Cannot create 10 finite-sized bins.
#   [1e+17, 1e+17] -> the same; [-1e+308, 1e+308] -> the same
# Matters because: weights of a collapsed or untrained layer are such values. A logger that counts them with numpy ends the
#   training. ranklog widens the range until float64 can distinguish the edges.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np

np.histogram([3.0, 3.0])
for values in ([1.0, 1.0 + 4e-16], [1e17, 1e17], [-1e308, 1e308]):
    try:
        np.histogram(values)
    except ValueError as error:
        print(values, "->", error)
        assert "Too many bins for data range" in str(error)
    else:
        raise SystemExit(f"numpy counts {values} now")
PY
