"""Which image a target gets, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.docker import plan_image
from edgekit.docker.images import DEFAULT_BASE, FOLDERS, L4T_BASES, L4T_OF
from edgekit.errors import BundleError, UserError
from edgekit.hardware import all_targets, data_dir, find_target
from tests.bundles import artifact_of, bundle_of, bundle_parts


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX Runtime's, for generic-cpu."""
    folder = tmp_path_factory.mktemp("images")
    return bundle_of(artifact_of("onnxruntime", folder / "made"), folder / "bundle")


def test_a_raspberry_pi_gets_its_first_runtime_for_arm64() -> None:
    plan = plan_image(find_target("raspberry-pi-5"))
    assert (plan.runtime, plan.platform, plan.base) == ("litert", "linux/arm64", DEFAULT_BASE)
    assert plan.tag == "edgekit/raspberry-pi-5:litert"


def test_a_bundle_says_the_runtime(bundle: Path) -> None:
    plan = plan_image(find_target("generic-cpu"), bundle=bundle)
    assert (plan.runtime, plan.platform, plan.bundle) == ("onnxruntime", "linux/amd64", bundle)


@pytest.mark.parametrize(("target", "release"), L4T_OF.items())
def test_a_jetson_gets_the_base_of_its_l4t(target: str, release: str) -> None:
    plan = plan_image(find_target(target))
    assert (plan.base, plan.platform) == (L4T_BASES[release], "linux/arm64")
    assert plan.tag == f"edgekit/{target}:{release}"
    assert plan_image(find_target(target), l4t="r35.4").base == L4T_BASES["r35.4"]


def test_a_base_of_ones_own_goes_before() -> None:
    assert plan_image(find_target("jetson-thor"), base="my/base:1").base == "my/base:1"
    assert plan_image(find_target("generic-cpu"), base="my/base:1").base == "my/base:1"


def test_every_plan_has_its_dockerfile() -> None:
    for target in all_targets():
        for runtime in target.runtimes:
            if runtime.name in FOLDERS:
                plan = plan_image(target, runtime=runtime.name)
                assert (plan.recipe / "Dockerfile").is_file()
                assert (plan.recipe / "requirements.txt").is_file()
    assert (data_dir("docker") / "jetson" / "Dockerfile").is_file()


@pytest.mark.parametrize(
    ("target", "arguments", "told"),
    [
        ("rtx-ampere", {}, "no image for any runtime on rtx-ampere"),
        ("raspberry-pi-5", {"runtime": "openvino"}, "openvino on raspberry-pi-5; allowed: litert, onnxruntime"),
        ("generic-cpu", {"l4t": "r36.4"}, "which is no Jetson"),
        ("jetson-thor", {}, "no base image is known for jetson-thor"),
        ("jetson-orin-nano", {"l4t": "r99.1"}, "no base image is known for L4T r99.1; allowed: --l4t r32.7"),
    ],
)  # fmt: skip
def test_what_has_no_image_is_refused(target: str, arguments: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        plan_image(find_target(target), **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_no_bundle_a_changed_one_and_another_targets_are_refused(bundle: Path, tmp_path: Path) -> None:
    target = find_target("generic-cpu")
    with pytest.raises(BundleError, match="no bundle in"):
        plan_image(target, bundle=tmp_path)
    with pytest.raises(
        BundleError, match="was built for generic-cpu, not for raspberry-pi-5; --target generic-cpu"
    ):
        plan_image(find_target("raspberry-pi-5"), bundle=bundle)
    with pytest.raises(UserError, match="the bundle runs on onnxruntime"):
        plan_image(target, bundle=bundle, runtime="litert")
    changed = bundle_of(artifact_of("onnxruntime", tmp_path / "made"), tmp_path / "bundle")
    (changed / "model" / "model.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"model\.onnx was changed or is missing"):
        plan_image(target, bundle=changed)


def test_a_bundle_for_a_runtime_that_the_target_lacks_is_refused(tmp_path: Path) -> None:
    from edgekit.bundle import write_bundle

    parts = {**bundle_parts(artifact_of("openvino", tmp_path / "made")), "target": "raspberry-pi-5"}
    write_bundle(tmp_path / "bundle", **parts)
    with pytest.raises(UserError, match="no image for openvino on raspberry-pi-5"):
        plan_image(find_target("raspberry-pi-5"), bundle=tmp_path / "bundle")
