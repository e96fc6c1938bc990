"""The documents hold together: links resolve, terms are explained, and the names they mention exist."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [path for path in ROOT.rglob("*.md") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
GLOSSARY = ROOT / "docs" / "reference" / "glossary.md"
EXPLAINED = [
    page
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
    if page != GLOSSARY
]

LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```.*?^ *```\s*$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
CODE = re.compile(r"`[^`\n]*`")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)

FORMS = {"superseded": r"supersed(?:e|es|ed|ing)", "requeue": r"requeue[sd]?", "set aside": r"sets? aside"}
"""Inflections of terms, as patterns; of all others the plural."""

SPELLINGS = {
    r"\bfilms?\b": "video",
    r"\bsounds?\b": "audio",
    r"\baudios\b": "audio",
    r"\bbeside (?:the )?training\b": "in the background",
    r"\btrainer lives\b": "training process",
    r"\bhyper-parameters?\b": "hyperparameters",
    r"\btime-limit\b": "time limit",
    r"\bre-queue": "requeue",
}
"""Spellings that the pages do not use, each with the one that they do."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in HEADING.findall(FENCE.sub("", page.read_text()))}


def blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def prose(page: Path) -> str:
    """The page without code, headings and links to other pages than the glossary, each character at its offset."""
    text = page.read_text()
    for pattern in (FENCE, HEADING, CODE, COMMENT):
        text = pattern.sub(blank, text)
    return LINK.sub(lambda match: blank(match) if "glossary.md#" not in match[2] else visible(match), text)


def visible(link: re.Match[str]) -> str:
    return f" {link[1]}".ljust(len(link[0]))


def terms() -> dict[str, re.Pattern[str]]:
    """Every term of the glossary, and the pattern of its forms."""
    found = re.findall(r"^### (.*)$", GLOSSARY.read_text(), re.MULTILINE)
    return {term: re.compile(rf"\b{FORMS.get(term, re.escape(term) + 's?')}\b", re.IGNORECASE) for term in found}


def unexplained(page: Path) -> list[str]:
    """Terms whose first use on the page does not link to the glossary."""
    bare = prose(page)
    links = [(match.span(1), match[2]) for match in LINK.finditer(page.read_text())]
    missing = []
    for term, pattern in terms().items():
        first = pattern.search(bare)
        if first is None:
            continue
        targets = [target for (start, end), target in links if start <= first.start() and first.end() <= end]
        if not any(target.endswith(f"glossary.md#{anchor(term)}") for target in targets):
            missing.append(f"{term}: {bare[max(0, first.start() - 30) : first.end() + 30]!r}")
    return missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    broken = []
    for _, link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, fragment = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", EXPLAINED, ids=name)
def test_terms_link_to_the_glossary_at_their_first_use(page: Path) -> None:
    assert unexplained(page) == []


def test_the_glossary_defines_the_terms_that_readers_cannot_know() -> None:
    needed = {"forwarder", "attempt", "superseded", "spill file", "place", "coverage", "goodput", "journal", "segment"}
    assert needed | {"round", "gate", "member", "feed", "cursor", "run directory", "requeue"} <= terms().keys()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_term_has_one_spelling(page: Path) -> None:
    text = prose(page)
    found = {wrong: right for wrong, right in SPELLINGS.items() if re.search(wrong, text, re.IGNORECASE)}
    assert found == {}


DOCUMENTED = {
    "ranklog": "create_logger place rank_zero_only rank_zero_print CSVLogger ConsoleLogger EmptyLogger JournalLogger "
    "LoggersCollection MLFlowLogger OpenTelemetryLogger Prov4MLLogger TensorBoardLogger TrackioLogger WandBLogger",
    "ranklog.loggers": "BackendLogger CSVLogger ConsoleLogger EmptyLogger JournalLogger Logger LoggersCollection "
    "MLFlowLogger OpenTelemetryLogger Prov4MLLogger TensorBoardLogger TrackioLogger WandBLogger create_logger",
    "ranklog.testing": "MemoryLogger FakeWorld captured",
    "ranklog.testing.conformance": "",
    "ranklog.abc": "Backend Strategy",
    "ranklog.world.mpi": "MpiStrategy",
    "ranklog.world.base": "Strategy World",
    "ranklog.delivery.backends.base": "Backend Refused RunContext",
    "ranklog.model.record": "Entry Item Status",
    "ranklog.model.content": "",
}
"""Modules and names that the README, the pages and the examples have told users to import, in any version."""


@pytest.mark.parametrize("module", DOCUMENTED)
def test_every_import_that_the_documents_ever_named_works(module: str) -> None:
    found = importlib.import_module(module)
    assert [each for each in DOCUMENTED[module].split() if not hasattr(found, each)] == []


def imports() -> list[tuple[str, str]]:
    """``(module, name)`` of every ``from ranklog… import`` in code that the documents show, and in the examples."""
    statement = re.compile(r"^\s*(from ranklog[\w.]* import (?:\([^)]*\)|[^\n(]*))", re.MULTILINE)
    found = set()
    for path in (*PAGES, *(ROOT / "examples").rglob("*.py"), *(ROOT / "slurm").iterdir()):
        for text in statement.findall(path.read_text()):
            (node,) = ast.parse(text).body
            assert isinstance(node, ast.ImportFrom)
            found |= {(node.module or "", alias.name) for alias in node.names}
    return sorted(found)


def test_every_import_that_the_documents_show_works() -> None:
    shown = imports()
    assert ("ranklog", "create_logger") in shown
    assert [each for each in shown if not hasattr(importlib.import_module(each[0]), each[1])] == []


@pytest.mark.parametrize("page", EXPLAINED, ids=name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:[\w.*-]+/)+[\w.*-]+\.(?:py|sh|sbatch|md))(?:::\w+)?`", page.read_text())
    roots = (ROOT, ROOT / "src", ROOT / "src" / "ranklog", page.parent)
    assert [each for each in named if not any((root / each).exists() for root in roots)] == []


def test_tests_that_the_pages_name_exist() -> None:
    defined = {
        test for path in (ROOT / "tests").rglob("*.py") for test in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = {test for page in PAGES for test in re.findall(r"::(test_\w+)", page.read_text())}
    assert len(named) > 10
    assert named - defined == set()


def test_the_tour_answers_every_question_with_one_module() -> None:
    tour = (ROOT / "CONTRIBUTING.md").read_text().split("## Where is the code that …")[1].split("\n## ")[0]
    answers = re.findall(r"^\| [^|]+ \| `([\w/]+\.py)` \|$", tour, re.MULTILINE)
    assert len(answers) == 20
    assert [each for each in answers if not (ROOT / "src" / "ranklog" / each).exists()] == []
