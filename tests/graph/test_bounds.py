"""Integers made up for a network are ones that it can take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.graph.bounds import index_limits, made_up_inputs
from edgekit.graph.equivalence import run_onnx
from edgekit.graph.taps import load_graph
from edgekit.model import export_onnx

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")


class TwoTables(torch.nn.Module):
    """Words, kinds of words, and a mask that is no index."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds = torch.nn.Embedding(40, 8), torch.nn.Embedding(3, 8)

    def forward(self, words: torch.Tensor, kinds: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        both: torch.Tensor = self.words(words) + self.kinds(kinds.reshape(1, -1))
        return (both * mask.unsqueeze(-1).to(both.dtype)).sum(1)


def test_an_index_is_limited_by_its_own_table(tmp_path: Path) -> None:
    inputs = (np.zeros((1, 6), np.int64), np.zeros((1, 2, 3), np.int32), np.ones((1, 6), np.int64))
    export_onnx(TwoTables().eval(), inputs, tmp_path / "net.onnx")
    model = load_graph(tmp_path / "net.onnx")
    words, kinds, mask = (port.name for port in model.graph.input)
    assert index_limits(model) == {words: 40, kinds: 3}
    made = made_up_inputs(model)
    assert [value.dtype for value in made] == [value.dtype for value in inputs]
    assert made[0].max() > 2
    assert made[1].max() < 3
    assert set(np.unique(made[2])) <= {0, 1}
    assert mask not in index_limits(model)
    assert np.isfinite(run_onnx(model, made)[0]).all()


def test_the_smaller_of_two_tables_counts(tmp_path: Path) -> None:
    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large, self.small = torch.nn.Embedding(40, 4), torch.nn.Embedding(5, 4)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            both: torch.Tensor = self.large(ids) + self.small(ids)
            return both

    export_onnx(Shared().eval(), (np.zeros((1, 9), np.int64),), tmp_path / "net.onnx")
    model = load_graph(tmp_path / "net.onnx")
    assert list(index_limits(model).values()) == [5]
    assert made_up_inputs(model)[0].max() < 5


def test_pixels_take_every_value_of_their_type(tmp_path: Path) -> None:
    class Scaled(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.to(torch.float32) / 255.0

    export_onnx(Scaled().eval(), (np.zeros((1, 3, 8, 8), np.uint8),), tmp_path / "net.onnx")
    (pixels,) = made_up_inputs(load_graph(tmp_path / "net.onnx"))
    assert pixels.dtype == np.uint8
    assert pixels.max() > 200
