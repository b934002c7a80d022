from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgekit.board import hush

SAYS = """
import os
from edgekit.board.hush import without_talk
with without_talk():
    os.write(2, b"INFO: a delegate was made\\nERROR: it broke\\nINFO: more\\n")
os.write(2, b"INFO: after\\n")
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr


def test_what_a_runtime_tells_of_itself_is_dropped_and_what_it_complains_of_is_not() -> None:
    assert run(SAYS) == "ERROR: it broke\nINFO: after\n"


def test_an_error_inside_leaves_standard_error_as_it_was() -> None:
    code = SAYS.replace('INFO: more\\n")', '"); raise SystemExit(0)')
    assert run(code) == "ERROR: it broke\n"


def test_a_service_without_standard_error_is_served() -> None:
    assert (
        run(
            "import os; os.close(2)\n"
            + SAYS.rpartition("os.write")[0].replace("    os.write", "    None and os.write")
        )
        == ""
    )


def test_no_interpreter_is_made_aloud() -> None:
    """Each place that makes a LiteRT interpreter is silent about its delegate."""
    package = Path(hush.__file__).parents[1]
    makers = [path for path in package.rglob("*.py") if "Interpreter(" in path.read_text(encoding="utf-8")]
    assert len(makers) >= 5
    for path in makers:
        text = path.read_text(encoding="utf-8")
        assert "without_talk()" in text or "quiet_descriptor(2)" in text, path
