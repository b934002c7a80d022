"""The bundle: complete, checkable, and runnable with numpy and its runtime alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgekit import board
from edgekit.bundle import BUNDLE_SCHEMA, Golden, read_manifest, verify_bundle, write_bundle
from edgekit.bundle.about import requirements
from edgekit.bundle.manifest import encode_manifest, hash_file
from edgekit.bundle.placing import replacing
from edgekit.errors import BundleError, OutputError, UserError
from edgekit.types import (
    BackendName,
    Estimate,
    Preprocess,
)
from tests.bundles import (
    CLASSES,
    PREPROCESS,
    RNG,
    SAMPLES,
    SIGNATURE,
    artifact_of,
    bundle_of,
    bundle_parts,
    network,
)

BOARD = Path(board.__file__).parent


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return bundle_of(artifact_of("onnxruntime", tmp_path / "artifact"), tmp_path / "out" / "bundle")


def infer(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-I", str(bundle / "infer.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=bundle.parent)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Standard error without the line by which LiteRT greets; it cannot be turned off."""
    return done.stderr.replace("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n", "")


def run_cli(*arguments: str) -> Result:
    from edgekit.cli.bundle import bundle as command

    return CliRunner().invoke(command, list(arguments), standalone_mode=False)


# What is in it


def test_a_bundle_has_everything_and_a_manifest_that_lists_it(bundle: Path) -> None:
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    own = {
        "golden.npz",
        "infer.py",
        "labels.txt",
        "model/model.onnx",
        "preprocess.json",
        "requirements.txt",
        "README.md",
    }
    listed = own | {f"board/{path.relative_to(BOARD).as_posix()}" for path in BOARD.rglob("*.py")}
    assert names == listed | {"manifest.json"}
    manifest = read_manifest(bundle)
    assert {file.path for file in manifest.files} == listed
    assert manifest.schema == BUNDLE_SCHEMA
    assert manifest.entry == "model/model.onnx"
    assert manifest.signature == SIGNATURE
    assert manifest.preprocess == PREPROCESS
    assert manifest.measured.p90_ms == Estimate(1.0, 0.9, 1.1)
    assert manifest.measured.test is not None
    assert manifest.measured.test.split == "test"


def test_labels_stand_one_to_a_line(bundle: Path) -> None:
    assert (bundle / "labels.txt").read_text() == "cat\ndog\nred fox\n"


def test_preprocessing_stands_in_a_file_of_its_own(bundle: Path) -> None:
    assert json.loads((bundle / "preprocess.json").read_text())["mean"] == [0.5, 0.25]


def test_reading_and_writing_a_manifest_changes_nothing(bundle: Path) -> None:
    assert encode_manifest(read_manifest(bundle)) == (bundle / "manifest.json").read_bytes()


# Running it


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "litert"])
def test_infer_py_checks_the_golden_outputs(backend: BackendName, tmp_path: Path) -> None:
    bundle = bundle_of(artifact_of(backend, tmp_path / "artifact"), tmp_path / "bundle")
    done = infer(bundle)
    assert said(done) == ""
    assert done.stdout.startswith("golden outputs match: off by ")
    assert done.returncode == 0


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "litert"])
def test_infer_py_answers_a_stored_image_after_the_declared_preprocessing(
    backend: BackendName, tmp_path: Path
) -> None:
    bundle = bundle_of(artifact_of(backend, tmp_path / "artifact"), tmp_path / "bundle")
    image = RNG.integers(0, 256, (6, 7, 2), np.uint8)
    np.save(tmp_path / "image.npy", image)
    centre = image[1:5, 1:5].transpose(2, 0, 1).astype(np.float32) / 255
    ready = (centre - np.array([0.5, 0.25])[:, None, None]) / np.array([0.5, 2.0])[:, None, None]
    scores = network(ready[None].astype(np.float32))
    done = infer(bundle, str(tmp_path / "image.npy"))
    assert said(done) == ""
    top = int(scores.argmax())
    label = CLASSES[top].replace("  ", " ")
    first, last = done.stdout.splitlines()
    assert last == f"top class: {top} {label}"
    low, high = first.partition(", from ")[2].split(" to ")
    np.testing.assert_allclose([float(low), float(high)], [scores.min(), scores.max()], rtol=1e-4)


