"""Where zeros among weights are worth something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.hardware import find_target
from edgekit.plan import is_stored_sparse, roofline, why_not_faster_sparse
from edgekit.types import BackendName, Candidate, Cost, LayerCost, Precision, Sparsity

HALF, MOST, FEW = Sparsity("2:4", 0.5), Sparsity("unstructured", 0.8), Sparsity("unstructured", 0.6)


def why(
    target: str,
    backend: BackendName,
    precision: Precision,
    sparsity: Sparsity,
    *features: str,
    device: str = "",
) -> str:
    candidate = Candidate("c", "v", backend, precision, "", device)
    return why_not_faster_sparse(
        find_target(target, Path(__file__).parent), frozenset(features), candidate, sparsity
    )


@pytest.mark.parametrize(
    ("target", "backend", "precision", "sparsity", "features"),
    [
        ("jetson-orin-nano", "tensorrt", "int8", HALF, ()),
        ("rtx-ampere", "tensorrt", "fp16", HALF, ()),
        ("raspberry-pi-4", "litert", "fp32", MOST, ()),
        ("generic-arm64", "litert", "fp32", MOST, ()),
        ("intel-cpu", "openvino", "int8", HALF, ("amx_int8",)),
    ],
)
def test_where_it_may_be_faster(
    target: str, backend: BackendName, precision: Precision, sparsity: Sparsity, features: tuple[str, ...]
) -> None:
    assert why(target, backend, precision, sparsity, *features) == ""


@pytest.mark.parametrize(
    ("target", "backend", "precision", "sparsity", "features", "device", "said"),
    [
        (
            "generic-cpu",
            "onnxruntime",
            "fp32",
            MOST,
            (),
            "",
            "ONNX Runtime has no kernels for sparse weights",
        ),
        ("jetson-orin-nano", "tensorrt", "int8", MOST, (), "", "TensorRT is faster by 2:4 alone"),
        (
            "jetson-xavier-nx",
            "tensorrt",
            "int8",
            HALF,
            (),
            "",
            r"sparse tensor cores \(Ampere and later\); jetson-xav",
        ),
        ("jetson-nano", "tensorrt", "fp16", HALF, (), "", "jetson-nano is none"),
        ("jetson-orin-nano", "tensorrt", "fp32", HALF, (), "", "kernels for fp16 and int8 alone"),
        ("jetson-orin-nx", "tensorrt", "int8", HALF, (), "dla", "and this build is for the DLA"),
        ("generic-cpu", "litert", "fp32", MOST, (), "", "an Arm CPU .*; generic-cpu is none"),
        ("raspberry-pi-4", "litert", "int8", MOST, (), "", "kernels for fp32 alone"),
        (
            "raspberry-pi-4",
            "litert",
            "fp32",
            FEW,
            (),
            "",
            "more than 67% of the weights are zero; 0.6 makes 60%",
        ),
        ("raspberry-pi-4", "litert", "fp32", HALF, (), "", "2:4 makes 50%"),
        ("intel-cpu", "openvino", "int8", HALF, ("avx2",), "", "a CPU with AMX"),
        ("intel-cpu", "openvino", "fp32", HALF, ("amx_int8",), "", "kernels for int8 alone"),
        ("intel-igpu", "openvino", "int8", HALF, ("amx_int8",), "", "a CPU with AMX"),
    ],
)
def test_elsewhere_the_reason_is_told(
    target: str, backend: BackendName, precision: Precision, sparsity: Sparsity, features: tuple[str, ...],
    device: str, said: str,
) -> None:  # fmt: skip
    reason = why(target, backend, precision, sparsity, *features, device=device)
    assert re.search(said, reason)


def test_files_of_litert_in_float_alone_leave_zeros_out() -> None:
    stored = {
        (backend, precision)
        for backend in ("onnxruntime", "openvino", "litert", "tensorrt")
        for precision in ("fp32", "fp16", "int8")
        if is_stored_sparse(Candidate("c", "v", backend, precision, ""))  # type: ignore[arg-type]
    }
    assert stored == {("litert", "fp32")}


def test_an_estimate_knows_of_zeros_by_an_assumption_that_it_states() -> None:
    target = find_target("jetson-orin-nano", Path(__file__).parent)
    cost = Cost(10**9, 1000, 4000, 2000, (LayerCost("l", "Conv", 10**9, 0, 1000),))
    dense, sparse = (roofline(target, cost, "int8", sparse=is_sparse) for is_sparse in (False, True))
    assert dense.latency_ms is not None
    assert sparse.latency_ms is not None
    assert sparse.latency_ms.low == pytest.approx(dense.latency_ms.low / 2)
    assert dense.latency_ms.low < sparse.latency_ms.value < dense.latency_ms.value
    assert sparse.latency_ms.high == dense.latency_ms.high
    assert sparse.sentences[:-1] == dense.sentences
    assert sparse.sentences[-1].startswith("Assumed of sparse weights: 1.2 times the rate")
