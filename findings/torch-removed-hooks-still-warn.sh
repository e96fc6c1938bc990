#!/usr/bin/env bash
# A common forward hook with keyword arguments cannot be removed entirely, and compiled modules warn from then on.
#
# Versions: torch 2.13.0 (CPU), Python 3.11. TORCH="torch==2.13.0 --index-url URL" takes another build.
#
# Expected: `handle.remove()` of `register_module_forward_hook(hook, with_kwargs=True)` leaves torch as it was before.
# Seen: an entry stays in `_global_forward_hooks_with_kwargs`, so that torch believes in common hooks for good: every later call of
#   every module that `torch.compile` gave warns "Using `torch.compile(module)` when there are global hooks on modules".
# Matters because: a tool that uses such a hook once makes every compiled training after it warn about hooks that are gone, and under
#   `-W error` fail. ranklog, which finds the next forward of a module by such hooks, removes the entry itself.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
# shellcheck disable=SC2086
"$work/venv/bin/pip" install --quiet ${TORCH:-torch==2.13.0} numpy
"$work/venv/bin/python" - <<'PY'
import warnings, torch
from torch.nn.modules import module as common


def warned(call):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call()
    return [str(each.message)[:60] for each in seen if "global hooks" in str(each.message)]


net = torch.compile(torch.nn.Linear(2, 2), backend="eager")
batch = torch.ones(1, 2)
assert warned(lambda: net(batch)) == []
handle = common.register_module_forward_hook(lambda module, args, kwargs, result: None, with_kwargs=True)
handle.remove()
print("after remove():", dict(common._global_forward_hooks_with_kwargs), warned(lambda: net(batch)))
assert len(common._global_forward_hooks_with_kwargs) == 1 and warned(lambda: net(batch))
PY