def test_infer_py_prepares_as_the_build_did(tmp_path: Path) -> None:
    from edgekit.data.preprocess import preprocess_samples

    bundle = bundle_of(artifact_of("onnxruntime", tmp_path / "artifact"), tmp_path / "bundle")
    images = RNG.integers(0, 256, (1, 9, 4, 2), np.uint8)
    np.save(tmp_path / "image.npy", images)
    ready = preprocess_samples(images, PREPROCESS)
    scores = network(ready.astype(np.float32))
    first = infer(bundle, str(tmp_path / "image.npy")).stdout.splitlines()[0]
    assert first.startswith("sample 0: scores: shape [1, 3], from ")
    low, high = first.partition(", from ")[2].split(" to ")
    np.testing.assert_allclose([float(low), float(high)], [scores.min(), scores.max()], rtol=1e-4)


def test_infer_py_resizes_as_the_build_did(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    from edgekit.data.preprocess import preprocess_samples

    how = replace(PREPROCESS, resize=4)
    bundle = bundle_of(artifact_of("onnxruntime", tmp_path / "artifact"), tmp_path / "bundle", how)
    image = RNG.integers(0, 256, (9, 9, 2), np.uint8)
    np.save(tmp_path / "image.npy", image)
    scores = network(preprocess_samples(image[None], how).astype(np.float32))
    first = infer(bundle, str(tmp_path / "image.npy")).stdout.splitlines()[0]
    low, high = first.partition(", from ")[2].split(" to ")
    np.testing.assert_allclose([float(low), float(high)], [scores.min(), scores.max()], rtol=1e-4)


def test_infer_py_gives_the_number_of_the_class_where_there_are_no_labels(tmp_path: Path) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "artifact")
    bundle = bundle_of(artifact, tmp_path / "bundle", Preprocess(), ())
    np.save(tmp_path / "sample.npy", SAMPLES[0])
    done = infer(bundle, str(tmp_path / "sample.npy"))
    assert done.stdout.splitlines()[-1].strip() == f"top class: {network(SAMPLES[:1]).argmax()}"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["absent.npy"], "infer.py: absent.npy cannot be read: No such file or directory"),
        (["image.npy", "image.npy"], "infer.py: 2 files came; allowed: one for each of image"),
    ],
)
def test_infer_py_says_in_one_line_which_files_it_lacks(
    bundle: Path, tmp_path: Path, names: list[str], message: str
) -> None:
    np.save(tmp_path / "image.npy", np.zeros((6, 7, 2), np.uint8))
    done = infer(bundle, *(str(tmp_path / name) if name == "image.npy" else name for name in names))
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


def test_infer_py_fails_when_the_answers_differ(tmp_path: Path) -> None:
    parts = bundle_parts(artifact_of("onnxruntime", tmp_path / "artifact"))
    parts["golden"] = Golden((SAMPLES,), (network(SAMPLES) + 1,))
    write_bundle(tmp_path / "bundle", **parts)
    done = infer(tmp_path / "bundle")
    assert done.returncode == 1
    assert done.stdout.startswith("golden outputs DO NOT MATCH")


# What it says of itself


