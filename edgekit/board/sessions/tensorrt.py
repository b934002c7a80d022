"""TensorRT or TensorRT-RTX: the engine is built on arrival if none fits yet (see ../tensorrt)."""

import os
import subprocess
import sys
from typing import Dict

from ..process import command
from ..session import RuntimeSession


def open_engine(path: str, _options: Dict[str, str], _threads: int) -> RuntimeSession:
    """The session of an artifact's engine. Raises EngineError, ImportError."""
    from ..tensorrt.engine import open_artifact  # here: other runtimes do not load it

    return open_artifact(path)


def build_engine_apart(path: str) -> None:
    """Build the engine of an artifact if none fits, in a process of its own. Raises RuntimeError with its last words.

    So the time to load and the peak of memory are those of running, not those of building.
    """
    folder = os.path.dirname(os.path.abspath(path))
    done = subprocess.run(
        command("engine", folder, "--parent", str(os.getpid())),
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
