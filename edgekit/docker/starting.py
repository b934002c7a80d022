"""Running words in a fresh container of an image, which is gone afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.docker.engines import Engine, run_commands
from edgekit.docker.running import Tell, follow, quietly

__all__ = ["run_in"]


def run_in(
    engine: Engine,
    tag: str,
    words: Sequence[str],
    *,
    platform: str,
    volumes: Mapping[Path, str] | None = None,
    options: Sequence[str] = (),
    tell: Tell | None = None,
    timeout_s: float | None = None,
) -> None:
    """Run and wait; nothing is left of the container, after Ctrl-C or `timeout_s` either.

    Raises StageError when the program in it fails or has not ended by then.
    """
    name = f"edgekit-{uuid.uuid4().hex[:12]}"
    steps, tidying = run_commands(
        engine, tag, words, name=name, platform=platform, volumes=volumes or {}, options=options
    )
    try:
        for step in steps:
            follow(step, "run image", tell, timeout_s)
    except BaseException:
        for step in tidying:
            quietly(step)
        raise
    if engine.name == "buildah":
        for step in tidying:
            quietly(step)
