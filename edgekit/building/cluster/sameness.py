"""What has to be the same on both sides, and the first function that runs on a worker.

Ray gets these functions by value, with the standard library alone: they run before it is known whether there is an
edgekit on the worker, and which.
"""

from __future__ import annotations

from edgekit.runtimes import RUNTIMES

__all__ = ["difference", "performed", "sameness"]

PACKAGES = tuple(
    dict.fromkeys(
        (
            *("numpy", "torch", "onnx", "onnxscript", "msgspec", "safetensors", "scipy"),
            *(
                distribution
                for row in RUNTIMES.values()
                for installation in row.installations
                for distribution, _ in installation.packages
            ),
        )
    )
)
"""What makes networks and artifacts. What is not installed here is asked of nobody."""


def sameness(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """What this machine would make products with: Python, edgekit by its sources, packages by their public versions.

    A key in the store names the versions of the machine that builds: a worker with others would make something else
    under that key.
    """
    import hashlib
    import importlib.metadata
    import importlib.util
    import platform
    import re
    from pathlib import Path

    told = {"Python": ".".join(platform.python_version_tuple()[:2])}
    source = importlib.util.find_spec("edgekit")
    if source is None or source.origin is None:
        return told
    package = Path(source.origin).parent
    state = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        state.update(f"{file.relative_to(package).as_posix()} {file.stat().st_size}\n".encode())
        state.update(file.read_bytes())
    version = re.search(r'__version__ = "(.+)"', (package / "_version.py").read_text(encoding="utf-8"))
    told["edgekit"] = f"{version[1] if version else '?'} ({state.hexdigest()[:12]})"
    for name in packages:
        if name in told:
            continue
        try:
            told[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return told


def difference(here: dict[str, str], there: dict[str, str]) -> str:
    """The first thing that is not the same there, in words; "" where all is."""
    for name, wanted in here.items():
        if there.get(name) != wanted:
            has = f"{name} {there[name]}" if name in there else f"no {name}"
            return f"it has {has}, this machine {name} {wanted}"
    return ""


def performed(here: dict[str, str], request: bytes, *contents: bytes) -> bytes:
    """On a worker: one byte, and behind it what `remote.perform` gives (A), or why it was not asked (R)."""
    problem = difference(here, sameness(tuple(here)))
    if problem:
        return b"R" + problem.encode()
    from edgekit.building.cluster.remote import perform

    return b"A" + perform(request, contents)
