"""What plans are made from: one network's groups and blocks, the harm of changing them, and the times of its layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.building.cache import Cache
from edgekit.building.code import code_digest
from edgekit.building.given import GivenModel
from edgekit.building.variants.original import example_inputs
from edgekit.compress import (
    PruneConfig,
    PrunePlan,
    Sensitivity,
    SensitivityConfig,
    measure_sensitivity,
    sensitivity_parts,
)
from edgekit.data import DataSource, Split, Splits
from edgekit.latency import LatencyTable, NetworkUnits, units_of
from edgekit.latency.unit import UnitPrecision
from edgekit.plan.solving import Allocation, PlanLimits, PlanProblem, Solution, predicted, solve
from edgekit.planning import Assembled, Coupling, PlanCutter, assemble, coupled
from edgekit.progress import Reporter
from edgekit.types import Variant

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["PlanBasis", "plan_basis"]


MeasureElsewhere = Callable[[PruneConfig, SensitivityConfig], Sensitivity | None]


@dataclass(frozen=True)
class PlanBasis:
    """The problem of one network in one precision, and the way back from what the solver chose to the network.

    `network`: its units; `load`: the module, once for all callers; `harm`: all that was measured; `channels_from`: the
    samples by which channels are ranked; `cut`: what the solver chose → what goes from the network; `solve`: the
    solver, or one that remembers.
    """

    network: NetworkUnits
    load: Callable[[], torch.nn.Module]
    example: tuple[NDArray[np.generic], ...]
    coupling: Coupling
    harm: Sensitivity
    assembled: Assembled
    channels_from: Split
    cut: Callable[[Allocation], PrunePlan]
    solve: Callable[[PlanProblem], Solution] = solve

    @property
    def module(self) -> torch.nn.Module:
        """The network, loaded when it is first asked for: what is in the store needs none."""
        return self.load()

    def pruning(self, allocation: Allocation) -> PrunePlan:
        """The allocation as what goes from the network. Raises StageError where it cannot be done."""
        return self.cut(allocation)


def plan_basis(
    cache: Cache,
    reporter: Reporter,
    model: GivenModel,
    source: DataSource,
    splits: Splits,
    original: Variant,
    table: LatencyTable,
    precision: UnitPrecision,
    config: PruneConfig,
    limits: PlanLimits,
    elsewhere: MeasureElsewhere = lambda pruning, config: None,
) -> PlanBasis:
    """The basis of plans over the times of `table`; harm is measured on calibration samples.

    `elsewhere`: what measures it on other machines; None where it has to be done here.

    That, what can be chosen, and what each choice cuts are stored: tracing takes seconds. Raises UserError where the
    table does not tell the network's time, StageError where it cannot be traced.
    """
    network = units_of(Path(original.onnx_path), table.measured_on.runtime, precision)
    load, example = functools.cache(model.load), example_inputs(source)
    ranked_by = splits.calibration
    parts = {
        "model": model.ref.digest,
        "example": [
            [str(array.dtype), array.shape, sha256(array.tobytes()).hexdigest()] for array in example
        ],
        "config": msgspec.to_builtins(config),
        "planning": code_digest(("compress", "planning")),
    }

    def trace(_: Path) -> dict[str, Any]:
        with reporter.step("Finding what can be narrowed, dropped and merged"):
            return {"coupling": msgspec.to_builtins(coupled(load(), example, config))}

    coupling = msgspec.convert(cache.entry("coupling", parts, trace).meta["coupling"], Coupling)
    harm = measured_harm(cache, reporter, model, source, ranked_by, config, elsewhere)
    assembled = assemble(network, coupling, table, harm, limits)
    cutter = functools.cache(lambda: PlanCutter(load(), example, coupling, config, ranked_by))
    cut = partial(stored_cut, cache, {**parts, "samples": ranked_by.digest}, cutter)
    solver = partial(stored_solution, cache)
    return PlanBasis(network, load, example, coupling, harm, assembled, ranked_by, cut, solver)


def stored_solution(cache: Cache, problem: PlanProblem) -> Solution:
    """The solution of a problem, from the store or found now. What was chosen is stored; the problem says the rest."""

    def find(_: Path) -> dict[str, Any]:
        solution = solve(problem)
        plan = solution.plan
        return {
            "outcome": solution.outcome,
            "bound": repr(solution.bound),  # it may be infinite, which JSON has not
            "widths": dict(plan.widths),
            "dropped": list(plan.dropped),
            "merged": list(plan.merged),
            "precisions": dict(plan.precisions),
        }

    parts = {
        "problem": sha256(repr(problem).encode()).hexdigest(),
        "solving": code_digest(("plan",)),
        "scipy": metadata.version("scipy"),
        "numpy": metadata.version("numpy"),
    }
    meta = cache.entry("solution", parts, find).meta
    plan = predicted(problem, meta["widths"], meta["dropped"], meta["precisions"], meta["merged"])
    return Solution(meta["outcome"], plan, float(meta["bound"]))


def stored_cut(
    cache: Cache, parts: Mapping[str, Any], cutter: Callable[[], PlanCutter], allocation: Allocation
) -> PrunePlan:
    """What goes from the network, from the store or found now. Raises StageError where it cannot be done."""

    def find(_: Path) -> dict[str, str]:
        return {"plan": cutter().plan(allocation).to_json()}

    chosen = {
        "widths": dict(allocation.widths),
        "dropped": list(allocation.dropped),
        "merged": list(allocation.merged),
    }
    return PrunePlan.from_json(cache.entry("plan", {**parts, **chosen}, find).meta["plan"])


def measured_harm(
    cache: Cache,
    reporter: Reporter,
    model: GivenModel,
    source: DataSource,
    samples: Split,
    config: PruneConfig,
    elsewhere: MeasureElsewhere,
) -> Sensitivity:
    """The harm of all that can be done to the network, from the store or measured now."""
    settings = SensitivityConfig.for_samples(len(samples))

    def make(_: Any) -> dict[str, Any]:
        with reporter.step("Measuring what each group, block and layer is worth") as step:
            told = elsewhere(config, settings) or measure_sensitivity(
                model.load(), example_inputs(source), samples, config, settings, progress=step
            )
        return {"sensitivity": told.to_json()}

    parts = {
        **sensitivity_parts(model.ref.digest, samples.digest, config, settings),
        "compress": code_digest(("compress",)),
    }
    return Sensitivity.from_json(cache.entry("sensitivity", parts, make).meta["sensitivity"])
