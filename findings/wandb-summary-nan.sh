#!/usr/bin/env bash
# One NaN makes W&B's summary "min", "max" and "mean" permanently NaN.
#
# Versions: wandb 0.31.0, Python 3.11.
# Expected: `define_metric("loss", summary="min")` returns the smallest loss; W&B keeps the NaN in the history as a gap.
# Seen: with losses 3, NaN, 1, 2 the summary has {"min": NaN, "max": NaN, "mean": NaN}. Without the NaN, it is correct.
# Matters because: one bad step hides the best value of a run, which is used to sort runs and to judge sweeps. ranklog
#   computes the best value and writes it to the summary.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check wandb==0.31.0
cd "$dir"
env -i PATH="$PATH" HOME="$dir" WANDB_MODE=offline WANDB_ERROR_REPORTING=false "$dir/venv/bin/python" - <<'PYTHON'
import math

import wandb


def summary(losses):
    run = wandb.init(project="p", settings=wandb.Settings(silent=True, console="off", x_disable_stats=True))
    run.define_metric("loss", summary="min,max,mean")
    for loss in losses:
        run.log({"loss": loss})
    found = run.summary.get("loss")
    found = {what: found[what] for what in ("min", "max", "mean")}
    run.finish()
    return found


plain, with_nan = summary([3.0, 1.0, 2.0]), summary([3.0, math.nan, 1.0, 2.0])
print("without NaN", plain, "\nwith one NaN", with_nan)
assert plain == {"min": 1, "max": 3, "mean": 2}
assert all(math.isnan(value) for value in with_nan.values())
PYTHON
