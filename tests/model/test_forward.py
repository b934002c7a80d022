from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.errors import ModelError
from edgekit.model.forward import run_torch


class Spotter(nn.Module):
    """Takes [N, 1, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layers(x)
        return outputs


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((1, 49, 40, 1), r"it was given float32 \[1, 49, 40, 1\]; .* add --input-layout nhwc"),
        ((1, 49, 40), r"it was given float32 \[1, 49, 40\]; .* store x\[:, None\]"),
        ((1, 6, 49, 40), r"it was given float32 \[1, 6, 49, 40\]$"),
    ],
)
def test_samples_of_a_wrong_shape_are_told_with_what_to_try(shape: tuple[int, ...], hint: str) -> None:
    with pytest.raises(ModelError, match=hint):
        run_torch(Spotter().eval(), (np.zeros(shape, np.float32),))


class Tracker(nn.Module):
    """Takes samples [N, T, 8] and the state of two layers, [2, N, 16], as torch wants it."""

    def __init__(self, samples_first: bool = False) -> None:
        super().__init__()
        self.layers = nn.GRU(8, 16, num_layers=2, batch_first=True)
        self.samples_first = samples_first

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.samples_first:
            hidden = hidden.transpose(0, 1).contiguous()
        answers, hidden = self.layers(x, hidden)
        return answers, hidden.transpose(0, 1)


class Caption(nn.Module):
    """Takes both states of an LSTM of three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.LSTM(8, 16, num_layers=3, batch_first=True)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        answers: torch.Tensor = self.layers(x, (hidden, cell))[0]
        return answers


def zeros(*shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return tuple(np.zeros(shape, np.float32) for shape in shapes)


def test_a_state_with_its_layers_first_is_named_with_what_mends_it() -> None:
    with pytest.raises(ModelError) as told:
        run_torch(Tracker().eval(), zeros((1, 10, 8), (1, 2, 16)))
    text = str(told.value)
    assert "input 'hidden' came as [1, 2, 16], and the network takes [2, 1, 16]" in text
    assert "begin forward() with hidden = hidden.transpose(0, 1).contiguous()" in text


def test_what_the_remedy_says_is_right() -> None:
    outputs = run_torch(Tracker(samples_first=True).eval(), zeros((1, 10, 8), (1, 2, 16)))
    assert [output.shape for output in outputs] == [(1, 10, 16), (1, 2, 16)]


def test_both_states_of_an_lstm_are_named() -> None:
    with pytest.raises(ModelError, match=r"'hidden' came as \[1, 3, 16\].*'cell' came as \[1, 3, 16\]"):
        run_torch(Caption().eval(), zeros((1, 10, 8), (1, 3, 16), (1, 3, 16)))


@pytest.mark.parametrize("state", [(1, 2, 15), (1, 3, 16), (2, 16)])
def test_a_state_that_fits_in_no_order_is_told_in_torch_s_words(state: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"forward\(\) raised RuntimeError") as told:
        run_torch(Tracker().eval(), zeros((1, 10, 8), state))
    assert "axis 1" not in str(told.value)