def test_its_readme_says_what_it_is_how_it_runs_and_what_was_measured(bundle: Path) -> None:
    lines = (bundle / "README.md").read_text().splitlines()
    assert lines[0] == "# original-ort-fp32"
    assert len([line for line in lines if line]) <= 10
    text = " ".join(lines)
    for fact in (
        "A network for generic-cpu, run by ONNX Runtime, fp32",
        "image float32 [1, 2, 4, 4]; gives scores float32 [1, 3]",
        "pip install -r requirements.txt",
        "python3 infer.py SAMPLE.npy",
        "Measured on the board (A CPU, threads: 1): p50 1 [0.9, 1.1] ms; p90 1 [0.9, 1.1] ms; peak memory 10 MB; "
        "top-1 0.9 [0.8, 0.95], less than the original by 0.01 [0, 0.02], on 100 samples (test).",
    ):
        assert fact in text


def test_an_estimated_latency_is_not_told_as_measured(tmp_path: Path) -> None:
    parts = bundle_parts(artifact_of("onnxruntime", tmp_path / "artifact"))
    parts["measurement"] = replace(parts["measurement"], origin="estimated")
    write_bundle(tmp_path / "bundle", **parts)
    text = (tmp_path / "bundle" / "README.md").read_text()
    assert "Latency is not measured: the board was not here" in text
    assert "p50" not in text


@pytest.mark.parametrize(
    ("backends", "images", "packages"),
    [
        (["onnxruntime"], True, ["numpy==2.2.0", "onnxruntime==1.31.1", "pillow"]),
        (["litert", "litert"], False, ["numpy==2.2.0", "ai-edge-litert"]),
        (["openvino", "onnxruntime"], False, ["numpy==2.2.0", "openvino==2026.0", "onnxruntime==1.31.1"]),
    ],
)
def test_its_requirements_are_the_versions_that_were_measured(
    backends: list[BackendName], images: bool, packages: list[str]
) -> None:
    versions = {"numpy": "2.2.0", "onnxruntime": "1.31.1", "openvino": "2026.0"}
    first, *rest = requirements(backends, versions, images=images).splitlines()
    assert first.startswith("# As it was measured.")
    assert rest == packages


def test_what_no_index_has_is_a_comment_in_the_requirements() -> None:
    assert "# tensorrt: on a Jetson it comes with JetPack" in requirements(["tensorrt"], {}, images=False)


# Verifying it


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "litert"])
def test_a_bundle_as_written_is_verified(backend: BackendName, tmp_path: Path) -> None:
    bundle = bundle_of(artifact_of(backend, tmp_path / "artifact"), tmp_path / "bundle")
    found = verify_bundle(bundle)
    assert found.ok
    assert found.difference is not None
    assert found.difference <= found.tolerance


def damage_model(bundle: Path) -> None:
    path = bundle / "model" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def damage_program(bundle: Path) -> None:
    with (bundle / "infer.py").open("a") as file:
        file.write("# more\n")


def damage_rule(bundle: Path) -> None:
    with (bundle / "board" / "verdict.py").open("a") as file:
        file.write("# more\n")


def damage_missing(bundle: Path) -> None:
    (bundle / "labels.txt").unlink()


def damage_extra(bundle: Path) -> None:
    (bundle / "model" / "other.bin").write_bytes(b"x")


def damage_link(bundle: Path) -> None:
    (bundle / "labels.txt").rename(bundle.parent / "labels.txt")
    (bundle / "labels.txt").symlink_to(bundle.parent / "labels.txt")


def damage_folder_link(bundle: Path) -> None:
    (bundle / "model").rename(bundle.parent / "model")
    (bundle / "model").symlink_to(bundle.parent / "model")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (damage_model, "model/model.onnx was changed"),
        (damage_program, "infer.py was changed"),
        (damage_rule, "board/verdict.py was changed"),
        (damage_missing, "labels.txt is missing"),
        (damage_extra, "model/other.bin does not belong to the bundle"),
        (damage_link, "labels.txt is a link"),
        (damage_folder_link, "model/model.onnx is a link"),
    ],
)
def test_a_changed_bundle_is_told_with_the_file(
    bundle: Path, damage: Callable[[Path], None], problem: str
) -> None:
    damage(bundle)
    found = verify_bundle(bundle)
    assert not found.ok
    assert problem in found.problems
    assert found.difference is None


