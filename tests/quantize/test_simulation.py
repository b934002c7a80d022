"""Simulated quantization, layer sensitivity, bias correction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.graph import CalibrationData
from edgekit.graph.taps import load_graph, open_taps
from edgekit.quantize import Scheme, collect_ranges, corrected_biases, sensitivity
from edgekit.quantize.bias import with_biases
from edgekit.quantize.simulate import fake_quantize_weights, simulated
from edgekit.testing.onnx_networks import OUTPUT, samples

LAYERS = ("stem", "inner", "widen", "head")


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bits", [7, 8])
def test_fake_weights_lie_on_the_grid(bits: int, per_channel: bool) -> None:
    weights = np.random.default_rng(0).standard_normal((6, 4, 3, 3)).astype(np.float32)
    rounded = fake_quantize_weights(weights, Scheme(weight_bits=bits, per_channel=per_channel), 0)
    largest = 127 if bits == 8 else 64
    edge = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) if per_channel else np.abs(weights).max()
    integers = rounded / (edge / largest)
    assert np.allclose(integers, np.rint(integers), atol=1e-3)
    assert np.abs(rounded - weights).max() <= 0.51 * np.max(edge) / largest


def test_weights_of_zeros_stay_zeros() -> None:
    assert not fake_quantize_weights(np.zeros((3, 2), np.float32), Scheme(), 0).any()


def test_simulating_no_layer_changes_nothing(network: Path, data: CalibrationData) -> None:
    model = load_graph(network)
    plain = open_taps(model, [OUTPUT]).run((samples(8),))[OUTPUT]
    same = open_taps(simulated(model, collect_ranges(network, data), (), Scheme()), [OUTPUT]).run(
        (samples(8),)
    )
    assert np.array_equal(plain, same[OUTPUT])


def test_simulating_every_layer_stays_near_float(network: Path, data: CalibrationData) -> None:
    model = load_graph(network)
    plain = open_taps(model, [OUTPUT]).run((samples(8),))[OUTPUT]
    every = simulated(model, collect_ranges(network, data), LAYERS, Scheme())
    rough = open_taps(every, [OUTPUT], simulated=True).run((samples(8),))[OUTPUT]
    assert 0 < np.square(rough - plain).sum() < 0.01 * np.square(plain).sum()


def test_sensitivity_ranks_every_layer_worst_first(network: Path, data: CalibrationData) -> None:
    ranked = sensitivity(network, data, collect_ranges(network, data))
    assert {entry.layer for entry in ranked} == set(LAYERS)
    assert [entry.sqnr_db for entry in ranked] == sorted(entry.sqnr_db for entry in ranked)


def test_a_layer_with_a_ruined_range_is_the_most_sensitive(network: Path, data: CalibrationData) -> None:
    from edgekit.quantize import Range

    ranges = {**collect_ranges(network, data), "r2": Range(0.0, 0.05)}
    assert sensitivity(network, data, ranges, samples=16)[0].layer in ("inner", "widen")


def test_fewer_weight_bits_are_never_better(network: Path, data: CalibrationData) -> None:
    ranges = collect_ranges(network, data)
    by_bits = {
        bits: {
            e.layer: e.sqnr_db for e in sensitivity(network, data, ranges, scheme=Scheme(weight_bits=bits))
        }
        for bits in (4, 8)
    }
    assert all(by_bits[4][layer] < by_bits[8][layer] for layer in LAYERS)


def test_sensitivity_survives_json(network: Path, data: CalibrationData) -> None:
    import msgspec

    from edgekit.quantize import LayerSensitivity

    ranked = sensitivity(network, data, collect_ranges(network, data), samples=4)
    assert msgspec.json.decode(msgspec.json.encode(ranked), type=tuple[LayerSensitivity, ...]) == ranked


@pytest.mark.parametrize("mode", ["fast", "full"])
def test_bias_correction_takes_out_the_mean_shift_of_the_outputs(
    network: Path, data: CalibrationData, mode: str
) -> None:
    scheme = Scheme(weight_bits=4)
    ranges = collect_ranges(network, data)
    model = load_graph(network)
    inputs = samples(64, 9)

    def mean(biases: dict[str, np.ndarray], quantized: bool) -> np.ndarray:
        graph = with_biases(model, biases)
        graph = simulated(graph, ranges, LAYERS, scheme) if quantized else graph
        return open_taps(graph, [OUTPUT], simulated=True).run((inputs,))[OUTPUT].mean(axis=0)

    biases = corrected_biases(network, data, ranges, mode=mode, scheme=scheme)  # type: ignore[arg-type]
    plain, shifted, corrected = mean({}, False), mean({}, True), mean(biases, True)
    assert np.abs(corrected - plain).sum() < 0.5 * np.abs(shifted - plain).sum()


def test_a_layer_without_bias_gets_one(network: Path, data: CalibrationData) -> None:
    biases = corrected_biases(network, data, collect_ranges(network, data))
    assert {name: bias.shape for name, bias in biases.items()} == {
        "stem": (8,),
        "inner": (8,),
        "widen": (16,),
        "head": (5,),
    }
