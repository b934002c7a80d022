"""TensorRT or TensorRT-RTX: the engine is built on arrival if none fits yet (see ../tensorrt)."""

import os
import subprocess
import sys
from typing import Dict, Optional

from ..process import command
from ..session import RuntimeSession


def open_engine(path: str, options: Dict[str, str], _threads: int) -> RuntimeSession:
    """The session of an artifact's engine. Raises EngineError, ImportError.

    The option "builder_level", 0 to 5, is the builder's optimization level; its own where it is absent.
    """
    from ..tensorrt.engine import open_artifact  # here: other runtimes do not load it

    return open_artifact(path, level=level_of(options))


def level_of(options: Dict[str, str]) -> Optional[int]:
    """The builder's optimization level. Raises ValueError."""
    text = options.get("builder_level")
    if text is None:
        return None
    if text not in ("0", "1", "2", "3", "4", "5"):
        raise ValueError("builder_level is %r; allowed: 0 to 5" % text)
    return int(text)


def build_engine_apart(path: str, options: Dict[str, str]) -> None:
    """Build the engine of an artifact if none fits, in a process of its own. Raises RuntimeError with its last words.

    So the time to load and the peak of memory are those of running, not those of building.
    """
    level = level_of(options)
    asked = [] if level is None else ["--builder-level", str(level)]
    folder = os.path.dirname(os.path.abspath(path))
    done = subprocess.run(
        command("engine", folder, "--parent", str(os.getpid()), *asked),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    sys.stderr.write(said)
    if done.returncode:
        lines = said.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else "the build ended with exit code %d" % done.returncode)