def rewrite_manifest(bundle: Path, **changes: Any) -> None:
    (bundle / "manifest.json").write_bytes(encode_manifest(replace(read_manifest(bundle), **changes)))


def test_golden_outputs_that_no_longer_come_out_are_told(bundle: Path) -> None:
    np.savez(bundle / "golden.npz", allow_pickle=False, in0=SAMPLES, out0=network(SAMPLES) * 1.5)
    files = tuple(
        hash_file(bundle / file.path, file.path) if file.path == "golden.npz" else file
        for file in read_manifest(bundle).files
    )
    rewrite_manifest(bundle, files=files)
    (problem,) = verify_bundle(bundle).problems
    assert problem.startswith("model/model.onnx does not give its golden outputs here: off by 0.333")
    assert verify_bundle(bundle, run=False).ok


def raw_array(shape: str, content: bytes = b"") -> bytes:
    """A .npy that says it has this shape, whatever it holds."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + content


GOOD_INPUT = raw_array("(4, 2, 4, 4)", SAMPLES.tobytes())
GOOD_OUTPUT = raw_array("(4, 3)", network(SAMPLES).tobytes())


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (raw_array(f"({2**43}, 3)"), "declares 105553116266496 bytes"),
        (raw_array(f"(4, {2**62}, {2**62})"), "declares"),
        (raw_array("(5, 3)", network(SAMPLES).tobytes()), r"cannot be read|does not hold"),
        (raw_array("()", b"\0" * 4), "out0 is not an array of samples"),
        (raw_array("(-4, 3)", network(SAMPLES).tobytes()), "out0 is not an array of samples"),
        (raw_array("(" * 300 + ")" * 300), "out0 is not an array"),
        (b"hello", "out0 is not an array"),
        (b"", "out0 is not an array"),
        (GOOD_OUTPUT[:-4], r"cannot be read|declares"),
        (None, r"out0\.npy"),
    ],
)
def test_a_golden_member_that_is_no_array_of_samples_is_one_line(
    bundle: Path, member: bytes | None, told: str
) -> None:
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(bundle / "golden.npz", "w", compression) as archive:
            archive.writestr("in0.npy", GOOD_INPUT)
            if member is not None:
                archive.writestr("out0.npy", member)
        files = tuple(
            hash_file(bundle / file.path, file.path) if file.path == "golden.npz" else file
            for file in read_manifest(bundle).files
        )
        rewrite_manifest(bundle, files=files)
        (problem,) = verify_bundle(bundle).problems
        assert re.search(told, problem)
        assert "\n" not in problem


@pytest.mark.parametrize("tolerance", [1e300, 1.0, 0.0, -1.0])
def test_a_tolerance_that_every_answer_or_none_would_meet_is_refused(bundle: Path, tolerance: float) -> None:
    rewrite_manifest(bundle, golden=replace(read_manifest(bundle).golden, tolerance=tolerance))
    with pytest.raises(BundleError, match=r"the golden tolerance is .*; allowed: above 0 to 0\.5"):
        verify_bundle(bundle)


def test_a_manifest_that_is_a_link_or_a_pipe_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "manifest.json").rename(tmp_path / "manifest.json")
    (bundle / "manifest.json").symlink_to(tmp_path / "manifest.json")
    with pytest.raises(BundleError, match="is a link or a device"):
        verify_bundle(bundle)
    (bundle / "manifest.json").unlink()
    os.mkfifo(bundle / "manifest.json")
    with pytest.raises(BundleError, match="is a link or a device"):
        verify_bundle(bundle)


def test_golden_arrays_of_another_shape_are_told(bundle: Path) -> None:
    np.savez(bundle / "golden.npz", allow_pickle=False, in0=SAMPLES[:, :1], out0=network(SAMPLES))
    files = tuple(
        hash_file(bundle / file.path, file.path) if file.path == "golden.npz" else file
        for file in read_manifest(bundle).files
    )
    rewrite_manifest(bundle, files=files)
    (problem,) = verify_bundle(bundle).problems
    assert problem == "golden.npz does not fit the input image: [4, 1, 4, 4]"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "model/../../x", "a\\b", "C:x", ""])
def test_a_manifest_that_leads_out_of_the_bundle_is_refused(bundle: Path, name: str) -> None:
    manifest = read_manifest(bundle)
    rewrite_manifest(bundle, files=(*manifest.files, replace(manifest.files[0], path=name)))
    with pytest.raises(BundleError, match="leads out of the bundle"):
        verify_bundle(bundle)
    rewrite = replace(manifest, entry=name)
    (bundle / "manifest.json").write_bytes(encode_manifest(rewrite))
    with pytest.raises(BundleError, match="leads out of the bundle"):
        verify_bundle(bundle)


def test_a_manifest_that_leaves_its_model_out_is_told(bundle: Path) -> None:
    files = tuple(file for file in read_manifest(bundle).files if not file.path.startswith("model/"))
    rewrite_manifest(bundle, files=files)
    assert "manifest.json does not list model/model.onnx" in verify_bundle(bundle).problems


def test_a_bundle_for_a_runtime_of_another_version_is_refused(bundle: Path) -> None:
    rewrite_manifest(bundle, candidate=replace(read_manifest(bundle).candidate, backend="caffe"))
    with pytest.raises(BundleError, match=r'runtime "caffe"; allowed: onnxruntime, .*; update edgekit'):
        read_manifest(bundle)


def test_an_edited_figure_in_the_manifest_is_noticed(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"origin": "device"', '"origin": "host"'))
    with pytest.raises(BundleError, match="digest does not match"):
        verify_bundle(bundle)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "it is not JSON"),
        ("[]", "not a bundle's manifest"),
        ('{"schema": 99}', "schema 99; allowed: schema 1"),
        ('{"schema": 1}', "digest does not match"),
    ],
)
def test_a_manifest_that_is_none_is_refused(bundle: Path, content: str, message: str) -> None:
    (bundle / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match=message):
        read_manifest(bundle)


def test_a_bundle_from_before_it_held_the_folder_board_is_verified_too(bundle: Path) -> None:
    shutil.rmtree(bundle / "board")
    files = tuple(file for file in read_manifest(bundle).files if not file.path.startswith("board/"))
    rewrite_manifest(bundle, files=files)
    assert verify_bundle(bundle).ok


# Writing it


def test_a_newer_bundle_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "artifact")
    bundle = bundle_of(artifact, tmp_path / "out" / "bundle")
    bundle_of(artifact, bundle, classes=("a", "b", "c"))
    assert read_manifest(bundle).labels == ("a", "b", "c")
    assert verify_bundle(bundle).ok
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "artifact")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("ten years")
    with pytest.raises(OutputError, match="is not a bundle of edgekit; move it away"):
        bundle_of(artifact, folder)
    assert (folder / "thesis.txt").read_text() == "ten years"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "mine"]


def test_an_empty_folder_may_become_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    assert verify_bundle(bundle_of(artifact_of("onnxruntime", tmp_path / "a"), tmp_path / "bundle")).ok


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        bundle_of(artifact_of("onnxruntime", tmp_path / "a"), tmp_path / "file" / "bundle")


def test_an_artifact_that_changed_since_it_was_measured_is_not_bundled(tmp_path: Path) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "a")
    with (tmp_path / "a" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=r"model\.onnx is not what was measured"):
        bundle_of(artifact, tmp_path / "bundle")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_an_artifact_whose_file_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "a")
    outside = replace(artifact, files=(replace(artifact.files[0], path="../a/model.onnx"),))
    with pytest.raises(BundleError, match="leads out of its folder"):
        bundle_of(outside, tmp_path / "bundle")


KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
from edgekit.bundle.placing import replacing
with replacing(Path(sys.argv[1])) as partial:
    (partial / "model.onnx").write_bytes(b"half")
    os._exit(9)
"""


