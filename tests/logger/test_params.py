"""Hyper-parameters as one level of stable names and values."""

import numpy as np
import pytest

from ranklog.logger.hyperparameters import flatten
from ranklog.model.errors import InvalidArgumentError


def test_nested_names_are_joined_by_dots() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": None}) == {"a.b.c": 1, "d": None}


def test_values_are_plain_scalars_or_stable_texts() -> None:
    class Model:
        pass

    flat = flatten({"np": np.float32(0.5), "list": [1, "x"], "type": Model, "object": Model(), "huge": 2**80, "e": {}})
    assert flat["np"] == 0.5
    assert flat["list"] == '[1, "x"]'
    assert flat["huge"] == str(2**80)
    assert "0x" not in f"{flat['object']}{flat['type']}"
    assert flat["e"] == "{}"


def test_a_name_with_a_newline_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="printable"):
        flatten({"a\nb": 1})
