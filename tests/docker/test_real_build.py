"""One image built for real, and its bundle run in it; where an engine is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from edgekit.bundle import write_bundle
from edgekit.docker import (
    Engine,
    ImageRequest,
    bench_image,
    build_image,
    export_image,
    find_engine,
    host_platform,
    plan_image,
)
from edgekit.errors import OutputError, UserError
from edgekit.hardware import find_target
from tests.bundles import artifact_of, bundle_parts

pytestmark = pytest.mark.slow

BASE = "localhost/edgekit-test-base:1"


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """buildah without a daemon, its images in a folder of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs Linux and root to build without a daemon")
    try:
        engine = find_engine("buildah")
    except UserError as problem:
        pytest.skip(f"no buildah: {problem}")
    folder = tmp_path_factory.mktemp("buildah")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\nrunroot = "{folder / "run"}"\ngraphroot = "{folder / "images"}"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        patch.setenv("BUILDAH_ISOLATION", "chroot")
        yield engine
        subprocess.run([engine.program, "rm", "--all"], capture_output=True, check=False)


@pytest.fixture(scope="module")
def base(buildah: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A base image with Debian's Python 3.11: unpacked packages, since no registry can be counted on."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("no mmdebstrap to make a base image with")
    archive = tmp_path_factory.mktemp("base") / "base.tar"
    packages = "base-files,base-passwd,bash,coreutils,dash,libc-bin,libstdc++6,python3,python3-venv,sed,grep"
    words = ["mmdebstrap", "--mode=root", "--variant=extract", f"--include={packages}"]
    words += ['--aptopt=Acquire::Languages "none"', "bookworm", str(archive), "http://deb.debian.org/debian"]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no base image can be made here: {made.stderr.strip().splitlines()[-1]}")
    for step in (
        ["from", "--name", "edgekit-test-base", "scratch"],
        ["add", "--quiet", "edgekit-test-base", str(archive), "/"],
        ["commit", "--quiet", "--format", "docker", "edgekit-test-base", BASE],
        ["rm", "edgekit-test-base"],
    ):
        subprocess.run([buildah.program, *step], capture_output=True, check=True)
    archive.unlink()
    return BASE


@pytest.mark.skipif(host_platform() != "linux/amd64", reason="the bundle is for an x86 target")
def test_an_image_is_built_answers_is_measured_and_carried_away(
    buildah: Engine, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.docker.building.DEFAULT_BASE", base)  # so that packages are installed here
    versions = {name: metadata.version(name) for name in ("numpy", "onnxruntime", "pillow")}
    parts = bundle_parts(artifact_of("onnxruntime", tmp_path / "made"))
    told = parts["measurement"]
    parts["measurement"] = replace(told, environment=replace(told.environment, versions=versions))
    write_bundle(tmp_path / "bundle", **parts)
    plan = plan_image(
        find_target("generic-cpu"), bundle=tmp_path / "bundle", base=base, tag="localhost/edgekit-test:1"
    )
    assert build_image(buildah, plan, ImageRequest(("--pull-never",)))

    shown = subprocess.run(
        [buildah.program, "inspect", "--type", "image", plan.tag], capture_output=True, text=True, check=True
    )
    facts = json.loads(shown.stdout)["Docker"]["config"]
    assert facts["User"] == "10001:10001"
    assert facts["Healthcheck"]["Test"] == ["CMD", "python3", "/bundle/infer.py"]
    assert facts["Labels"]["edgekit.target"] == "generic-cpu"

    measured = bench_image(buildah, plan.tag, plan.platform, seconds=0.2)
    assert measured.measurement.origin == "host"
    assert measured.measurement.environment.versions["onnxruntime"] == versions["onnxruntime"]
    assert measured.measurement.latency is not None
    assert measured.measurement.latency.p50.value > 0

    archive = tmp_path / "image.tar"
    assert export_image(buildah, plan.tag, archive) == archive.stat().st_size > 10_000_000
    with pytest.raises(OutputError, match="exists"):
        export_image(buildah, plan.tag, archive)
