from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgekit.errors import ModelError
from edgekit.files import sha256_file
from edgekit.graph import read_signature
from edgekit.graph.equivalence import difference, run_onnx
from edgekit.graph.proto import read_model
from edgekit.model import export_onnx
from edgekit.testing.networks import DepthwiseNet, TinyConvNet, TinyTransformer
from edgekit.types import TensorSpec

GREY = np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32)
COLOUR = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)


class Branching(nn.Module):
    """Tracing bakes the branch of the example in: only the torch.export-based exporter notices."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if float(x.sum()) > 0 else x * 3


class TwoByTwo(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": a + b, "product": a * b}


class Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.table(tokens).mean(1)


@pytest.mark.parametrize(
    ("network", "x"), [(TinyConvNet, GREY), (DepthwiseNet, COLOUR), (TinyTransformer, GREY)]
)
def test_network_computes_the_same_as_onnx(network: type[nn.Module], x: np.ndarray, tmp_path: Path) -> None:
    module = network().eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.normal_(layer.running_mean)
    signature = export_onnx(module, (x,), tmp_path / "n.onnx")
    model = read_model(tmp_path / "n.onnx")
    assert signature == read_signature(tmp_path / "n.onnx")
    assert signature.inputs == (TensorSpec("input", "float32", (1, *x.shape[1:])),)
    assert signature.outputs == (TensorSpec("output", "float32", (1, 10)),)
    assert not difference([module(torch.from_numpy(x[1:])).detach().numpy()], run_onnx(model, (x[1:],)))
    assert [each.version for each in model.opset_import] == [17]
    assert not {"BatchNormalization", "Constant", "Identity"} & {node.op_type for node in model.graph.node}


@pytest.mark.slow
def test_what_cannot_be_traced_goes_through_torch_export(tmp_path: Path) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = np.random.default_rng(0).random((1, 4, 8), dtype=np.float32)
    assert export_onnx(layer, (x,), tmp_path / "n.onnx").outputs[0].shape == (1, 4, 8)
    assert read_model(tmp_path / "n.onnx").opset_import[0].version == 18


def test_export_prints_and_warns_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_onnx(TinyTransformer().eval(), (GREY,), tmp_path / "n.onnx")
    assert capfd.readouterr() == ("", "")


def test_equal_networks_give_equal_bytes_in_any_process(tmp_path: Path) -> None:
    code = (
        "import sys, torch, numpy as np; from edgekit.model import export_onnx\n"
        "from edgekit.testing.networks import TinyConvNet\n"
        "torch.manual_seed(0); torch.set_num_threads(1)\n"
        "export_onnx(TinyConvNet(), (np.ones((1, 1, 8, 8), np.float32),), sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.onnx")], check=True)
    torch.manual_seed(0)
    network = TinyConvNet()
    for name in ("b", "c"):
        export_onnx(network, (np.ones((1, 1, 8, 8), np.float32),), tmp_path / f"{name}.onnx")
    assert len({sha256_file(tmp_path / f"{name}.onnx") for name in "abc"}) == 1


def test_file_says_nothing_of_the_machine(tmp_path: Path) -> None:
    export_onnx(TinyConvNet(), (GREY,), tmp_path / "n.onnx")
    model = onnx.load(str(tmp_path / "n.onnx"))
    assert (model.producer_name, model.doc_string, model.graph.doc_string) == ("", "", "")
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    for trace in (b".py", str(tmp_path).encode(), str(Path.home()).encode() + b"/"):
        assert trace not in (tmp_path / "n.onnx").read_bytes()


def test_module_stays_as_it_was(tmp_path: Path) -> None:
    module = TinyConvNet().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    export_onnx(module, (GREY,), tmp_path / "n.onnx")
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_several_inputs_are_called_as_forward_calls_them_and_outputs_are_numbered(tmp_path: Path) -> None:
    signature = export_onnx(TwoByTwo(), (GREY, GREY), tmp_path / "n.onnx")
    assert [each.name for each in signature.inputs] == ["a", "b"]
    assert [each.name for each in signature.outputs] == ["output_0", "output_1"]


def test_names_can_be_given(tmp_path: Path) -> None:
    signature = export_onnx(
        TinyConvNet(), (GREY,), tmp_path / "n.onnx", input_names=["x"], output_names=["y"]
    )
    assert (signature.inputs[0].name, signature.outputs[0].name) == ("x", "y")


def test_token_ids_are_an_input(tmp_path: Path) -> None:
    signature = export_onnx(Embedding(), (np.array([[1, 2, 3]]),), tmp_path / "n.onnx")
    assert signature.inputs[0].dtype == "int64"


@pytest.mark.slow
def test_a_branch_on_values_is_not_baked_in(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="differs from torch's on a made-up input") as caught:
        export_onnx(Branching(), (GREY,), tmp_path / "n.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_does_not_take_the_example_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"forward\(\) raised RuntimeError: .*channels") as caught:
        export_onnx(TinyConvNet(), (COLOUR,), tmp_path / "n.onnx")
    assert "\n" not in str(caught.value)


def test_an_empty_example_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no sample"):
        export_onnx(TinyConvNet(), (GREY[:0],), tmp_path / "n.onnx")


@pytest.mark.parametrize(
    ("network", "x", "message"),
    [
        (
            lambda: TinyConvNet().half(),
            GREY,
            r"weights are float16, the samples float32; .*network.float\(\)",
        ),
        (
            lambda: TinyConvNet().double(),
            GREY,
            r"weights are float64, the samples float32; .*network.float\(\)",
        ),
        (TinyConvNet, GREY.astype(np.float64), r"weights are float32, the samples float64; .*x.astype"),
        (
            TinyConvNet,
            (GREY * 255).astype(np.uint8),
            r"weights are float32, the samples uint8; .*--scale 255",
        ),
    ],
)
def test_weights_and_samples_of_two_kinds_are_told(
    network: Callable[[], nn.Module], x: np.ndarray, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        export_onnx(network().eval(), (x,), tmp_path / "n.onnx")


def test_a_network_that_casts_its_samples_itself_is_taken(tmp_path: Path) -> None:
    class Casting(TinyConvNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.float() / 255)

    signature = export_onnx(Casting().eval(), ((GREY * 255).astype(np.uint8),), tmp_path / "n.onnx")
    assert signature.inputs[0].dtype == "uint8"
