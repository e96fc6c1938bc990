#!/usr/bin/env bash
# A global forward hook with keyword arguments cannot be removed entirely, and compiled modules warn from then on.
#
# Versions: torch 2.13.0 (CPU), Python 3.11. TORCH="torch==2.13.0 --index-url URL" selects another build.
#
# Expected: `handle.remove()` of `register_module_forward_hook(hook, with_kwargs=True)` restores torch's previous state.
# Seen: an entry stays in `_global_forward_hooks_with_kwargs`, so torch assumes global hooks from then on. Every later call of
#   every module returned by `torch.compile` warns "Using `torch.compile(module)` when there are global hooks on modules".
# Matters because: after one use of such a hook, every compiled training warns about hooks that no longer exist. With
#   `-W error`, it fails. ranklog uses such hooks to find the next forward pass of a module, and removes the entry.
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
