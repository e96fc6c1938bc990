"""What another thread is importing at the moment counts as not imported."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path

import pytest

from ranklog.values.loaded import loaded
from ranklog.values.plain import to_plain


def test_a_module_in_the_midst_of_its_import_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pandas.py").write_text("import gate\ngate.reached.set()\ngate.go_on.wait(60)\nNA = NaT = object()\n")
    (tmp_path / "gate.py").write_text("import threading\nreached, go_on = threading.Event(), threading.Event()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    gate = importlib.import_module("gate")
    thread = threading.Thread(target=importlib.import_module, args=("pandas",))
    thread.start()
    assert gate.reached.wait(60)
    try:
        assert loaded("pandas") is None
        assert to_plain(["a", 1, None]) == ["a", 1, None]
    finally:
        gate.go_on.set()
        thread.join()
    assert loaded("pandas") is sys.modules["pandas"] and loaded("json") is not None and loaded("no_such") is None
    for name in ("pandas", "gate"):
        del sys.modules[name]
