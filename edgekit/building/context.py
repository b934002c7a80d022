"""The collaborators of one build, each of which the stages take by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekit.building.cache import Cache
from edgekit.building.candidates.exporting import Exporter
from edgekit.building.candidates.timing import Timer
from edgekit.building.executor import Executor
from edgekit.building.layer_times import Exporting, LayerTimes
from edgekit.building.measuring import Bench, Evaluator
from edgekit.building.samples import SampleStore, SplitFiles
from edgekit.building.setup import Setting
from edgekit.building.time_limit import TimeLimit
from edgekit.progress import Reporter
from edgekit.store import Run
from edgekit.types import Signature

__all__ = ["LOG", "Context", "assembled"]

LOG = "export.log"
"""In the store's folder: what libraries say, tracebacks included."""


@dataclass(frozen=True)
class Context:
    """What `run` and `preview` hold. No stage takes it whole."""

    setting: Setting
    reporter: Reporter
    cache: Cache
    executor: Executor
    samples: SampleStore
    exporter: Exporter
    evaluator: Evaluator
    timer: Timer
    layer_times: LayerTimes | None = None

    def validation(self, signature: Signature) -> SplitFiles:
        """The validation split as such a network takes it."""
        return self.samples.files(self.setting.splits.validation, signature)

    @property
    def time_limit(self) -> TimeLimit | None:
        """The one that is kept to."""
        return self.cache.time_limit

    def leaving_room_for(self, candidates: int) -> Context:
        """The same with a time limit that ends early enough to time so many candidates."""
        limit = self.setting.time_limit
        return self if limit is None else self.within(limit.with_room_for(candidates))

    def within(self, limit: TimeLimit | None) -> Context:
        """The same with that time limit. None: for what hands over what is finished."""
        cache = replace(self.cache, time_limit=limit)
        samples = replace(self.samples, cache=cache)
        layer_times = self.layer_times and replace(self.layer_times, limit=limit, cache=cache)
        return replace(
            self,
            cache=cache,
            samples=samples,
            exporter=replace(self.exporter, cache=cache, samples=samples, layer_times=layer_times),
            evaluator=replace(self.evaluator, cache=cache),
            timer=replace(self.timer, cache=cache),
            layer_times=layer_times,
        )


def assembled(setting: Setting, reporter: Reporter, run: Run, executor: Executor) -> Context:
    """The collaborators of a build."""
    request, board, device, versions = (
        setting.request,
        setting.board,
        setting.device,
        setting.runtimes.versions,
    )
    cache = Cache(setting.store, run, setting.time_limit)
    samples = SampleStore(cache)
    bench = Bench(device, setting.facts, request.threads, board.origin)
    given, layer_times = request.latency_table, None
    if given is not None:
        layer_times = LayerTimes(
            given,
            device,
            board,
            request.threads,
            reporter,
            setting.time_limit,
            cache=cache,
            exporting=Exporting(executor, versions),
        )
    exporter = Exporter(
        cache=cache,
        executor=executor,
        samples=samples,
        calibration=setting.splits.calibration,
        target=board.target,
        features=board.features,
        threads=request.threads,
        versions=versions,
        project=setting.project,
        layer_times=layer_times,
    )
    return Context(
        setting=setting,
        reporter=reporter,
        cache=cache,
        executor=executor,
        samples=samples,
        exporter=exporter,
        evaluator=Evaluator(cache, bench, request.metric, request.budget.confidence, reporter.say),
        timer=Timer(
            cache,
            bench,
            reporter,
            request.seed,
            setting.time_limit,
            request.strict,
            request.budget.max_energy_mj is not None,
            request.meter,
            request.timed_s,
            request.repeat,
        ),
        layer_times=layer_times,
    )
