"""engine.py runs where there is nothing newer than Python 3.6."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from edgekit.board import engine

SOURCE = Path(engine.__file__)


def test_its_syntax_is_that_of_python_3_6() -> None:
    assert ast.parse(SOURCE.read_text(), feature_version=(3, 6)).body


def test_nothing_it_calls_is_newer_than_python_3_6() -> None:
    flags = ["--target=3.6-", "--violations", "--no-tips", "--eval-annotations"]
    command = [sys.executable, "-c", "import vermin; vermin.main()", *flags, str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_imports_the_standard_library_and_numpy_only() -> None:
    names: set[str] = set()
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert {name for name in names if name not in sys.stdlib_module_names} == {"numpy"}


def test_it_imports_nothing_of_edgekit() -> None:
    assert "import edgekit" not in SOURCE.read_text()
    assert "from edgekit" not in SOURCE.read_text()
