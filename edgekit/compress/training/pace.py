"""How long training would take: one batch runs forward through the network, nothing is trained."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Literal

from edgekit.compress.base import Samples, example_tensors
from edgekit.compress.training.accelerate import resolve_device

if TYPE_CHECKING:
    import torch

__all__ = ["forward_seconds"]

RUNS = 3


def forward_seconds(
    network: torch.nn.Module, train: Samples, batch_size: int, device: Literal["auto", "cpu", "cuda"]
) -> float:
    """Seconds that one batch takes forward, where it would be trained: the fastest of a few. May raise anything."""
    import torch

    place = resolve_device(device)
    network = copy.deepcopy(network).to(place).eval()
    inputs = example_tensors(next(iter(train.batches(min(batch_size, len(train))))).inputs, place)
    fastest_s = float("inf")
    with torch.inference_mode():
        for _ in range(RUNS):
            begun = time.monotonic()
            network(*inputs)
            if place == "cuda":
                torch.cuda.synchronize()
            fastest_s = min(fastest_s, time.monotonic() - begun)
    return fastest_s
