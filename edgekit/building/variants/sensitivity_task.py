"""Sensitivity as tasks: each measures a share of a network's groups, blocks and layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from edgekit.building.executor import Executor
from edgekit.building.side_by_side import side_by_side
from edgekit.building.variants.base import MakerContext
from edgekit.building.variants.named_task import NamedTask, named_inputs, why_it_stays
from edgekit.building.variants.original import example_inputs
from edgekit.compress import (
    PruneConfig,
    Sensitivity,
    SensitivityConfig,
    joined,
    measure_sensitivity,
    sensitivity_parts,
)
from edgekit.model import load_module

__all__ = ["measured_elsewhere"]


MOST_SHARES = 16
"""Each share traces the network by itself, which takes as long as measuring a few groups."""


@dataclass(frozen=True)
class SensitivityTask(NamedTask):
    """Share number `place` of `count`. `model_digest`, `samples_digest`: what network and calibration have to be."""

    model_digest: str
    samples_digest: str
    pruning: PruneConfig
    config: SensitivityConfig
    place: int
    count: int

    stage: ClassVar[str] = "sensitivity"
    answer_type: ClassVar[Any] = str
    timeout_s: ClassVar[float | None] = None

    def key_parts(self) -> dict[str, Any]:
        """What the share depends on."""
        parts = sensitivity_parts(self.model_digest, self.samples_digest, self.pruning, self.config)
        return {**parts, "share": [self.place, self.count]}

    def perform(self, folder: Path) -> str:
        """See executor.Task; the answer is the share's JSON. Raises StageError where network or data are others."""
        with self.opened() as there:
            if there.ref.digest != self.model_digest:
                raise there.other_network()
            samples = there.splits.calibration
            if samples.digest != self.samples_digest:
                raise there.other_data()
            example = example_inputs(there.source)
            return measure_sensitivity(
                load_module(there.ref),
                example,
                samples,
                self.pruning,
                self.config,
                share=(self.place, self.count),
            ).to_json()


def measured_elsewhere(
    context: MakerContext, pruning: PruneConfig, config: SensitivityConfig
) -> Sensitivity | None:
    """By the context's executor, in as many shares as it has slots; None where it has none, or nothing may travel.

    Raises StageError.
    """
    executor = context.executor
    if executor is None or why_it_stays(context) or executor.slots < 2:
        return None
    named, count = named_inputs(context), min(executor.slots, MOST_SHARES)
    tasks = {
        place: SensitivityTask(
            **named,
            model_digest=context.model.ref.digest,
            samples_digest=context.splits.calibration.digest,
            pruning=pruning,
            config=config,
            place=place,
            count=count,
        )
        for place in range(count)
    }
    return joined([Sensitivity.from_json(text) for text in answered(executor, tasks)])


def answered(executor: Executor, tasks: Mapping[int, SensitivityTask]) -> list[str]:
    """What the shares gave, by their places. Raises the first failure."""
    with TemporaryDirectory() as folder:
        made = side_by_side(
            executor, {place: partial(executor.run, task, Path(folder)) for place, task in tasks.items()}
        )
    for answer in made.values():
        if isinstance(answer, Exception):
            raise answer
    return [str(made[place]) for place in sorted(made)]
