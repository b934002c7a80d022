"""What lint says of a network is what its export then does, in every runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.errors import StageError
from edgekit.hardware import find_target
from edgekit.model import export_onnx
from edgekit.testing.case_networks import CASE_NETWORKS
from edgekit.testing.onnx_networks import as_variant
from edgekit.types import BackendName, Candidate, Issue, Variant
from tests.backends.graphs import conv, graph, node, weights

BOARDS: tuple[tuple[BackendName, str], ...] = (
    ("onnxruntime", "generic-cpu"),
    ("openvino", "generic-cpu"),
    ("tensorrt", "jetson-nano"),
    ("tensorrt", "rtx-ada"),
)


def lint_errors(variant: Variant, backend: BackendName, target: str) -> list[Issue]:
    issues = get_backend(backend).lint(variant, find_target(target)).issues
    return [issue for issue in issues if issue.severity == "error"]


def export_refusal(variant: Variant, backend: BackendName, target: str, folder: Path) -> str:
    """Why the float network cannot be made; nothing where it is."""
    folder.mkdir()
    candidate = Candidate("c", variant.id, backend, "fp32")
    request = ExportRequest(variant, candidate, find_target(target), frozenset({"avx2", "fma"}), folder)
    try:
        get_backend(backend).export(request)
    except StageError as error:
        return error.cause
    return ""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Variant]:
    """Networks by name as ONNX, each made once."""
    folder, made = tmp_path_factory.mktemp("networks"), dict[str, Variant]()

    def get(name: str) -> Variant:
        if name not in made:
            network = CASE_NETWORKS[name]
            export_onnx(network.make(), network.inputs(), folder / f"{name}.onnx")
            made[name] = as_variant(folder / f"{name}.onnx")
        return made[name]

    return get


TAKEN = sorted(CASE_NETWORKS.keys() - {"uint8-image"})


@pytest.mark.parametrize("name", TAKEN)
def test_what_lint_finds_nothing_in_is_exported(
    name: str, exported: Callable[[str], Variant], tmp_path: Path
) -> None:
    """All of these are taken everywhere; another answer of either side is told with its reason."""
    variant = exported(name)
    for index, (backend, target) in enumerate(BOARDS):
        assert lint_errors(variant, backend, target) == [], (backend, target)
        assert export_refusal(variant, backend, target, tmp_path / str(index)) == "", (backend, target)


def foreign() -> onnx.ModelProto:
    model = graph([conv("x", "y")], {"w": weights(4, 4, 3, 3)})
    model.opset_import.append(onnx.helper.make_opsetid("my.domain", 1))
    model.graph.node[0].op_type, model.graph.node[0].domain = "Magic", "my.domain"
    return model


def whole_numbers() -> onnx.ModelProto:
    model = graph([node("Cast", ["x"], ["y"], to=onnx.TensorProto.FLOAT)], {})
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    return model


def resized(**how: object) -> onnx.ModelProto:
    scales = np.array([1, 1, 0.5, 0.5], np.float32)
    return graph([node("Resize", ["x", "", "s"], ["y"], **how)], {"s": scales}, opset=18)


def quantized_bias() -> onnx.ModelProto:
    constants = {"q": np.ones((1, 4, 8, 8), np.int32), "k": np.float32(1)}
    return graph([node("DequantizeLinear", ["q", "k"], ["b"]), node("Add", ["x", "b"], ["y"])], constants)


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[BackendName, str]]] = {
    "a foreign operation": (foreign, ("onnxruntime", "generic-cpu")),
    "a foreign operation, read": (foreign, ("openvino", "generic-cpu")),
    "a foreign operation, parsed": (foreign, ("tensorrt", "rtx-ada")),
    "uint8": (whole_numbers, ("tensorrt", "jetson-orin-nano")),
    "cubic": (lambda: resized(mode="cubic"), ("tensorrt", "jetson-orin-nano")),
    "antialias": (lambda: resized(mode="linear", antialias=1), ("tensorrt", "jetson-nano")),
    "an int32 constant": (quantized_bias, ("tensorrt", "rtx-ada")),
    "positions": (lambda: graph([node("NonZero", ["x"], ["y"])], {}), ("tensorrt", "jetson-nano")),
    "a newer opset": (
        lambda: graph([node("Relu", ["x"], ["y"])], {}, opset=23),
        ("onnxruntime", "generic-cpu"),
    ),
}


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_lint_refuses_is_not_exported_for_the_same_reason(kind: str, tmp_path: Path) -> None:
    make, board = REFUSED[kind]
    onnx.save(make(), str(tmp_path / "network.onnx"))
    variant = as_variant(tmp_path / "network.onnx")
    errors = lint_errors(variant, *board)
    refusal = export_refusal(variant, *board, tmp_path / "out")
    assert errors
    assert any(issue.reason in refusal or (refusal and refusal in issue.reason) for issue in errors), (
        errors,
        refusal,
    )
