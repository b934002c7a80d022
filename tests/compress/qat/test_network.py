"""The network of an ONNX file in torch: float as ONNX Runtime has it, and with a runtime's integers simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edgekit.compress.qat.network import QatNetwork
from edgekit.errors import StageError
from edgekit.graph.layers import weighted_layers
from edgekit.graph.taps import load_graph
from edgekit.model import export_onnx
from edgekit.quantize import Range, Scheme
from edgekit.quantize.placement import Placement
from edgekit.testing.networks import TinyConvNet, TinyTransformer
from edgekit.testing.onnx_networks import residual_network, samples

DIGIT = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)


def exported(module: nn.Module, folder: Path) -> Path:
    torch.manual_seed(0)
    export_onnx(module.eval(), (DIGIT[:1],), folder / "net.onnx")
    return folder / "net.onnx"


def by_onnxruntime(path: Path, arrays: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path))
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: array[None]})[0] for array in arrays])


def placement(path: Path, *, bits: int = 8, **ranges: tuple[float, float]) -> Placement:
    layers = tuple(layer.name for layer in weighted_layers(load_graph(path)))
    told = {name: Range(*ends) for name, ends in ranges.items()}
    return Placement("onnxruntime", Scheme(weight_bits=bits), told, (), layers)


@pytest.mark.parametrize("kind", [TinyConvNet, TinyTransformer])
def test_without_integers_it_is_the_file_s_network_for_any_batch(
    tmp_path: Path, kind: type[nn.Module]
) -> None:
    path = exported(kind(), tmp_path)
    network = QatNetwork(load_graph(path)).eval()
    with torch.no_grad():
        together = network(torch.from_numpy(DIGIT)).numpy()
        alone = np.concatenate([network(torch.from_numpy(digit[None])).numpy() for digit in DIGIT])
    assert np.allclose(together, by_onnxruntime(path, DIGIT), atol=1e-4)
    assert np.allclose(together, alone, atol=1e-5)


def test_slices_pads_and_means_are_those_of_the_file(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    with torch.no_grad():
        given = QatNetwork(load_graph(path)).eval()(torch.from_numpy(samples(7))).numpy()
    assert np.allclose(given, by_onnxruntime(path, samples(7)), atol=1e-4)


def test_a_tensor_with_a_range_is_on_its_grid(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    network = QatNetwork(load_graph(path), placement(path, scores=(-1.0, 1.55))).eval()
    with torch.no_grad():
        scores = network(torch.from_numpy(samples(7))).numpy()
    assert np.abs(scores / 0.01 - np.round(scores / 0.01)).max() < 1e-3
    assert scores.min() >= -1.0 - 1e-6


def test_all_that_is_trained_gets_a_gradient(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    network = QatNetwork(
        load_graph(path), placement(path, pixels=(-2.0, 2.0), r1=(0.0, 2.0), scores=(-1.0, 1.0))
    )
    network(torch.from_numpy(samples(7))).square().sum().backward()
    assert len(list(network.parameters())) == 4 + 3 + 3
    assert all(
        float(parameter.grad.abs().sum()) > 0
        for parameter in network.parameters()
        if parameter.grad is not None
    )
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_range_stays_where_an_activation_lets_values_be(tmp_path: Path) -> None:
    """A runtime leaves the Relu to the clipping at the zero point."""
    path = residual_network(tmp_path / "net.onnx")
    network = QatNetwork(load_graph(path), placement(path, r1=(0.0, 2.0)))
    with torch.no_grad():
        for end in network.spans.ends:
            end.copy_(torch.tensor([-0.5, 1.5]))
    assert network.trained_ranges()["r1"].low == 0.0
    assert network.trained_ranges()["r1"].high == pytest.approx(3.0)


def test_tensors_of_one_scale_have_one_range(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    tied = Placement(
        "litert",
        Scheme(),
        {"c3": Range(-1.0, 1.0), "p1": Range(-1.0, 1.0), "r3": Range(0.0, 1.0)},
        (("c3", "p1"),),
        (),
    )
    network = QatNetwork(load_graph(path), tied)
    assert len(network.spans.ends) == 2
    with torch.no_grad():
        network.spans.ends[0].copy_(torch.tensor([-0.25, 1.0]))
    ranges = network.trained_ranges()
    assert ranges["c3"] == ranges["p1"]
    assert ranges["c3"].high == pytest.approx(2.0, abs=0.01)
    assert ranges["r3"] == Range(0.0, 1.0)


def test_trained_weights_are_those_of_the_file_on_their_grid(tmp_path: Path) -> None:
    path = residual_network(tmp_path / "net.onnx")
    network = QatNetwork(load_graph(path), placement(path, bits=7))
    trained = network.trained_weights()
    file = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer
    }
    assert {"w1", "w2", "w3", "w4", "b1", "b2", "b4"} == set(trained)
    for name, array in trained.items():
        edge = np.abs(file[name]).max()
        assert array.shape == file[name].shape
        assert np.abs(array - file[name]).max() <= (edge / 64 / 2 * 1.01 if name.startswith("w") else 1e-6)
    channel = trained["w4"][0]  # transB: output channels first
    step = np.abs(channel).max() / 64
    assert np.abs(channel / step - np.round(channel / step)).max() < 1e-3


def test_a_larger_fixed_batch_cannot_be_trained(tmp_path: Path) -> None:
    model = load_graph(residual_network(tmp_path / "net.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    with pytest.raises(StageError, match="input pixels is 4x3x8x8: only networks of batch 1 are trained"):
        QatNetwork(model)


def test_an_operation_that_cannot_be_carried_over_is_named(tmp_path: Path) -> None:
    model = load_graph(residual_network(tmp_path / "net.onnx"))
    model.graph.node[1].op_type = "Hardmax"
    with pytest.raises(StageError, match="stem_relu cannot be trained: operator Hardmax"):
        QatNetwork(model)


def test_rows_of_a_table_are_rounded_as_the_file_has_them() -> None:
    from edgekit.graph.tables import look_ups, store_rows_in_int8
    from edgekit.graph.taps import open_taps

    table = np.random.default_rng(0).normal(0, np.geomspace(0.01, 10, 500)[:, None], (500, 16))
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (int64[1,6] ids) => (float[1,6,16] y) '
        "<float[500,16] words> { y = Gather(words, ids) }"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(table.astype(np.float32), "words"))
    model.graph.node[0].name = "rows"
    assert look_ups(model) == ("rows",)
    placed = Placement("onnxruntime", Scheme(), {}, (), (), tables=("rows",))
    ids = np.array([[0, 7, 150, 499, 299, 42]])
    simulated = QatNetwork(model, placed)(torch.from_numpy(ids)).detach().numpy()
    exact = QatNetwork(model)(torch.from_numpy(ids)).detach().numpy()
    store_rows_in_int8(model, ("rows",))
    np.testing.assert_allclose(simulated, open_taps(model, ("y",)).run([ids])["y"], rtol=1e-6)
    assert np.abs(simulated - exact).max() > 1e-3
