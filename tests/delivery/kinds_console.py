"""What lies in the console's folder of a run of each kind. Lines are not kept: see test_console.py."""

from __future__ import annotations

from pathlib import Path

from items import gif, png, wav

FILES = {
    "text": ("lines, file", b"a text of its own"),
    "html": ("file", b"<b>a page of its own</b>"),
    "artifact": ("file", b"bytes of its own"),
    "torch": ("file", b"PK-tensors"),
    "model": ("file", b"PK-state"),
    "best_model": ("file", b"PK-best"),
    "image": ("file", png(3, 2)),
    "figure": ("file", png(5, 2)),
    "audio": ("file", wav([0, 1000, -1000, 0], 8000)),
    "video": ("file", gif(3)),
    "alert": ("lines, file", b"what happened"),
    "embedding": ("file", b"label\tscore\na\t1\nb\t2\nc\t3\n"),
}
PARTS = {
    "dict": ("file", b'"depth":3'),
    "table": ("first rows, file", b'[2,"y"]'),
    "histogram": ("file", b'"counts":[4,6]'),
    "dataset": ("line, file", b'"digest":"0123456789abcdef"'),
    "graph": ("file", b'"net/0/linear"'),
    "pr_curve": ("file", b'"thresholds":[0.0,0.5,1.0]'),
    "prov_documents": ("file", b'"create_graph":false'),
}


def found(savedir: Path, run_id: str, known: dict[str, str]) -> dict[str, str]:
    """Kind to the form in which it is there."""
    stored = [path.read_bytes() for path in Path(known["directory"]).rglob("*") if path.is_file()]
    forms = {kind: form for kind, (form, body) in FILES.items() if body in stored}
    forms |= {kind: form for kind, (form, part) in PARTS.items() if any(part in body for body in stored)}
    return forms | {"metric": "line", "param": "block"}
