"""What became of `Run.each_kind` in a provenance document, by the reader of the library ``prov``."""

from __future__ import annotations

import hashlib
import io
import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from prov.model import ProvDocument, ProvEntity, ProvGeneration, ProvUsage


class Document:
    """A provenance document read back, by what people know of it: kinds and names.

    Attributes:
        document: As the library reads it.
        folder: Where it lies.
    """

    def __init__(self, path: Path, format: str = "json", **options: str) -> None:
        self.document = ProvDocument.deserialize(path, format=format, **options)
        self.folder = path.parent

    def facts(self, record: Any) -> dict[str, Any]:
        """Attributes of a record by their local names; those that occur several times as list."""
        found: dict[str, list[Any]] = {}
        for name, value in record.attributes:
            found.setdefault(name.localpart, []).append(value)
        return {name: values[0] if len(values) == 1 else values for name, values in found.items()}

    def all_of(self, type_: str) -> list[dict[str, Any]]:
        """Facts of the records of a type, with their identifier as ``id``."""
        return [
            {**self.facts(record), "id": record.identifier.localpart}
            for record in self.document.get_records()
            if record.is_element() and type_ in [each.localpart for each in record.get_asserted_types()]
        ]

    def one(self, type_: str, name: str | None = None) -> dict[str, Any]:
        """Facts of the one record of a type, with a name where that is asked for."""
        (found,) = [facts for facts in self.all_of(type_) if name is None or facts.get("name") == name]
        return found

    def relations(self, class_: type) -> set[tuple[str, str]]:
        """Pairs of identifiers in relations of a class."""
        found = set()
        for record in self.document.get_records(class_):
            ends = [value.localpart for _, value in record.formal_attributes if hasattr(value, "localpart")]
            found.add((ends[0], ends[1]))
        return found

    def content(self, facts: dict[str, Any], inside: str = "") -> bytes:
        """Content of an entity's file, or of one inside its folder, which must have the digest that the entity says."""
        data = (self.folder / facts["location"] / inside).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        listed = facts["file"] if isinstance(facts.get("file"), list) else [facts.get("file")]
        assert digest == facts["sha256"] or f"{digest}  {inside}" in listed
        return data


def found(savedir: Path, run_id: str, known: dict[str, str]) -> dict[str, str]:
    """What the document and the files beside it say of each kind."""
    assert Path(known["directory"]) == savedir / run_id
    document = Document(savedir / run_id / "provenance.json")
    generated = {entity for entity, _ in document.relations(ProvGeneration)}
    used = {entity for _, entity in document.relations(ProvUsage)}
    said: dict[str, str] = {}
    for record in document.document.get_records(ProvEntity):
        facts = {**document.facts(record), "id": record.identifier.localpart}
        kind = {"Metric": "metric", "Parameter": "param"}.get(_type(record), facts.get("kind"))
        if kind is None or facts["name"] != f"each/{kind}":
            continue
        way = "used" if facts["id"] in used else "generated" if facts["id"] in generated else "unrelated"
        if kind in FILES:
            as_it_was = FILES[kind](lambda inside="", facts=facts: document.content(facts, inside))
            said[kind] = "entity, file" if as_it_was and way == "generated" else f"wrong, {way}"
        else:
            said[kind] = f"entity, {way}" if SAID[kind](facts) else f"wrong, {way}"
    if document.one("Document")["askedForAs"] == "each/prov_documents":
        said["prov_documents"] = "document"
    return said


def _type(record: Any) -> str:
    return next(type_.localpart for type_ in record.get_asserted_types())


Read = Callable[..., bytes]


def _image(read: Read) -> Image.Image:
    return Image.open(io.BytesIO(read()))


def _sound(read: Read) -> tuple[int, list[int]]:
    with wave.open(io.BytesIO(read())) as file:
        return file.getframerate(), np.frombuffer(file.readframes(99), dtype="<i2").tolist()


FILES: dict[str, Callable[[Read], bool]] = {
    "text": lambda read: read() == b"a text of its own",
    "dict": lambda read: json.loads(read()) == {"depth": 3},
    "table": lambda read: json.loads(read()) == {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]},
    "histogram": lambda read: json.loads(read())["counts"] == [4, 6],
    "image": lambda read: (_image(read).size, _image(read).getpixel((2, 1))) == ((3, 2), (255, 0, 0)),
    "figure": lambda read: _image(read).size == (5, 2),
    "audio": lambda read: _sound(read) == (8000, [0, 1000, -1000, 0]),
    "video": lambda read: getattr(_image(read), "n_frames", 0) == 3,
    "html": lambda read: read() == b"<b>a page of its own</b>",
    "artifact": lambda read: read() == b"bytes of its own",
    "torch": lambda read: read() == b"PK-tensors",
    "model": lambda read: read("state_dict.pt") == b"PK-state",
    "best_model": lambda read: read("state_dict.pt") == b"PK-best",
    "graph": lambda read: [node["op"] for node in json.loads(read())["nodes"]][2:4] == ["linear", "relu"],
    "embedding": lambda read: (
        np.load(io.BytesIO(read("vectors.npy"))).tolist() == [[0, 1], [2, 3], [4, 5]]
        and read("metadata.tsv").splitlines()[3] == b"c\t3"
        and read("sprite.png").startswith(b"\x89PNG")
    ),
    "pr_curve": lambda read: json.loads(read())["true_positives"] == [3, 2, 0],
}
SAID: dict[str, Callable[[dict[str, Any]], bool]] = {
    "metric": lambda facts: (facts["last"], facts["lastStep"], facts["values"]) == (0.5, 1, 1),
    "param": lambda facts: facts["value"] == 0.25,
    "dataset": lambda facts: (
        (facts["dataset"], facts["digest"], facts["location"]) == ("digits", "0123456789abcdef", "/data/digits.csv")
        and (facts["rows"], facts["column"]) == (1797, ["x: float64", "label: int64"])
    ),
    "alert": lambda facts: (facts["value"], facts["option"]) == ("what happened", "level: warning"),
}