def test_what_a_killed_run_left_half_written_is_cleared(tmp_path: Path) -> None:
    place = tmp_path / "out" / "bundle"
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(place)], check=False)
    assert list((tmp_path / "out").glob(".bundle.partial-*/new/model.onnx"))
    bundle_of(artifact_of("onnxruntime", tmp_path / "a"), place)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bundle"]


def test_an_older_bundle_that_a_killed_run_had_moved_aside_comes_back(tmp_path: Path) -> None:
    place = bundle_of(artifact_of("onnxruntime", tmp_path / "a"), tmp_path / "out" / "bundle")
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(place)], check=False)
    (left,) = (tmp_path / "out").glob(".bundle.partial-*")
    place.replace(left / "old")
    with pytest.raises(ZeroDivisionError), replacing(place):
        raise ZeroDivisionError
    assert verify_bundle(place, run=False).ok


@pytest.mark.parametrize("name", ["settled.json", "notes.txt", "model/mine.bin", "candidates/a/readme"])
def test_a_file_that_was_put_into_a_bundle_keeps_it_from_being_replaced(tmp_path: Path, name: str) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "a")
    bundle = bundle_of(artifact, tmp_path / "bundle")
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{name} is not of the bundle that it lies in; move it away"):
        bundle_of(artifact, bundle)
    assert (bundle / name).read_text() == "mine"


