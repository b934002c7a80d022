"""Which image a target gets: its Dockerfile, platform, base and name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.board.manifest import ManifestError, changed_file
from edgekit.board.manifest import read_manifest as read_plain_manifest
from edgekit.errors import BundleError, UserError
from edgekit.hardware import data_dir
from edgekit.types import BackendName

if TYPE_CHECKING:
    from edgekit.hardware import Target

__all__ = ["DEFAULT_BASE", "L4T_BASES", "PLATFORMS", "ImagePlan", "plan_image"]

PLATFORMS: Mapping[str, str] = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}
"""A target's architecture → the platform as image registries name it."""

DEFAULT_BASE = "python:3.11-slim-bookworm"
"""Of the images for CPUs. glibc 2.36: OpenVINO's wheels for arm64 need 2.35."""

FOLDERS: Mapping[BackendName, str] = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "litert": "litert",
}
"""Runtime → its folder in docker/; Jetsons have one of their own."""

L4T_BASES: Mapping[str, str] = {
    "r32.7": "nvcr.io/nvidia/l4t-base:r32.7.1",
    "r35.4": "nvcr.io/nvidia/l4t-jetpack:r35.4.1",
    "r36.4": "nvcr.io/nvidia/l4t-jetpack:r36.4.0",
}
"""L4T release, as jetson-containers name their tags → NVIDIA's base with its JetPack: 4.6, 5.1, and 6.1 or 6.2."""

L4T_OF: Mapping[str, str] = {
    "jetson-nano": "r32.7",
    "jetson-tx2": "r32.7",
    "jetson-xavier-nx": "r35.4",
    "jetson-orin-nano": "r36.4",
    "jetson-orin-nx": "r36.4",
    "jetson-agx-orin": "r36.4",
}
"""The newest that a board has a base for here. Thor's JetPack 7 has none that was confirmed."""


@dataclass(frozen=True)
class ImagePlan:
    """One image to build. `recipe`: the folder of its Dockerfile; `platform`: as in "linux/arm64".

    `bundle`: what goes into it, or None for the runtime alone. `tag`: its name.
    """

    target: str
    runtime: BackendName
    recipe: Path
    platform: str
    base: str
    tag: str
    bundle: Path | None


def plan_image(
    target: Target,
    *,
    bundle: Path | None = None,
    runtime: BackendName | None = None,
    base: str | None = None,
    l4t: str | None = None,
    tag: str | None = None,
) -> ImagePlan:
    """What is to be built for the target. The runtime is the bundle's, else the one asked for, else the target's first.

    Raises BundleError for a bundle that cannot be used or is another target's, UserError where no image fits.
    """
    held = _read_bundle(bundle, target) if bundle is not None else None
    chosen = _runtime(target, held, runtime)
    if chosen == "tensorrt":
        release, base = _l4t(target, l4t, base)
        folder, label = "jetson", release
    elif l4t is not None:
        raise UserError(f"--l4t {l4t} for {target.name}, which is no Jetson", remedy="leave --l4t away")
    else:
        folder, label = FOLDERS[chosen], chosen
    return ImagePlan(
        target.name,
        chosen,
        data_dir("docker") / folder,
        PLATFORMS[target.architecture],
        base or DEFAULT_BASE,
        tag or f"edgekit/{target.name}:{label}",
        bundle,
    )


def _read_bundle(bundle: Path, target: Target) -> BackendName:
    """The runtime of a whole, unchanged bundle for that target."""
    try:
        manifest = read_plain_manifest(str(bundle))
        if manifest.get("kind") == "candidates":
            first = bundle / manifest["candidates"][0]["folder"]
            raise BundleError(
                f"{bundle} holds several candidates",
                remedy=f"settle it on the board, or give one, such as {first}",
            )
        changed = changed_file(str(bundle), manifest)
    except (ManifestError, OSError) as problem:
        raise BundleError(
            f"no bundle in {bundle}: {problem}", remedy="give the folder bundle/ of a build"
        ) from problem
    if changed:
        raise BundleError(f"{bundle}: {changed} was changed or is missing", remedy="copy the bundle again")
    if manifest["target"] != target.name:
        raise BundleError(
            f"{bundle} was built for {manifest['target']}, not for {target.name}",
            remedy=f"--target {manifest['target']}",
        )
    backend: BackendName = manifest["candidate"]["backend"]
    return backend


def _runtime(target: Target, held: BackendName | None, asked: BackendName | None) -> BackendName:
    if held is not None and asked is not None and held != asked:
        raise UserError(f"--runtime {asked}, but the bundle runs on {held}", remedy="leave --runtime away")
    has_image = [row.name for row in target.runtimes if _has_image(target, row.name)]
    wanted = held or asked
    if wanted is None and has_image:
        return has_image[0]
    if wanted is None or wanted not in has_image:
        raise UserError(
            f"no image for {wanted or 'any runtime'} on {target.name}",
            allowed=", ".join(has_image) or "none for this target",
            remedy="write a Dockerfile from docker/ of edgekit's sources",
        )
    return wanted


def _has_image(target: Target, runtime: BackendName) -> bool:
    return runtime in FOLDERS or (runtime == "tensorrt" and target.family == "jetson")


def _l4t(target: Target, l4t: str | None, base: str | None) -> tuple[str, str]:
    """The release, and the base: the one given, or NVIDIA's for the release."""
    release = l4t or L4T_OF.get(target.name, "")
    if base is not None:
        return release or "l4t", base
    if release not in L4T_BASES:
        raise UserError(
            f"no base image is known for L4T {release}"
            if release
            else f"no base image is known for {target.name}",
            allowed=f"--l4t {', '.join(L4T_BASES)}",
            remedy="or --base with an image that has TensorRT, its Python module and numpy",
        )
    return release, L4T_BASES[release]
