"""A bundle for a TensorRT board, on a machine without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit import board
from edgekit.backends.tensorrt.build_recipe import recipe_for
from edgekit.board.tensorrt.cuda import gpu
from edgekit.bundle import verify_bundle
from edgekit.bundle.manifest import hash_file
from edgekit.hardware import find_target
from tests.bundles import artifact_of, bundle_of

pytest.importorskip("onnxruntime")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    plain = artifact_of("onnxruntime", tmp_path / "artifact")
    recipe = Path(plain.folder) / "build.json"
    recipe.write_bytes(recipe_for(find_target("jetson-nano"), "fp32", "", 17).encode())
    files = (*plain.files, hash_file(recipe, recipe.name))
    return bundle_of(replace(plain, backend="tensorrt", files=files), tmp_path / "bundle")


def test_it_carries_the_network_the_recipe_and_the_program_that_builds(bundle: Path) -> None:
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {"model/model.onnx", "model/build.json", "board/__main__.py", "golden.npz", "infer.py"} <= names


def test_the_folder_that_builds_engines_is_there_whole_and_listed(bundle: Path) -> None:
    here = Path(board.__file__).parent
    sources = {path.relative_to(here).as_posix() for path in here.rglob("*.py")}
    listed = {file["path"] for file in json.loads((bundle / "manifest.json").read_text())["files"]}
    assert {f"board/{name}" for name in sources} == {name for name in listed if name.startswith("board/")}
    assert all((bundle / "board" / name).read_bytes() == (here / name).read_bytes() for name in sources)


def test_a_changed_program_is_named(bundle: Path) -> None:
    with (bundle / "board" / "tensorrt" / "cuda.py").open("a") as file:
        file.write("# changed\n")
    assert "board/tensorrt/cuda.py was changed" in verify_bundle(bundle, run=False).problems


def test_importing_its_folder_leaves_it_whole(bundle: Path) -> None:
    code = "import board.machine; print(len(board.machine.describe()['arch']) > 0)"
    writing = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=bundle, env=writing, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"
    assert list(bundle.glob("board/__pycache__/*.pyc"))
    assert verify_bundle(bundle, run=False).ok


def test_without_a_gpu_it_is_verified_by_the_same_graph(bundle: Path) -> None:
    checked = verify_bundle(bundle)
    assert checked.ok
    assert checked.difference is not None
    assert checked.difference < 1e-5


def test_an_engine_built_on_the_board_belongs_to_it(bundle: Path) -> None:
    (bundle / "model" / "engine").mkdir()
    (bundle / "model" / "engine" / "model.engine").write_bytes(b"built here")
    assert verify_bundle(bundle, run=False).ok


def test_a_changed_recipe_is_named(bundle: Path) -> None:
    path = bundle / "model" / "build.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tolerance": 9.0}))
    assert "model/build.json was changed" in verify_bundle(bundle, run=False).problems


def test_its_program_says_in_one_line_what_is_missing(bundle: Path) -> None:
    if gpu() is None:
        command = [sys.executable, str(bundle / "infer.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("infer.py: ")
        assert len(done.stderr.splitlines()) == 1
        assert verify_bundle(bundle, run=False).ok
