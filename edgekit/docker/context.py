"""What an engine is given to build from: a folder with the Dockerfile, the bundle, and the installed packages."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edgekit.docker.images import ImagePlan
from edgekit.docker.running import Tell, follow

__all__ = ["install_site", "write_context"]

NEWEST_GLIBC, OLDEST_GLIBC = 36, 17
"""2.36 is bookworm's, which the default base has; older tags fit it, too."""

WHEEL_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}


def write_context(plan: ImagePlan, folder: Path) -> None:
    """Fill the empty `folder`: Dockerfile, requirements.txt (not for Jetsons), bundle/ and an empty site/."""
    shutil.copyfile(plan.recipe / "Dockerfile", folder / "Dockerfile")
    if plan.bundle is None:
        (folder / "bundle").mkdir()
    else:
        shutil.copytree(plan.bundle, folder / "bundle")
        _let_all_read(folder / "bundle")
    (folder / "site").mkdir()
    (folder / "site" / "README").write_text("packages installed beforehand\n", encoding="utf-8")
    pins = plan.recipe / "requirements.txt"
    if pins.exists():
        own = [] if plan.bundle is None else _lines(plan.bundle / "requirements.txt")
        (folder / "requirements.txt").write_text(merged(own, _lines(pins)), encoding="utf-8")


def merged(own: Sequence[str], general: Sequence[str]) -> str:
    """requirements.txt of the image: a bundle's pins, and the general ones of packages that it does not pin.

    What a bundle names without a version, and nobody pins, stays without one.
    """
    lines = {_name(line): line for line in own if "==" not in line}
    lines |= {_name(line): line for line in (*general, *own) if "==" in line}
    return "".join(f"{line}\n" for _, line in sorted(lines.items()))


def install_site(plan: ImagePlan, folder: Path, tell: Tell | None = None) -> None:
    """Install here what requirements.txt names, for the image's platform and Python 3.11, into `folder`/site.

    pip unpacks wheels of any platform. So the build needs no network, no proxy's certificate and no emulation, under
    which pip takes minutes. Raises StageError.
    """
    machine = WHEEL_MACHINES[plan.platform]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)]
    platforms = [word for tag in (*tags, f"manylinux2014_{machine}") for word in ("--platform", tag)]
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--no-compile"]
    words += [
        "--python-version",
        "3.11",
        "--implementation",
        "cp",
        *platforms,
        "--target",
        str(folder / "site"),
    ]
    follow([*words, "--requirement", str(folder / "requirements.txt")], "install packages", tell)
    _let_all_read(folder / "site")


def _lines(file: Path) -> list[str]:
    if not file.exists():
        return []
    texts = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [text for text in texts if text and not text.startswith("#")]


def _name(line: str) -> str:
    """The normalized name of the package that a line of requirements is about (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", line)[0]).lower()


def _let_all_read(folder: Path) -> None:
    """The image's user is another than the one who owns these copies."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