def test_a_link_in_a_bundle_is_not_followed_when_it_is_replaced(tmp_path: Path) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "a")
    bundle = bundle_of(artifact, tmp_path / "bundle")
    (tmp_path / "mine").mkdir()
    (bundle / "linked").symlink_to(tmp_path / "mine")
    with pytest.raises(OutputError, match="linked is not of the bundle"):
        bundle_of(artifact, bundle)


def test_what_a_bundle_holds_once_it_ran_is_replaced_with_it(tmp_path: Path) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "a")
    bundle = bundle_of(artifact, tmp_path / "bundle")
    for name in ("model/engine/model.engine", "board/__pycache__/infer.cpython-311.pyc"):
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(b"x")
    assert verify_bundle(bundle_of(artifact, bundle), run=False).ok


# The command


def test_the_command_verifies_a_bundle_or_the_folder_above_it(bundle: Path) -> None:
    for folder in (bundle, bundle.parent):
        done = run_cli("verify", str(folder))
        assert done.return_value == 0
        files = len(read_manifest(bundle).files) + 1
        assert f"{files} files as written; 4 golden outputs match" in done.stdout


def test_the_command_names_the_changed_file_and_exits_with_2(bundle: Path) -> None:
    damage_model(bundle)
    done = run_cli("verify", str(bundle))
    assert done.return_value == 2
    assert done.stderr == f"edgekit: {bundle}: model/model.onnx was changed\n"


def test_the_command_speaks_json(bundle: Path) -> None:
    found = json.loads(run_cli("verify", str(bundle), "--json").stdout)
    assert found["ok"] is True
    damage_missing(bundle)
    done = run_cli("verify", str(bundle), "--json", "--files-only")
    assert done.return_value == 2
    assert json.loads(done.stdout)["problems"] == ["labels.txt is missing"]


def test_the_command_shows_what_a_bundle_is(bundle: Path) -> None:
    text = run_cli("show", str(bundle)).stdout
    assert "original-ort-fp32" in text
    assert "1 ms [0.9, 1.1]" in text
    assert "image float32 [1, 2, 4, 4]" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    shown = json.loads(run_cli("show", str(bundle), "--json").stdout)
    assert shown["target"] == "generic-cpu"


def test_the_command_refuses_what_is_no_bundle(tmp_path: Path) -> None:
    done = run_cli("verify", str(tmp_path))
    assert isinstance(done.exception, UserError)
    assert "is not a bundle" in str(done.exception)
