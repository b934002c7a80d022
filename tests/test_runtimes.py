"""The table of runtimes: nothing else knows their names, and the board has the same ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.backends import get_backend, open_reader
from edgekit.board import runtimes as board
from edgekit.errors import ModelError
from edgekit.quantize import find_recipe
from edgekit.runtimes import RUNTIMES, near_runtimes
from edgekit.testing.fake_runtime import FAKE_RUNTIME
from edgekit.types import Artifact

PACKAGE = Path(__file__).parent.parent / "edgekit"

KNOWS_THEM = {
    "runtimes.py": "the table",
    "backends/NAME/": "a runtime's own backend",
    "board/": "sessions, and what a machine says of its packages; it may not import the table",
    "quantize/": "measures ONNX networks in it too; a recipe's ranges may be left to NNCF, which one runtime has",
    "docker/": "an image for each, with its packages",
    "graph/": "runs ONNX files in ONNX Runtime, its library for that, whatever a network is built for",
    "latency/": "what each runtime fuses, and single layers in its own form",
    "testing/": "examples",
}
"""Where names of runtimes may stand, and why."""

KNOWN = {
    text
    for row in RUNTIMES.values()
    for text in (
        row.name,
        row.title,
        row.package,
        *(name.partition(".")[0] for name in board.RUNTIMES[row.name].modules),
    )
}
NAMES = re.compile(rf"\b({'|'.join(re.escape(text) for text in sorted(KNOWN))})\b")


def knows_them(path: Path) -> bool:
    place = re.sub(
        rf"^backends/({'|'.join(RUNTIMES)})/", "backends/NAME/", path.relative_to(PACKAGE).as_posix()
    )
    return any(place.startswith(allowed) for allowed in KNOWS_THEM)


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of every string that is no documentation, help included, and of every imported module."""
    told = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    told += [node.value for node in tree.body if isinstance(node, ast.Assign) and names(node) == {"EPILOG"}]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in told:
            yield node.lineno, node.value
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)


def names(assignment: ast.Assign) -> set[str]:
    return {target.id for target in assignment.targets if isinstance(target, ast.Name)}


def test_nothing_else_knows_a_runtime_s_name() -> None:
    elsewhere = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if not knows_them(path)
        for line, text in texts(ast.parse(path.read_text(encoding="utf-8")))
        if NAMES.search(text)
    ]
    assert elsewhere == []


def test_every_place_that_may_know_them_does() -> None:
    for place in KNOWS_THEM:
        sources = [path for path in PACKAGE.rglob("*.py") if knows_them(path) and path.name != "__init__.py"]
        wanted = re.compile(re.escape(place).replace("NAME", "[a-z]+"))
        assert any(
            NAMES.search(text)
            for path in sources
            if wanted.match(path.relative_to(PACKAGE).as_posix())
            for _line, text in texts(ast.parse(path.read_text(encoding="utf-8")))
        ), place


def test_the_board_has_the_same_runtimes() -> None:
    assert list(board.RUNTIMES) == list(RUNTIMES)


def test_rows_are_told_apart_and_lead_somewhere() -> None:
    rows = list(RUNTIMES.values())
    for key in ("short", "title", "colour"):
        assert len({getattr(row, key) for row in rows}) == len(rows)
    for name, row in RUNTIMES.items():
        assert row.name == name
        backend = get_backend(name)
        assert (backend.name, backend.extra) == (name, row.extra)
        assert name in find_recipe(row.int8_recipe).backends


def test_a_runtime_is_importable_when_one_of_its_modules_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"openvino", "tflite_runtime"}
    monkeypatch.setattr(board, "find_spec", lambda name: name if name in there else None)
    assert board.importable_runtimes() == ["openvino", "litert"]


def test_a_near_name_is_told_and_a_far_one_is_not() -> None:
    assert near_runtimes("OpenVino") == "did you mean openvino?"
    assert near_runtimes("caffe") == ""


def test_a_runtime_without_a_reader_says_that_it_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, FAKE_RUNTIME.name, FAKE_RUNTIME)  # type: ignore[arg-type]
    artifact = Artifact("x", FAKE_RUNTIME.name, "", "model.npz", (), 0, 0.0)
    with pytest.raises(ModelError, match=r"Fake Runtime does not show .* model\.npz"):
        open_reader(artifact)
