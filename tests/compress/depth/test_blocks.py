"""Which blocks can be dropped whole, and what is left in the place of one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.compress import droppable_blocks
from edgekit.compress.depth.blocks import find_depth
from edgekit.compress.depth.shallow import shallower
from edgekit.errors import UserError
from edgekit.model import export_onnx
from tests.compress import nets
from tests.one_thread import one_thread

__all__ = ["one_thread"]

EXAMPLE = nets.image_example(16)


class Basic(nn.Module):
    """relu(x + f(x)); in place, as most write it."""

    def __init__(self, width: int = 16, out: int = 16, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, out, 3, stride, 1), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        projects = stride > 1 or width != out
        self.shortcut = (
            nn.Sequential(nn.Conv2d(width, out, 1, stride), nn.BatchNorm2d(out)) if projects else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.shortcut is None else self.shortcut(x)
        return self.relu(y)


class Stages(nn.Module):
    """Two stages of blocks, the second one of which begins with a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(16, 16, 3, padding=1)
        self.blocks = nn.Sequential(Basic(), Basic(), Basic(16, 32, 2), Basic(32, 32))
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Encoder(nn.Module):
    """A transformer block that gets a mask by keyword and returns its weights too."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.mix, self.wide, self.narrow = nn.Linear(16, 16), nn.Linear(16, 32), nn.Linear(32, 16)
        self.kind = "full"

    def forward(self, position: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weights = (hidden @ hidden.transpose(1, 2)).softmax(-1)
        hidden = hidden + weights @ self.mix(self.norm1(hidden) + position)
        return weights, hidden + self.narrow(F.gelu(self.wide(self.norm2(hidden))))


class Tokens(nn.Module):
    """Looks at its blocks' attributes, and calls them by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Encoder(), Encoder()])
        self.position = nn.Parameter(torch.randn(1, 64, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(2).transpose(1, 2)
        for layer in self.layers:
            if layer.kind == "full":
                _, x = layer(position=self.position.expand(len(x), -1, -1), hidden=x)
        return x.mean(1)


class Wrapped(nn.Module):
    """x + f(x) around blocks f."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


class Chained(nn.Module):
    """A sum behind another block's, as a transformer's perceptron behind its attention."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.conv = Basic(), nn.Conv2d(16, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inner(x)
        return x + self.conv(x)


def named(module: nn.Module) -> list[str]:
    return [block.name for block in droppable_blocks(module.eval(), EXAMPLE)]


def test_blocks_are_found_by_their_modules_names() -> None:
    blocks = droppable_blocks(Stages().eval(), EXAMPLE)
    assert [block.name for block in blocks] == [f"blocks.{number}" for number in range(4)]
    assert blocks[0].layers == ("blocks.0.conv1", "blocks.0.bn1", "blocks.0.conv2", "blocks.0.bn2")
    assert blocks[0].kept == ()


def test_of_a_projecting_block_the_shortcut_stays_with_the_activation() -> None:
    torch.manual_seed(0)
    network = Stages().eval()
    block = droppable_blocks(network, EXAMPLE)[2]
    assert block.kept == ("blocks.2.shortcut.0", "blocks.2.shortcut.1")
    left = shallower(network, EXAMPLE, ["blocks.2"], ()).get_submodule("blocks.2")
    x = torch.randn(2, 16, 8, 8)
    shortcut = network.get_submodule("blocks.2.shortcut")
    assert torch.equal(left(x), F.relu(shortcut(x)))
    assert set(left.state_dict()) == {f"shortcut.{name}" for name in shortcut.state_dict()}


def test_a_dropped_block_gives_its_input_with_the_activation_and_does_not_change_it() -> None:
    left = shallower(Stages().eval(), EXAMPLE, ["blocks.1"], ()).get_submodule("blocks.1")
    x = torch.randn(2, 16, 8, 8)
    before = x.clone()
    assert torch.equal(left(x), F.relu(before))
    assert torch.equal(x, before)


def test_the_original_is_left_as_it_was() -> None:
    network = Stages().eval()
    before = copy.deepcopy(network.state_dict())
    shallower(network, EXAMPLE, ["blocks.0", "blocks.2"], ())
    assert named(network) == [f"blocks.{number}" for number in range(4)]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_exported_network_no_longer_holds_the_layers(tmp_path: Path) -> None:
    network = shallower(Stages().eval(), EXAMPLE, ["blocks.1", "blocks.3"], ())
    export_onnx(network, EXAMPLE, tmp_path / "network.onnx")
    graph = onnx.load(tmp_path / "network.onnx").graph
    assert sum(node.op_type == "Conv" for node in graph.node) == 1 + 2 + 3
    weights = sum(int(np.prod(initializer.dims)) for initializer in graph.initializer)
    assert weights < sum(tensor.numel() for tensor in Stages().parameters())


def test_what_a_block_takes_and_returns_stays() -> None:
    network = Tokens().eval()
    assert named(network) == [
        "layers.0",
        "layers.1",
    ]  # of two arguments of one shape, the one that is carried on
    left = shallower(network, EXAMPLE, ["layers.0", "layers.1"], ())
    x = torch.randn(3, 16, 8, 8)
    assert torch.equal(left(x), x.flatten(2).mean(2))


def test_a_dropped_block_trains_on() -> None:
    network = shallower(Stages().eval(), EXAMPLE, ["blocks.2"], ()).train()
    norm = network.get_submodule("blocks.2.shortcut.1")
    before = norm.get_buffer("running_mean").clone()
    network(torch.randn(4, 16, 8, 8)).sum().backward()
    assert not torch.equal(norm.get_buffer("running_mean"), before)
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_of_blocks_in_blocks_the_inner_ones_are_dropped() -> None:
    assert named(nn.Sequential(Wrapped(Basic(), Basic()), nn.Conv2d(16, 4, 1))) == ["0.inner.0", "0.inner.1"]


def test_a_sum_of_its_own_behind_a_single_block_makes_one_of_both() -> None:
    assert named(nn.Sequential(Chained(), nn.Conv2d(16, 4, 1))) == ["0"]


class Tapped(Stages):
    """Reads what is inside of a block."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        handle = self.blocks[1].conv1.register_forward_hook(lambda *called: seen.append(called[2]))
        y = super().forward(x)
        handle.remove()
        return y + seen[0].mean((2, 3))[:, :4]


class Twice(Stages):
    """Calls a block twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.blocks[0](self.stem(x)))


class Broadcast(nn.Module):
    """Adds what has another shape: a bias, not a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x).mean((2, 3), keepdim=True)


class TwoHeads(nn.Module):
    """Adds two equals: neither is a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x) + self.right(x)


