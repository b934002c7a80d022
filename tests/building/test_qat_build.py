"""A whole build that trains for a runtime's integers: trained, handed over, taken from the store the second time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edgekit
from edgekit.progress import SilentReporter, Step
from tests.conftest import UserNetwork


class Telling(SilentReporter):
    """Keeps the titles of steps."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def step(self, title: str) -> Step:
        self.titles.append(title)
        return super().step(title)


def test_a_network_is_trained_for_the_runtime_s_integers_and_kept(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")

    def build(**change: object) -> tuple[edgekit.Result, list[str]]:
        reporter = Telling()
        options: dict[str, object] = {
            "target": "generic-cpu", "model": digits_network.model, "weights": digits_network.weights, "data": "digits",
            "max_drop": "100%", "runtime": "onnxruntime", "precision": "fp32,int8", "qat": "always", "prune": False,
            "train": {"qat_epochs": 2.0, "batch_size": 32}, "timed_s": 0.2, "repeat": False, "out": tmp_path / "out",
            "store": tmp_path / "store", "reporter": reporter,
        }  # fmt: skip
        return edgekit.build(**{**options, **change}), reporter.titles  # type: ignore[arg-type]

    result, titles = build()
    assert any(title.startswith("Training original for the integers of ONNX Runtime") for title in titles)
    assert not result.failures
    trained = next(variant for variant in result.variants if variant.kind == "qat")
    assert (trained.id, trained.parent) == ("original-qat", "original")
    agreement = re.search(r"ONNX Runtime and the simulation agree on ([\d.]+)%", "\n".join(trained.history))
    assert agreement is not None
    assert float(agreement[1]) >= 99.5
    rows = {row.id: row for row in result.candidates}
    row = rows["original-qat-ort-int8-trained"]
    assert row.quantization is not None
    assert row.quantization.observer == "trained"
    assert row.accuracy is not None
    assert row.accuracy.drop < 0.02
    assert {row.id for row in result.candidates if row.variant == "original-qat"} == {row.id}
    again, titles = build()
    assert not any(title.startswith("Training") for title in titles)
    assert next(variant for variant in again.variants if variant.kind == "qat") == trained
