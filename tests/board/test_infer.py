"""A bundle in a service of the user's own: `from board import Model`."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.board import Model
from edgekit.board.manifest import manifest_digest
from edgekit.board.preprocess import SampleError
from edgekit.bundle import CandidateFacts, Golden, Offer, verify_bundle, write_bundle, write_candidates
from edgekit.bundle.manifest import BoardIdentity, hash_file
from edgekit.bundle.write import TEMPLATES
from edgekit.data import open_source
from edgekit.data.preprocess import preprocess_samples
from edgekit.types import BackendName, Budget, Preprocess, Signature, TensorSpec
from tests.bundles import CLASSES, PREPROCESS, artifact_of, bundle_of, bundle_parts, network

IMAGES = np.random.RandomState(1).randint(0, 256, (3, 6, 7, 2)).astype(np.uint8)
SCORES = network(preprocess_samples(IMAGES, PREPROCESS).astype(np.float32))
WITHOUT_EDGEKIT = """
import sys
class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "edgekit":
            raise ImportError("edgekit is not on a board")
sys.meta_path.insert(0, Refuses())
sys.path.insert(0, {bundle!r})
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("infer")
    return bundle_of(artifact_of("onnxruntime", folder / "artifact"), folder / "bundle")


def run_isolated(python: str, code: str, bundle: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The code with the bundle on sys.path, from another folder, where edgekit cannot be imported."""
    program = WITHOUT_EDGEKIT.format(bundle=str(bundle)) + code
    return subprocess.run(
        [python, "-I", "-B", "-c", program], cwd=cwd, capture_output=True, encoding="utf-8", check=False
    )


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "litert"])
def test_one_sample_is_answered_without_and_a_batch_with_a_leading_axis(
    backend: BackendName, tmp_path: Path
) -> None:
    bundle = bundle_of(artifact_of(backend, tmp_path / "artifact"), tmp_path / "bundle")
    with Model(bundle) as model:
        (single,) = model.predict(IMAGES[0]).values()
        (batch,) = model.predict(IMAGES).values()
    assert (single.shape, batch.shape) == ((3,), (3, 3))
    np.testing.assert_allclose(batch, SCORES, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(single, batch[0])


def test_outputs_come_by_name_also_where_there_is_one(bundle: Path) -> None:
    with Model(str(bundle)) as model:
        assert list(model.predict(IMAGES[0])) == ["scores"]
        assert model.labels == [" ".join(name.split()) for name in CLASSES]


def test_an_input_may_be_named(bundle: Path) -> None:
    with Model(str(bundle)) as model:
        np.testing.assert_array_equal(
            model.predict({"image": IMAGES})["scores"], model.predict(IMAGES)["scores"]
        )


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            IMAGES[0, 0],
            r"input image came with 2 axes, \[7, 2\]; allowed: a sample of 3 axes, or a batch of 4",
        ),
        (IMAGES[..., :1], "mean has 2 values, the samples have 1 channels"),
        (IMAGES[:, :2], "crop is 4, but an image is 7x2"),
        (IMAGES[:0], r"inputs came as \[\[0, 2, 4, 4\]\]; allowed: a sample of each input"),
        ({"picture": IMAGES}, r"inputs came as \['picture'\]; allowed: image"),
    ],
)
def test_what_does_not_fit_is_told_with_what_is_allowed(bundle: Path, samples: Any, message: str) -> None:
    with Model(str(bundle)) as model, pytest.raises(SampleError, match=message):
        model.predict(samples)


def test_a_shape_that_the_network_does_not_take_is_told(tmp_path: Path) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "artifact")
    plain = bundle_of(artifact, tmp_path / "bundle", Preprocess())
    message = r"input image came as \[2, 4, 5\]; allowed: \[2, 4, 4\]$"
    with Model(str(plain)) as model, pytest.raises(SampleError, match=message):
        model.predict(np.zeros((2, 4, 5), np.float32))


def test_golden_outputs_can_be_checked(bundle: Path) -> None:
    with Model(str(bundle)) as model:
        assert model.golden_deviation() <= model.tolerance


def test_it_is_opened_as_it_was_measured(bundle: Path) -> None:
    with Model(str(bundle)) as model:
        settings = model._session.raw.get_session_options()
    assert settings.intra_op_num_threads == 1
    assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_runtime_that_is_not_here_is_told_with_the_line_that_installs_it(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"^onnxruntime is not installed: pip install onnxruntime$"):
        Model(str(bundle))


def test_of_several_candidates_one_has_to_be_given(tmp_path: Path) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "artifact")
    facts = CandidateFacts(
        "a", "candidates/a", "original", "onnxruntime", "fp32", "", None, "top-1", 0.9, 0.0, 1
    )
    write_candidates(
        tmp_path / "bundle", [Offer(facts, bundle_parts(artifact))], target="t", threads=1, budget=Budget(),
        identity=BoardIdentity("x86_64"), edgekit_version="0",
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"holds several candidates; give one of them, such as .*candidates/a$"
    ):
        Model(str(tmp_path / "bundle"))
    with Model(str(tmp_path / "bundle" / "candidates" / "a")) as model:
        assert model.golden_deviation() <= model.tolerance


@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "was changed: its digest does not match"), ("{", "cannot be read"), (None, "is missing")],
)
def test_what_is_no_bundle_is_told(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=f"manifest.json .*{message}"):
        Model(tmp_path)


def test_a_bundle_of_another_schema_is_told(tmp_path: Path) -> None:
    manifest = {"schema": 9}
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "digest": manifest_digest(manifest)}))
    with pytest.raises(ValueError, match="has schema 9; allowed: 1"):
        Model(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "model/model.onnx", "preprocess.json"])
def test_a_bundle_that_was_changed_does_not_answer(bundle: Path, tmp_path: Path, name: str) -> None:
    copied = shutil.copytree(bundle, tmp_path / "copied")
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(bytes(content))
    with pytest.raises(ValueError, match=f"{name}.*(was changed|cannot be read)"):
        Model(copied)


# ---- files of samples --------------------------------------------------------------------------------------


def image_bundle(folder: Path, channels: int, layout: Literal["nhwc", "nchw", "as-is"] = "nhwc") -> Path:
    """A bundle of a network that gives its input back, [1, channels, 4, 6]; images are resized to that."""
    onnx = pytest.importorskip("onnx")
    helper, real, shape = onnx.helper, onnx.TensorProto.FLOAT, (1, channels, 4, 6)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["same"])],
        "same",
        [helper.make_tensor_value_info("image", real, shape)],
        [helper.make_tensor_value_info("same", real, shape)],
    )
    artifact = artifact_of("onnxruntime", folder / "artifact")
    path = Path(artifact.folder) / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    artifact = replace(artifact, files=(hash_file(path, path.name),))
    how = Preprocess(layout, 255.0, resize=4) if layout != "as-is" else Preprocess()
    parts = bundle_parts(artifact, how)
    specs = (TensorSpec("image", "float32", shape),), (TensorSpec("same", "float32", shape),)
    parts["variant"] = replace(parts["variant"], signature=Signature(*specs))
    samples = np.random.RandomState(0).rand(2, *shape[1:]).astype(np.float32)
    parts["golden"] = Golden((samples,), (samples,))
    write_bundle(folder / "bundle", **parts)
    return folder / "bundle"


def write_images(folder: Path, mode: str, suffix: str) -> Path:
    """A folder of one class with two images of 8 x 12 pixels, the second turned by its EXIF."""
    pillow = pytest.importorskip("PIL.Image")
    (folder / "one").mkdir(parents=True)
    for number, orientation in enumerate((1, 3)):
        sizes = (8, 12) if mode == "L" else (8, 12, 3)
        pixels = np.random.RandomState(number).randint(0, 256, sizes).astype(np.uint8)
        exif = pillow.Exif()
        exif[0x0112] = orientation
        pillow.fromarray(pixels).save(folder / "one" / f"{number}{suffix}", exif=exif)
    return folder


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", ".png"), ("RGB", ".jpg"), ("L", ".png"), ("RGB", ".webp")]
)
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_an_image_is_read_as_the_build_read_it(
    tmp_path: Path, mode: str, suffix: str, layout: Literal["nhwc", "nchw"]
) -> None:
    folder = write_images(tmp_path / "images", mode, suffix)
    source = open_source(folder, Preprocess("nhwc", 255.0, resize=4), tmp_path)
    fed = source.take(np.arange(2)).inputs[0]
    with Model(image_bundle(tmp_path, 1 if mode == "L" else 3, layout)) as model:
        for number in range(2):
            (seen,) = model.predict(folder / "one" / f"{number}{suffix}").values()
            np.testing.assert_array_equal(seen, fed[number])


def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", "RGB", ".png")
    (tmp_path / "cut.png").write_bytes((folder / "one" / "0.png").read_bytes()[:60])
    (tmp_path / "no.npy").write_bytes(b"nothing")
    (tmp_path / "text.csv").write_text("1,2")
    with Model(image_bundle(tmp_path, 3)) as model:
        for name, message in (
            ("cut.png", "cut.png cannot be decoded: "),
            ("no.npy", "no.npy is no array of numbers in a .npy file"),
            ("gone.npy", "gone.npy cannot be read: No such file or directory"),
            ("gone.jpg", "gone.jpg cannot be decoded: .*No such file"),
            ("text.csv", r"text.csv is no file of samples; allowed: .npy, or an image"),
        ):
            with pytest.raises(SampleError, match=message):
                model.predict(tmp_path / name)


def test_an_image_for_a_network_that_was_fed_arrays_is_told(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", "RGB", ".png")
    with (
        Model(image_bundle(tmp_path, 3, "as-is")) as model,
        pytest.raises(
            SampleError,
            match=r"0.png is an image, but input image takes \[3, 4, 6\] of layout as-is; allowed: a .npy",
        ),
    ):
        model.predict(str(folder / "one" / "0.png"))


def test_without_pillow_the_line_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_images(tmp_path / "images", "RGB", ".png")
    with Model(image_bundle(tmp_path, 3)) as model:
        monkeypatch.setitem(sys.modules, "PIL", None)
        with pytest.raises(
            SampleError, match=r"0\.png is an image: Pillow is not installed: pip install pillow"
        ):
            model.predict(folder / "one" / "0.png")
        with pytest.raises(SampleError, match="a sample of 12x8 has to be resized: Pillow is not installed"):
            model.predict(np.zeros((8, 12, 3), np.uint8))
        assert model.predict(np.zeros((4, 6, 3), np.uint8))["same"].shape == (3, 4, 6)


def infer(bundle: Path, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(bundle / "infer.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def test_infer_py_answers_every_sample_of_a_batch(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "batch.npy", IMAGES)
    np.save(tmp_path / "single.npy", IMAGES[1])
    done = infer(bundle, tmp_path / "batch.npy")
    assert done.returncode == 0, done.stderr
    names = [" ".join(name.split()) for name in CLASSES]
    tops = [line for line in done.stdout.splitlines() if "top class" in line]
    best = SCORES.argmax(axis=1)
    assert tops == [f"sample {index}: top class: {top} {names[top]}" for index, top in enumerate(best)]
    single = infer(bundle, tmp_path / "single.npy").stdout.splitlines()[-1]
    assert single == f"top class: {best[1]} {names[best[1]]}"


def test_infer_py_tells_a_mistake_in_one_line_and_ends_with_2(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "row.npy", np.zeros(3))
    for arguments in (["missing.npy"], [tmp_path / "row.npy"], ["a.npy", "b.npy"], ["cat.jpg"]):
        done = infer(bundle, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("infer.py: ")
        assert done.stderr.count("\n") == 1


def test_infer_py_and_settle_py_can_be_imported(bundle: Path, tmp_path: Path) -> None:
    code = """
sys.argv = ["service.py", "SAMPLE.npy"]
import infer
print(infer.Model.__name__, sys.dont_write_bytecode)
"""
    copied = shutil.copytree(bundle, tmp_path / "copied")
    program = WITHOUT_EDGEKIT.format(bundle=str(copied)) + code
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Model False\n", "")
    assert 'if __name__ == "__main__":' in (TEMPLATES / "settle.txt").read_text()


# ---- several inputs ----------------------------------------------------------------------------------------


def two_inputs(folder: Path) -> Path:
    """A bundle of `sum = image + offset`, `row = tokens`: preprocessing is declared for the first input."""
    onnx = pytest.importorskip("onnx")
    helper, real, whole = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    graph = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["light"]), helper.make_node("Identity", ["tokens"], ["row"])],
        "two",
        [helper.make_tensor_value_info("image", real, [1, 2]), helper.make_tensor_value_info("tokens", whole, [1, 3])],
        [helper.make_tensor_value_info("light", real, [1, 2]), helper.make_tensor_value_info("row", whole, [1, 3])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    artifact = artifact_of("onnxruntime", folder / "artifact")
    path = Path(artifact.folder) / "model.onnx"
    onnx.save(model, str(path))
    signature = Signature(
        (TensorSpec("image", "float32", (1, 2)), TensorSpec("tokens", "int64", (1, 3))),
        (TensorSpec("light", "float32", (1, 2)), TensorSpec("row", "int64", (1, 3))),
    )
    artifact = replace(artifact, files=(hash_file(path, path.name),))
    parts = bundle_parts(artifact, Preprocess(scale=2.0))
    images, tokens = np.ones((2, 2), np.float32), np.arange(6, dtype=np.int64).reshape(2, 3)
    parts["variant"] = replace(parts["variant"], signature=signature)
    parts["golden"] = Golden((images, tokens), (images, tokens))
    write_bundle(folder / "bundle", **parts)
    return folder / "bundle"


@pytest.mark.parametrize("by_name", [True, False])
def test_several_inputs_come_by_name_or_in_order(tmp_path: Path, by_name: bool) -> None:
    images, tokens = np.array([[4.0, -2.0], [1.0, 8.0]]), np.array([[1, 2, 3], [4, 5, 6]])
    with Model(str(two_inputs(tmp_path))) as model:

        def samples(image: NDArray[Any], row: NDArray[Any]) -> Any:
            return {"tokens": row, "image": image} if by_name else [image, row]

        batch = model.predict(samples(images, tokens))
        single = model.predict(samples(images[1], tokens[1]))
        with pytest.raises(SampleError, match="a sample of each input, or a batch of each"):
            model.predict(samples(images, tokens[0]))
    np.testing.assert_array_equal(batch["light"], [[2.0, 0.0], [0.5, 4.0]])
    np.testing.assert_array_equal(batch["row"], tokens)
    np.testing.assert_array_equal(single["light"], [0.5, 4.0])
    np.testing.assert_array_equal(single["row"], tokens[1])


def test_the_number_of_inputs_is_told(tmp_path: Path) -> None:
    with Model(str(two_inputs(tmp_path))) as model:
        with pytest.raises(SampleError, match="3 arrays came; allowed: one for each of image, tokens"):
            model.predict([1, 2, 3])
        assert model.golden_deviation() <= model.tolerance


# ---- where edgekit is not ----------------------------------------------------------------------------------

ANSWERS = """
from board import Model
import json, numpy
with Model({bundle!r}) as model:
    print(json.dumps(model.predict(numpy.load({images!r}))["scores"].tolist()))
assert not [name for name in sys.modules if name.partition(".")[0] == "edgekit"]
"""


def answers(python: str, bundle: Path, tmp_path: Path) -> NDArray[Any]:
    np.save(tmp_path / "images.npy", IMAGES)
    code = ANSWERS.format(bundle=str(bundle), images=str(tmp_path / "images.npy"))
    done = run_isolated(python, code, bundle, tmp_path)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout))


def test_a_copied_bundle_answers_where_edgekit_is_not(bundle: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(bundle, tmp_path / "elsewhere" / "copied")
    np.testing.assert_allclose(answers(sys.executable, copied, tmp_path), SCORES, rtol=1e-5)
    assert verify_bundle(copied).ok


def test_importing_it_reads_no_arguments_and_starts_nothing(bundle: Path, tmp_path: Path) -> None:
    code = """
sys.argv = ["service.py", "run", "--worker", "--help"]
before = set(sys.modules)
import board
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.builtin_module_names)))
"""
    done = run_isolated(sys.executable, code, bundle, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    assert "board" in loaded
    assert loaded <= {"board"} | sys.stdlib_module_names


def test_infer_py_runs_where_edgekit_is_not(bundle: Path, tmp_path: Path) -> None:
    code = "import runpy; runpy.run_path(sys.path[0] + '/infer.py', run_name='__main__')"
    done = run_isolated(sys.executable, code, bundle, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("golden outputs match: off by ")


# ---- on an old Python itself -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def python36() -> str:
    """The interpreter that PYTHON36 names, with ONNX Runtime."""
    named = os.environ.get("PYTHON36", "")
    if not named:
        pytest.skip("PYTHON36 names no Python 3.6 with numpy and onnxruntime")
    code = "import sys, onnxruntime; print(sys.version_info[:2] == (3, 6))"
    done = subprocess.run([named, "-c", code], capture_output=True, text=True, check=False, env={})
    if done.stdout.strip() != "True":
        pytest.skip(f"{named} is no Python 3.6 with onnxruntime: {done.stderr.strip()[-200:]}")
    return named


@pytest.fixture(scope="module")
def old_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    artifact = artifact_of(
        "onnxruntime", folder / "artifact", opset=13
    )  # the last for 3.6 is ONNX Runtime 1.10
    return bundle_of(artifact, folder / "bundle", classes=("Kätzchen", "Hündin", "Füchse"))


def run_old(python: str, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Without a locale, where 3.6 writes ASCII."""
    return subprocess.run(
        [python, str(program), *arguments],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_python_3_6_answers_as_the_newest_does(python36: str, old_bundle: Path, tmp_path: Path) -> None:
    np.testing.assert_allclose(answers(python36, old_bundle, tmp_path), SCORES, rtol=1e-5)


def test_python_3_6_runs_infer_py(python36: str, old_bundle: Path, tmp_path: Path) -> None:
    checked = run_old(python36, old_bundle / "infer.py")
    assert checked.stdout.startswith("golden outputs match: off by "), checked.stderr
    np.save(tmp_path / "image.npy", IMAGES[0])
    answered = run_old(python36, old_bundle / "infer.py", str(tmp_path / "image.npy"))
    top = int(SCORES[0].argmax())
    assert answered.stdout.splitlines()[-1] == f"top class: {top} {('Kätzchen', 'Hündin', 'Füchse')[top]}"
    assert verify_bundle(old_bundle).ok


def test_python_3_6_settles(python36: str, tmp_path: Path) -> None:
    artifact = artifact_of("onnxruntime", tmp_path / "artifact", opset=13)
    facts = [
        CandidateFacts(name, f"candidates/{name}", "original", "onnxruntime", "fp32", "", None, "top-1", 0.9, drop, 1)
        for name, drop in (("a", 0.0), ("b", 0.005))
    ]  # fmt: skip
    write_candidates(
        tmp_path / "bundle", [Offer(fact, bundle_parts(artifact)) for fact in facts], target="t", threads=1,
        budget=Budget(max_latency_ms=1000.0), identity=BoardIdentity(platform.machine()), edgekit_version="0",
    )  # fmt: skip
    done = run_old(python36, tmp_path / "bundle" / "settle.py", "--seconds", "0.2")
    assert done.returncode == 0, done.stderr
    settled = json.loads((tmp_path / "bundle" / "settled.json").read_text())
    assert (settled["verdict"], settled["winner"]) == ("MEETS", "a")
    assert settled["facts"]["python"].startswith("3.6.")
    assert verify_bundle(tmp_path / "bundle").ok


def test_a_model_says_what_it_takes_and_gives(bundle: Path) -> None:
    with Model(bundle) as model:
        told = repr(model)
        (taken,), (given,) = model.inputs, model.outputs
    assert told.startswith("<Model in onnxruntime: ")
    assert f"{taken['name']} {taken['dtype']} {taken['shape']} -> {given['name']}" in told
