"""The emulated board's file system: Debian for arm64 with Python, an SSH server and the runtimes; made once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

__all__ = ["USER", "RootTrouble", "board_root", "cached_root"]

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = (
    "base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "gzip", "hostname", "libc-bin",
    "libstdc++6", "login", "openssh-server", "procps", "python3", "python3-venv", "sed", "tar", "util-linux",
)  # fmt: skip
"""With all that they depend on. They are unpacked by this machine's own tools and not configured: what their
maintainers' scripts would do takes ten minutes under emulation, and what of it a board needs is in `_settle`."""

WHEELS = ("ai-edge-litert", "numpy", "onnxruntime")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
"""bookworm has glibc 2.36."""

SITE = "usr/local/lib/python3.11/dist-packages"
USER = "board"
"""Who logs in, without rights; `root` may, too."""

CACHE = user_cache_path("edgekit")  # as it is now: tests set another
RECIPE = 1
"""Goes up when this file makes another root of the same packages."""

PASSWD = f"{USER}:*:1000:1000::/home/{USER}:/bin/bash\nsshd:*:100:65534::/run/sshd:/usr/sbin/nologin\n"
GROUP = f"{USER}:*:1000:\n"
SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxStartups 100
Subsystem sftp /usr/lib/openssh/sftp-server
"""


class RootTrouble(Exception):
    """The root could not be made: no network, most of the time."""


def made_of() -> dict[str, object]:
    """All that a root is made of. Debian's own versions are those of the day it was made."""
    name = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;]+)")
    pins = [found.groups() for line in CONSTRAINTS.read_text().splitlines() if (found := name.match(line))]
    wheels = sorted(f"{package}=={version}" for package, version in pins if package in WHEELS)
    if len(wheels) != len(WHEELS):
        raise RootTrouble(f"{CONSTRAINTS.name} pins not all of {', '.join(WHEELS)}")
    return {
        "recipe": RECIPE, "suite": SUITE, "packages": PACKAGES, "wheels": wheels, "sshd": SSHD, "user": PASSWD
    }  # fmt: skip


def cached_root() -> Path:
    """Where the root lies, or will lie: by what it is made of."""
    key = hashlib.sha256(json.dumps(made_of(), sort_keys=True).encode()).hexdigest()[:16]
    return CACHE / "tests" / "boards" / f"arm64-{key}"


def board_root() -> Path:
    """The root, made when it is not there: one to five minutes. Processes that want it at once wait for each other.

    Raises RootTrouble where it cannot be made.
    """
    root = cached_root()
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not root.exists():
            part = root.with_name(f"{root.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            _make(part)
            part.rename(root)
    return root


def _make(root: Path) -> None:
    lean = ("man", "doc", "locale", "info")
    _run(
        "mmdebstrap", "--mode=root", "--arch=arm64", "--variant=extract", f"--include={','.join(PACKAGES)}",
        '--aptopt=Acquire::Languages "none"', "--aptopt=Acquire::Retries 3",
        *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in lean), SUITE, str(root), MIRROR,
    )  # fmt: skip
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    wheels = made_of()["wheels"]
    assert isinstance(wheels, list)
    _run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(root / SITE),
        *platforms, "--python-version", "3.11", "--implementation", "cp", "--only-binary=:all:", *wheels,
    )  # fmt: skip
    _settle(root)


def _settle(root: Path) -> None:
    """What set-up scripts would have done, as far as a login over SSH needs it; and the user.

    A password of `*` fits nothing; `!` would lock a key out, too.
    """
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
    for name, lines in (("passwd", PASSWD), ("group", GROUP)):
        given = (root / f"usr/share/base-passwd/{name}.master").read_text()
        (root / "etc" / name).write_text(given + lines)
    for home, owner in ((root / "home" / USER, 1000), (root / "root", 0)):
        (home / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (home, home / ".ssh"):
            os.chown(path, owner, owner)
    for folder in ("dev", "proc", "run", "sys", "tmp"):
        (root / folder).mkdir(exist_ok=True)
    (root / "etc/ssh/sshd_config").write_text(SSHD)
    if sys.version_info[:2] == (3, 11):  # the board's own Python: its bytecode is the same on every processor
        library = [str(root / "usr/lib/python3.11"), str(root / SITE)]
        # What does not compile are files of tests that are wrong on purpose.
        subprocess.run(
            [sys.executable, "-m", "compileall", "-qq", "-s", str(root), "-p", "/", *library], check=False
        )


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " / ".join(done.stderr.strip().splitlines()[-3:])
        raise RootTrouble(f"{Path(words[0]).name} failed: {last}")
