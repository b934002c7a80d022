"""Which inputs of a network are token ids, in torch and in ONNX, and what forward() takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.graph.tokens import vocabularies
from edgekit.model import export_onnx
from edgekit.model.tokens import forward_names, torch_vocabularies
from edgekit.testing.networks import TinyConvNet

IDS = np.array([[3, 1, 4, 1, 5, 9]], np.int64)
ONES = np.ones((1, 6), np.int64)


class Reader(nn.Module):
    """int64 [N, 6] ids and mask → logits [N, 2]; positions have a table of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds = nn.Embedding(10, 4), nn.Embedding(2, 4)
        self.positions, self.last = nn.Embedding(6, 4), nn.Linear(4, 2)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, more: torch.Tensor | None = None
    ) -> torch.Tensor:
        x = self.words(ids.to(torch.int64)) + self.positions(torch.arange(6)[None])
        x = x + self.kinds(torch.zeros_like(ids))
        logits: torch.Tensor = self.last((x * mask[..., None]).sum(1))
        return logits


@pytest.mark.parametrize("ids", [IDS, IDS.astype(np.int32), IDS.astype(np.float32), IDS + 90])
def test_an_embedding_shows_which_input_is_ids(ids: Any) -> None:
    """Also where the network then fails of an id."""
    assert torch_vocabularies(Reader().eval(), (ids, ONES), ("ids", "mask")) == {"ids": 10}


def test_networks_without_tables_have_no_ids(tmp_path: Path) -> None:
    example = (np.zeros((1, 1, 8, 8), np.float32),)
    assert torch_vocabularies(TinyConvNet().eval(), example, ("x",)) == {}
    export_onnx(TinyConvNet().eval(), example, tmp_path / "network.onnx")
    assert vocabularies(tmp_path / "network.onnx") == {}


def test_the_graph_shows_the_same(tmp_path: Path) -> None:
    signature = export_onnx(Reader().eval(), (IDS, ONES), tmp_path / "network.onnx")
    assert vocabularies(tmp_path / "network.onnx") == {signature.inputs[0].name: 10}


def test_what_forward_takes() -> None:
    assert forward_names(Reader()) == (("ids", "mask", "more"), 2)
    assert forward_names(nn.Sequential()) == (("input",), 1)
