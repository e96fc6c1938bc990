"""Facts and flattened parameters as W&B's nested config. Pure.

W&B shows nested mappings as dotted columns and filters by them, but it cannot address a key that contains a dot.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ranklog.model.record import Attempt, RunFacts
from ranklog.model.spec import Scalar


def run_facts(facts: RunFacts) -> dict[str, Scalar]:
    """Return the entries of the config for a run."""
    return {"ranklog.run_id": facts.run_id, "ranklog.command": " ".join(facts.command)}


def attempt_facts(attempt: Attempt) -> dict[str, Scalar]:
    """Return the entries of the config for an attempt."""
    place = attempt.place
    return {
        "ranklog.attempt": attempt.attempt,
        "ranklog.host": attempt.host,
        "ranklog.world_size": place.world_size,
        "ranklog.node_count": place.node_count,
        "ranklog.launcher": place.launcher,
        "ranklog.job_id": place.job_id,
    }


def merge_params(config: Mapping[str, Any], values: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return the top-level entries of ``config`` that change when ``values`` are merged into it.

    A name is nested at its dots. If that is impossible (an empty part, or a scalar in the way), it stays unchanged.

    Example:
        >>> merge_params({"optimizer": {"lr": 0.1}}, {"optimizer.name": "adam", "seed": 1})
        {'optimizer': {'lr': 0.1, 'name': 'adam'}, 'seed': 1}
        >>> merge_params({"a": 1}, {"a.b": 2})
        {'a.b': 2}
    """
    changed: dict[str, Any] = {}
    for name, value in values.items():
        root, *rest = name.split(".")
        tree = {root: copy.deepcopy(changed[root] if root in changed else config.get(root, {}))}
        if all((root, *rest)) and _put(tree, (root, *rest), value):
            changed[root] = tree[root]
        else:
            changed[name] = value
    return changed


def _put(tree: dict[str, Any], parts: tuple[str, ...], value: Scalar) -> bool:
    *parents, leaf = parts
    node: Any = tree
    for part in parents:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            return False
    if isinstance(node.get(leaf), dict) and node[leaf]:
        return False
    node[leaf] = value
    return True
