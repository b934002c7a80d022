"""Networks written for channels last compute what they did, and count what they need turned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.graph.equivalence import difference, run_onnx
from edgekit.graph.to_torch.module import onnx_to_torch
from edgekit.graph.to_torch.prepare import ready_graph
from edgekit.model import export_onnx
from edgekit.testing.case_networks import CASE_NETWORKS

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

IMAGE, SIGNAL = (1, 3, 16, 16), (1, 3, 32)


class Computed(torch.nn.Module):
    def __init__(self, function: Any, *layers: torch.nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, torch.nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x, *self.layers)


def expect_equal(path: Path, inputs: tuple[np.ndarray, ...]) -> None:
    """The prepared graph, and the module made of it, give what the file gives."""
    wanted = run_onnx(onnx.load(str(path)), inputs)
    module = onnx_to_torch(path).module
    given = module(*map(torch.from_numpy, inputs))
    given = [part.detach().numpy() for part in (given if isinstance(given, tuple) else (given,))]
    assert difference(wanted, given, tolerance=1e-4) == ""
    prepared = ready_graph(path).model
    if all(node.op_type != "Gelu" for node in prepared.graph.node):  # of a later opset than the graph
        assert difference(wanted, run_onnx(prepared, inputs), tolerance=1e-4) == ""


@pytest.mark.parametrize("name", sorted(set(CASE_NETWORKS) - {"gru", "lstm"}))
def test_every_kind_of_network_computes_the_same(tmp_path: Path, name: str) -> None:
    case = CASE_NETWORKS[name]
    export_onnx(case.make(), case.inputs(), tmp_path / "net.onnx")
    expect_equal(tmp_path / "net.onnx", case.inputs())


def affine_groups() -> torch.nn.Module:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.GroupNorm(2, 8), torch.nn.ReLU())
    torch.nn.init.normal_(network[1].weight)
    torch.nn.init.normal_(network[1].bias)
    return network


conv, signal = torch.nn.Conv2d, torch.nn.Conv1d
FORMS: dict[str, tuple[Any, tuple[int, ...], int]] = {
    "a group norm with weights": (affine_groups, IMAGE, 0),
    "a residual around a group norm": (
        lambda: Computed(lambda x, a, n: torch.relu(a(x) + n(a(x))), conv(3, 8, 1), torch.nn.GroupNorm(4, 8)),
        IMAGE,
        0,
    ),
    "the maximum and the mean of the channels": (
        lambda: Computed(lambda x, a: a(x).amax(1) + a(x).mean(1), conv(3, 4, 1)),
        IMAGE,
        0,
    ),
    "heads of two scales, joined and split": (
        lambda: Computed(
            lambda x, a, b: torch.cat([a(x).view(1, 6, -1), b(a(x)).view(1, 6, -1)], 2).split((4, 2), 1),
            conv(3, 6, 3, 2, 1),
            conv(6, 6, 3, 2, 1),
        ),
        IMAGE,
        0,
    ),
    "heads given as rows": (
        lambda: Computed(lambda x, a: a(x).permute(0, 2, 3, 1).reshape(1, -1, 3).softmax(-1), conv(3, 6, 1)),
        IMAGE,
        0,
    ),
    "boxes as distributions": (
        lambda: Computed(
            lambda x, a, b: b(a(x).view(1, 4, 4, -1).transpose(2, 1).softmax(1)).view(1, 4, -1),
            conv(3, 16, 3, 2, 1),
            conv(4, 1, 1, bias=False),
        ),
        IMAGE,
        1,
    ),
    "unit length along the channels": (
        lambda: Computed(lambda x, a: torch.nn.functional.normalize(a(x), dim=1), conv(3, 4, 1)),
        IMAGE,
        0,
    ),
    "padding of one side": (
        lambda: Computed(lambda x, a: torch.nn.functional.pad(a(x), (0, 1, 2, 0), value=0.5), conv(3, 4, 1)),
        IMAGE,
        0,
    ),
    "rows and columns swapped": (
        lambda: Computed(lambda x, a: a(x).transpose(2, 3), conv(3, 4, 1)),
        IMAGE,
        1,
    ),
    "a gated signal": (
        lambda: Computed(
            lambda x, a, b: torch.tanh(a(x)) * torch.sigmoid(b(x)), signal(3, 8, 3), signal(3, 8, 3)
        ),
        SIGNAL,
        0,
    ),
    "a signal as tokens and back": (
        lambda: Computed(
            lambda x, a, n, b: b(n(a(x).transpose(1, 2)).transpose(1, 2)),
            signal(3, 8, 3),
            torch.nn.LayerNorm(8),
            signal(8, 2, 1),
        ),
        SIGNAL,
        0,
    ),
    "one channel of a signal": (lambda: Computed(lambda x, a: a(x)[:, 1], signal(3, 4, 3)), SIGNAL, 1),
    "positions added to a signal": (
        lambda: Computed(lambda x, a: a(x) + torch.arange(30.0).view(1, 1, 30), signal(3, 4, 3)),
        SIGNAL,
        0,
    ),
    "a signal reduced every way": (
        lambda: Computed(
            lambda x, a: torch.cat([a(x).mean(2), a(x).std(2), a(x).amax(2)], 1), signal(3, 4, 3)
        ),
        SIGNAL,
        0,
    ),
    "a signal cut and padded": (
        lambda: Computed(
            lambda x, a: torch.nn.functional.pad(a(x)[:, :, 2:-3], (4, 1)).softmax(1).chunk(2, 1),
            signal(3, 4, 3),
        ),
        SIGNAL,
        0,
    ),
    "a signal reflected": (
        lambda: torch.nn.Sequential(torch.nn.ReflectionPad1d(2), signal(3, 4, 5)),
        SIGNAL,
        0,
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_beside_them_compute_the_same_at_their_cost(tmp_path: Path, name: str) -> None:
    make, shape, cost = FORMS[name]
    torch.manual_seed(0)
    inputs = (np.random.default_rng(1).standard_normal(shape).astype(np.float32),)
    path = tmp_path / "net.onnx"
    export_onnx(make().eval(), inputs, path)
    expect_equal(path, inputs)
    assert ready_graph(path).layout_cost == cost


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra", "dilation", "groups"),
    [
        (3, 2, 1, 1, 1, 1),
        (3, 2, 1, 0, 1, 1),
        (2, 2, 0, 0, 1, 1),
        (4, 2, 1, 0, 1, 2),
        (5, 3, 2, 2, 1, 1),
        (3, 2, 2, 1, 2, 1),
        (2, 3, 0, 2, 1, 3),
        ((2, 4), (2, 2), (0, 1), 0, 1, 1),
    ],
)
@pytest.mark.parametrize("dims", [1, 2])
def test_transposed_convolutions_of_every_size(
    tmp_path: Path, dims: int, kernel: Any, stride: Any, padding: Any, extra: int, dilation: int, groups: int
) -> None:
    if dims == 1 and isinstance(kernel, tuple):
        kernel, stride, padding = kernel[1], stride[1], padding[1]
    layer = torch.nn.ConvTranspose1d if dims == 1 else torch.nn.ConvTranspose2d
    torch.manual_seed(0)
    module = layer(6, 6, kernel, stride, padding, extra, groups, dilation=dilation).eval()
    inputs = (np.random.default_rng(1).standard_normal((1, 6, 7, 5)[: dims + 2]).astype(np.float32),)
    export_onnx(module, inputs, tmp_path / "net.onnx")
    expect_equal(tmp_path / "net.onnx", inputs)
