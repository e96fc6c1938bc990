#!/usr/bin/env bash
# Versions: mlflow 3.17.2 with its SQLite store, Python 3.11.
#
# Expected: if several values are logged for one metric at one step, the last one is the metric's latest value, which
#   `get_run`, the table of runs and `search_runs` show.
#
# Seen: MLflow stores milliseconds, and the highest (step, millisecond, value) is the latest. Within a millisecond, the
#   largest value wins and NaN counts as 0, regardless of the order of the calls:
#     logged 5, then 3       latest 5
#     logged nan, then -1    latest nan
#     logged -1, then nan    latest nan
#     logged 1, then nan     latest 1
#   A diverged loss is hidden if it was above 0, and a metric that has recovered to a negative value stays NaN.
#
# Matters because: a script may log a value twice in a row, or batches with one timestamp. The table of runs then shows a
#   value other than the last one. ranklog gives a later value of a step a later millisecond.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q mlflow==3.17.2
cd "$folder"
MLFLOW_DISABLE_TELEMETRY=true venv/bin/python - <<'PY'
import math

from mlflow import MlflowClient
from mlflow.entities import Metric

client = MlflowClient("sqlite:///mlflow.db")
run = client.create_run(client.create_experiment("e")).info.run_id
cases = {"a": (5.0, 3.0), "b": (math.nan, -1.0), "c": (-1.0, math.nan), "d": (1.0, math.nan)}
for name, values in cases.items():
    for value in values:  # one request each: the order in which they come is not in doubt
        client.log_batch(run, metrics=[Metric(name, value, timestamp=1_700_000_000_000, step=0)])
latest = {name: str(value) for name, value in client.get_run(run).data.metrics.items()}
for name, (first, second) in cases.items():
    print(f"logged {first:g}, then {second:g}: latest {latest[name]}")
assert latest == {"a": "5.0", "b": "nan", "c": "nan", "d": "1.0"}, latest
PY
