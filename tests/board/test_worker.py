"""The worker's boundary: whatever a runtime throws is an answer with its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

SERVE = """
import sys
import types

from edgekit.board.runtimes import RUNTIMES, BoardRuntime
from edgekit.board.worker import serve

def open_fake(path, options, threads):
    print("a runtime that prints")
    {statement}

sys.modules["edgekit.board.sessions.fake"] = types.SimpleNamespace(open_fake=open_fake)
RUNTIMES["fake"] = BoardRuntime(("math",), (), "it comes with Python", ("fake", "open_fake"))
raise SystemExit(serve())
"""


def load(statement: str) -> tuple[Any, subprocess.CompletedProcess[str]]:
    """What a worker answers when a fake runtime's opening runs the statement."""
    entry = {"id": "a", "runtime": "fake", "path": "none"}
    request = {"do": "load", "with": {"entry": entry, "threads": 1, "seed": 0}}
    done = subprocess.run(
        [sys.executable, "-c", SERVE.format(statement=statement)],
        input=json.dumps(request) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout), done


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("raise RuntimeError('no such operator')", "RuntimeError: no such operator"),
        ("raise SystemExit('out of licences')", "SystemExit: out of licences"),
        ("raise MemoryError('arena')", "MemoryError: arena"),
        ("{}['axis']", "KeyError: 'axis'"),
    ],
)
def test_what_a_runtime_throws_is_the_reason(statement: str, cause: str) -> None:
    answer, done = load(statement)
    assert answer == {"error": cause}
    assert done.returncode == 1


def test_an_assertion_without_words_is_told_by_its_place() -> None:
    answer, done = load("assert path == ''")
    assert answer["error"].startswith("AssertionError: at ")
    assert "AssertionError" in done.stderr


def test_what_a_runtime_prints_does_not_disturb_the_answers() -> None:
    _, done = load("raise ValueError('x')")
    assert "a runtime that prints" in done.stderr