class Merge(nn.Module):
    """Adds two inputs: what is added does not come from the shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Conv2d(16, 16, 1)

    def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return x + self.dense(other)


class Merging(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.merge = nn.Conv2d(16, 16, 1), Merge()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.merge(x, self.left(x).relu())


class Moved(nn.Module):
    """What is added is not zero where its weights are: the path alone is not what is left of the block."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + (self.conv(x) - 1.0)


def test_a_block_that_is_read_inside_or_called_twice_stays() -> None:
    assert named(Tapped()) == ["blocks.0", "blocks.2", "blocks.3"]
    assert "blocks.0" not in named(Twice())


@pytest.mark.parametrize("inner", [Broadcast, TwoHeads, Moved])
def test_what_is_no_residual_block_stays(inner: type[nn.Module]) -> None:
    assert named(nn.Sequential(inner(), nn.Conv2d(16, 4, 1))) == []


def test_a_sum_of_two_inputs_is_no_block_but_what_makes_both_is() -> None:
    assert named(nn.Sequential(Merging(), nn.Conv2d(16, 4, 1))) == ["0"]


@pytest.mark.parametrize("factory", [nets.Plain, nets.Residual, nets.Concat])
def test_a_network_without_blocks_of_their_own_modules_has_none(factory: type[nn.Module]) -> None:
    assert droppable_blocks(factory().eval(), nets.image_example()) == ()


def test_an_unknown_name_is_refused_with_the_nearest_and_all_that_can_be_dropped() -> None:
    network: Any = Stages().eval()
    with pytest.raises(
        UserError, match=r"'block\.3' is no block .* allowed: blocks\.0, .*; did you mean 'blocks\.3'"
    ):
        find_depth(network, EXAMPLE).without(network, ["block.3"])
    with pytest.raises(UserError, match="no block that can be dropped"):
        shallower(network, EXAMPLE, ["stem"], ())
