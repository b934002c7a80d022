"""The collaborators of one build, each of which the stages take by itself; run.py alone puts them together."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekit.building.cache import Cache
from edgekit.building.candidates.exporting import Exporter
from edgekit.building.candidates.timing import Timer
from edgekit.building.executor import Executor
from edgekit.building.measuring import Evaluator
from edgekit.building.samples import SampleStore, SplitFiles
from edgekit.building.setup import Setting
from edgekit.progress import Reporter
from edgekit.types import Signature

__all__ = ["Context"]


@dataclass(frozen=True)
class Context:
    """What run.py holds. No stage takes it whole."""

    setting: Setting
    reporter: Reporter
    cache: Cache
    executor: Executor
    samples: SampleStore
    exporter: Exporter
    evaluator: Evaluator
    timer: Timer

    def validation(self, signature: Signature) -> SplitFiles:
        """The validation split as such a network takes it."""
        return self.samples.files(self.setting.splits.validation, signature)

    def without_time_limit(self) -> Context:
        """The same from when there is something to hand over: only training keeps to the limit then."""
        cache = replace(self.cache, time_limit=None)
        samples = replace(self.samples, cache=cache)
        return replace(
            self,
            cache=cache,
            samples=samples,
            exporter=replace(self.exporter, cache=cache, samples=samples),
            evaluator=replace(self.evaluator, cache=cache),
            timer=replace(self.timer, cache=cache),
        )
