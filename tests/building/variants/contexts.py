"""What makers of variants are told, of a small network whose original has been judged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgekit.building.given import GivenModel
from edgekit.building.request import BuildRequest, TrainOptions
from edgekit.building.variants.base import MakerContext
from edgekit.hardware import find_target
from edgekit.model import locate_module
from edgekit.progress import SilentReporter
from edgekit.testing.networks import TinyConvNet
from edgekit.types import Choice, Cost, Signature, Variant
from tests.building.parts import attempt, budget, digit_splits, measurement, opened_cache

__all__ = ["given_model", "maker_context"]


def given_model() -> GivenModel:
    """An untrained TinyConvNet."""
    import torch

    torch.manual_seed(0)
    module = TinyConvNet().eval()
    return GivenModel(locate_module(module), module, "TinyConvNet")


@contextmanager
def maker_context(folder: Path) -> Iterator[MakerContext]:
    """A budget of 0.5 ms that the original misses with 1 ms; no structure has been probed."""
    splits = digit_splits()
    model = given_model()
    training = TrainOptions(epochs=1.0, step_epochs=0.2, batch_size=32, importance="magnitude")
    request = BuildRequest(
        target="generic-cpu",
        model="net.py:make",
        data="digits",
        budget=budget(max_latency_ms=0.5, max_drop=0.02),
        train=training,
    )
    original = Variant("original", "original", None, "", "", "", Signature((), ()), Cost(1000, 1, 1, 1))
    with opened_cache(folder) as cache:
        yield MakerContext(
            request=request,
            model=model,
            source=splits.validation.source,
            splits=replace(splits),
            target=find_target("generic-cpu"),
            time_limit=None,
            original=original,
            attempts=(attempt(),),
            measurements={"original-ort-int8": measurement()},
            choice=Choice("MISSES", None, "original-ort-int8", ""),
            cache=cache,
            reporter=SilentReporter(),
            probe=lambda variants, original, lead: [],
        )
