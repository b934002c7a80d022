"""A tiny network as an artifact and as a bundle, for tests of what handles bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.bundle import Golden, write_bundle
from edgekit.bundle.manifest import hash_file
from edgekit.types import (
    Accuracy,
    Artifact,
    Audit,
    BackendName,
    Candidate,
    Cost,
    Environment,
    Estimate,
    Latency,
    Measurement,
    Preprocess,
    Signature,
    TensorSpec,
    Variant,
)

CLASSES = ("cat", "dog", "red  fox")
SIGNATURE = Signature(
    (TensorSpec("image", "float32", (1, 2, 4, 4)),), (TensorSpec("scores", "float32", (1, 3)),)
)
PREPROCESS = Preprocess("nhwc", 255.0, (0.5, 0.25), (0.5, 2.0), crop=4)
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(32, 3)).astype(np.float32)
SAMPLES = RNG.normal(size=(4, 2, 4, 4)).astype(np.float32)


def network(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the tiny model computes, in numpy."""
    return images.reshape(len(images), -1) @ WEIGHTS


def onnx_model(folder: Path, opset: int = 17) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["scores"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", real, [1, 2, 4, 4])],
        [helper.make_tensor_value_info("scores", real, [1, 3])],
        [onnx.numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return path


def tflite_model(path: Path) -> dict[str, str]:
    """The ONNX file as .tflite beside it; gives the options that describe its ports."""
    pytest.importorskip("litert_torch")
    from edgekit.backends.litert.backend import described
    from edgekit.backends.litert.convert import convert

    made = convert(path, path.with_suffix(".tflite"))
    return {"inputs": described(made.inputs), "outputs": described(made.outputs)}


def artifact_of(backend: BackendName, folder: Path, opset: int = 17) -> Artifact:
    folder.mkdir()
    path = onnx_model(folder, opset)
    options: Mapping[str, str] = {}
    if backend == "openvino":
        openvino = pytest.importorskip("openvino")
        openvino.save_model(
            openvino.convert_model(str(path)), str(folder / "model.xml"), compress_to_fp16=False
        )
        path.unlink()
        options = {"INFERENCE_PRECISION_HINT": "f32"}
    elif backend == "litert":
        options = tflite_model(path)
        path.unlink()
    else:
        pytest.importorskip("onnxruntime")
    files = tuple(hash_file(path, path.name) for path in sorted(folder.iterdir()))
    entry = {"openvino": "model.xml", "litert": "model.tflite"}.get(backend, "model.onnx")
    size = sum(file.size_bytes for file in files)
    audit = Audit("fp32")
    return Artifact("c", backend, str(folder), entry, files, size, 0.1, {backend: "1"}, options, audit)


def bundle_of(
    artifact: Artifact, folder: Path, preprocess: Preprocess = PREPROCESS, classes: Sequence[str] = CLASSES
) -> Path:
    write_bundle(folder, **bundle_parts(artifact, preprocess, classes))
    return folder


def bundle_parts(
    artifact: Artifact, preprocess: Preprocess = PREPROCESS, classes: Sequence[str] = CLASSES
) -> dict[str, Any]:
    """What `write_bundle` takes, with made-up measurements."""
    at = Estimate(1.0, 0.9, 1.1)
    latency = Latency(at, at, at, ((1.0,),), 3, True)
    accuracy = Accuracy("top-1", "validation", 100, Estimate(0.9, 0.8, 0.95), Estimate(0.01, 0.0, 0.02))
    here = Environment("box", "A CPU", (), 2, 10**9, "Linux", "3.11", {}, 1, (0,), "", 0.0)
    return dict(  # noqa: C408
        artifact=artifact,
        variant=Variant(
            "original", "original", None, "as given", "m.onnx", "d" * 64, SIGNATURE, Cost(1, 1, 1, 1)
        ),
        candidate=Candidate("original-ort-fp32", "original", artifact.backend, "fp32"),
        measurement=Measurement("c", "device", here, 5.0, 10_000_000, latency, accuracy),
        target="generic-cpu",
        threads=1,
        preprocess=preprocess,
        classes=classes,
        golden=Golden((SAMPLES,), (network(SAMPLES),)),
        vocabularies={},
        edgekit_version="0.0.0",
        claim=replace(accuracy, split="test"),
    )
