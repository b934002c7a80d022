"""Times in both precisions, corrected by whole networks: what is fitted, what is refused, and real networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.devices import LocalDevice
from edgekit.errors import StageError
from edgekit.hardware import find_target
from edgekit.latency.mixed_wholes import Mixed, correct_precisions, fit_precisions
from edgekit.latency.wholes import build_whole
from edgekit.quantize import Border, PrecisionTimes, SwitchableUnit
from edgekit.quantize.kept_by_time import int8_network_ms
from edgekit.testing.onnx_networks import residual_network
from edgekit.types import Artifact, BackendName

pytest.importorskip("onnx")

ALONE = ("stem", "stem_relu"), ("inner", "inner_relu"), ("widen",), ("head",)


def times(int8_ms: float = 1.0) -> PrecisionTimes:
    """Of the residual network, as a made-up board has them."""
    units = tuple(
        SwitchableUnit(nodes, extra) for nodes, extra in zip(ALONE, (0.05, 0.1, 0.1, 0.08), strict=True)
    )
    borders = (
        Border("r1", 0, (1,), 0.02),
        Border("r2", 1, (2,), 0.01),
        Border("c3", 2, (3,), 0.015),
        Border("out", 3, (None,), 0.005),
    )
    return PrecisionTimes(units, borders, int8_ms, True, "a board that is made up")


SETS = ((0,), (3,), (0, 1), (0, 1, 2), (1, 3), (0, 1, 2, 3))


@settings(deadline=None)
@given(st.floats(0.6, 1.5), st.floats(0.5, 5.0), st.floats(0.0, 0.03), st.floats(0.5, 2.0))
def test_a_share_that_is_asked_is_the_share_that_is_seen(
    own: float, borders: float, unit: float, int8_ms: float
) -> None:
    """Where a board's times are the table's by such factors, every set comes out within 2 % of the INT8 time."""
    told = times()
    seen = told.corrected(own, borders, unit * int8_ms, 1.0, "the truth")

    def really(chosen: tuple[int, ...]) -> float:
        return seen.extra_ms({*chosen, None}, {None})

    fitted = fit_precisions(told, (), int8_ms, [Mixed(chosen, really(chosen)) for chosen in SETS])
    assert int8_network_ms(fitted, ()) == pytest.approx(int8_ms)
    for chosen in (*SETS, (2,), (0, 3)):
        assert abs(fitted.extra_ms({*chosen, None}, {None}) - really(chosen)) <= 0.02 * int8_ms
    assert "corrected by 6 whole networks" in fitted.measured_on


def test_what_is_float_anyway_is_a_part_of_the_network_that_was_measured() -> None:
    fitted = fit_precisions(
        times(), ("widen",), 2.0, [Mixed((0,), 0.1), Mixed((3,), 0.1), Mixed((0, 1), 0.2)]
    )
    assert int8_network_ms(fitted, ("widen",)) == pytest.approx(2.0)


def test_a_unit_of_unknown_time_stays_unknown() -> None:
    told = replace(times(), units=(*times().units[:3], SwitchableUnit(("head",), None)))
    fitted = fit_precisions(told, (), 1.0, [Mixed((0,), 0.1), Mixed((1,), 0.1), Mixed((0, 1), 0.2)])
    assert fitted.units[3].extra_ms is None


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "litert"])
def test_real_networks_correct_what_layers_said(runtime: BackendName, tmp_path: Path) -> None:
    pytest.importorskip({"litert": "ai_edge_litert"}.get(runtime, runtime))
    path = residual_network(tmp_path / "net.onnx")
    target, told = find_target("generic-cpu"), times()
    shares: list[float] = []

    def build(share: float) -> Artifact:
        shares.append(share)
        folder = tmp_path / f"{len(shares)}"
        folder.mkdir()
        # Each share another set: what the made-up times allow.
        return build_whole(
            path, runtime, "int8", target, frozenset(), folder, times=told, float_time=0.6 * share
        )

    fitted = correct_precisions(LocalDevice(tmp_path / "device"), told, build)
    assert shares[0] == 0.0
    assert "corrected by" in fitted.measured_on
    measured = int8_network_ms(fitted, ())
    assert 0 < measured < 50, "the whole network's own time, not the made-up second"
    assert all(border.ms >= 0 for border in fitted.borders)


def test_too_few_different_networks_are_no_correction(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    target = find_target("generic-cpu")
    dear = replace(times(), units=tuple(SwitchableUnit(nodes, 5.0) for nodes in ALONE))

    def build(share: float) -> Artifact:
        folder = tmp_path / f"{share}"
        folder.mkdir()
        return build_whole(
            path, "onnxruntime", "int8", target, frozenset(), folder, times=dear, float_time=share
        )

    with pytest.raises(StageError, match="0 different networks in both precisions can be made"):
        correct_precisions(LocalDevice(tmp_path / "device"), dear, build)
