"""Opening artifacts: the session that the row of a runtime names."""

import importlib
from typing import Any, Dict, Optional

from ..runtimes import find_runtime
from ..session import RuntimeSession, import_first


def import_runtime(name: str) -> None:
    """Import the runtime ahead, so that `load_ms` is the artifact's alone.

    Raises ValueError, and ImportError: with the line that installs the runtime where it is not there at all.
    """
    row = find_runtime(name)
    _session_module(row.session[0])
    try:
        import_first(row.modules)
    except ImportError as problem:
        if problem.name not in [module.split(".")[0] for module in row.modules]:
            raise  # it is there, but broken
        raise ImportError("%s is not installed: %s" % (name, row.install), name=problem.name) from None


def prepare_artifact(runtime: str, path: str, options: Optional[Dict[str, str]] = None) -> None:
    """What some runtimes do to an artifact once, before it is loaded. Raises ValueError, and what they raise."""
    row = find_runtime(runtime)
    if row.prepare:
        getattr(_session_module(row.session[0]), row.prepare)(path, dict(options or {}))


def open_session(
    runtime: str, path: str, options: Optional[Dict[str, str]] = None, threads: int = 1
) -> RuntimeSession:
    """Load an artifact in this process. Raises ValueError on an unknown runtime, and what the runtime raises."""
    import_runtime(runtime)
    module, opener = find_runtime(runtime).session
    session: RuntimeSession = getattr(_session_module(module), opener)(
        str(path), dict(options or {}), threads
    )
    return session


def _session_module(name: str) -> Any:
    return importlib.import_module("." + name, __package__)
