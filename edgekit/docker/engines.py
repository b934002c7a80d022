"""Container engines: finding one that works, and the words of its commands."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.errors import UserError

__all__ = [
    "ENGINES",
    "Engine",
    "EngineName",
    "build_command",
    "export_command",
    "find_engine",
    "push_command",
    "run_commands",
]

EngineName = Literal["docker", "podman", "buildah"]

ENGINES: Mapping[EngineName, tuple[str, ...]] = {
    "docker": ("version", "--format", "{{.Server.Version}}"),
    "podman": ("version",),
    "buildah": ("version",),
}
"""Engine → what it answers when it works; docker's answer comes from its daemon. In the order they are tried."""

ANSWER_S = 30


@dataclass(frozen=True)
class Engine:
    """One that works here. `program`: its path."""

    name: EngineName
    program: str


def find_engine(name: EngineName | None = None) -> Engine:
    """The engine of that name, or the first that works. Raises UserError with the remedy."""
    reasons = []
    for candidate in (name,) if name else ENGINES:
        program = shutil.which(candidate)
        if program is None:
            reasons.append(f"{candidate} is not installed")
            continue
        reason = _why_silent(program, ENGINES[candidate])
        if reason is None:
            return Engine(candidate, program)
        reasons.append(f"{candidate} does not answer: {reason}")
    raise UserError(
        f"no container engine to use: {'; '.join(reasons)}",
        allowed=", ".join(ENGINES),
        remedy="install podman, or start Docker's daemon (systemctl start docker)",
    )


def _why_silent(program: str, words: Sequence[str]) -> str | None:
    try:
        told = subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no word within {ANSWER_S} s"
    except OSError as problem:
        return str(problem)
    if told.returncode == 0:
        return None
    return (told.stderr.strip().splitlines() or [f"exit code {told.returncode}"])[-1]


def build_command(
    engine: Engine,
    context: Path,
    *,
    platform: str,
    tag: str,
    arguments: Mapping[str, str],
    labels: Mapping[str, str],
    options: Sequence[str] = (),
) -> list[str]:
    """Builds the Dockerfile in `context`. `options`: the user's own, such as --network=host.

    podman and buildah write OCI images by default, which have no place for a health check: they are told Docker's form.
    """
    words = [
        engine.program,
        "build",
        "--platform",
        platform,
        "--file",
        str(context / "Dockerfile"),
        "--tag",
        tag,
    ]
    if engine.name != "docker":
        words += ["--format", "docker"]
    for option, pairs in (("--build-arg", arguments), ("--label", labels)):
        for name, value in pairs.items():
            words += [option, f"{name}={value}"]
    return [*words, *options, str(context)]


def push_command(engine: Engine, tag: str) -> list[str]:
    """Sends an image to the registry that its name says."""
    return [engine.program, "push", tag]


def export_command(engine: Engine, tag: str, archive: Path) -> list[str]:
    """Writes an archive that `docker load` and `podman load` read."""
    if engine.name == "docker":
        return [engine.program, "save", "--output", str(archive), tag]
    if engine.name == "podman":
        return [engine.program, "save", "--format", "docker-archive", "--output", str(archive), tag]
    return [engine.program, "push", tag, f"docker-archive:{archive}:{tag}"]


def run_commands(
    engine: Engine,
    tag: str,
    words: Sequence[str],
    *,
    name: str,
    platform: str,
    volumes: Mapping[Path, str],
    options: Sequence[str] = (),
) -> tuple[list[list[str]], list[list[str]]]:
    """(what runs the words in a container of that name, what removes it afterwards), each in its order.

    buildah has no `run` for images: a working container is made, used and removed. Health checks are for containers
    that stay; podman wants systemd for them.
    """
    mounts = [word for here, there in volumes.items() for word in ("--volume", f"{here}:{there}")]
    if engine.name == "buildah":
        make = [engine.program, "from", "--pull-never", "--platform", platform, "--name", name, tag]
        run = [engine.program, "run", *options, *mounts, name, "--", *words]
        return [make, run], [[engine.program, "rm", name]]
    run = [
        engine.program,
        "run",
        "--rm",
        "--no-healthcheck",
        "--name",
        name,
        "--platform",
        platform,
        "--pull",
        "never",
    ]
    return [[*run, *options, *mounts, tag, *words]], [[engine.program, "rm", "--force", name]]
