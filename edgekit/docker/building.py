"""Building an image: from a plan to something that answered its golden outputs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgekit._version import __version__
from edgekit.docker.context import install_site, write_context
from edgekit.docker.emulation import check_runs
from edgekit.docker.engines import Engine, build_command
from edgekit.docker.images import DEFAULT_BASE, ImagePlan
from edgekit.docker.running import Tell, follow
from edgekit.docker.starting import run_in

__all__ = ["ImageRequest", "build_image"]


@dataclass(frozen=True)
class ImageRequest:
    """How to build. `options` and `run_options`: the user's own for the engine's `build` and `run`.

    `installs`: packages are installed here; only for the default base, whose Python is known. `checks`: the bundle's
    golden outputs are checked in the new image.
    """

    options: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ()
    installs: bool = True
    checks: bool = True


def build_image(
    engine: Engine, plan: ImagePlan, request: ImageRequest = ImageRequest(), tell: Tell | None = None
) -> bool:
    """Build the image, and check its bundle in it; gives whether that was checked (not without one, nor a Jetson's).

    Raises UserError where this machine cannot run the platform, StageError when a step fails; an image whose bundle
    does not answer as it should is there, but not to be used.
    """
    check_runs(plan.platform)
    arguments = {"BASE": plan.base}
    with tempfile.TemporaryDirectory(prefix="edgekit-image-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        write_context(plan, folder)
        if request.installs and plan.base == DEFAULT_BASE and (folder / "requirements.txt").exists():
            install_site(plan, folder, tell)
            arguments["SITE_READY"] = "1"
        labels = {"org.opencontainers.image.version": __version__, "edgekit.target": plan.target}
        words = build_command(
            engine,
            folder,
            platform=plan.platform,
            tag=plan.tag,
            arguments=arguments,
            labels=labels,
            options=request.options,
        )
        follow(words, "build image", tell)
    can_check = plan.bundle is not None and plan.runtime != "tensorrt" and request.checks
    if can_check:
        program = ["python3", "/bundle/infer.py"]
        run_in(engine, plan.tag, program, platform=plan.platform, options=request.run_options, tell=tell)
    return can_check
