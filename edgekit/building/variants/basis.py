"""What plans are made from: one network's groups and blocks, the harm of changing them, and the times of its layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.building.cache import Cache
from edgekit.building.code import code_digest
from edgekit.building.setup import GivenModel
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
from edgekit.plan.solving import Allocation, PlanLimits
from edgekit.planning import Assembled, Coupling, PlanCutter, assemble, coupled
from edgekit.progress import Reporter
from edgekit.types import Variant

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["PlanBasis", "plan_basis"]


@dataclass(frozen=True)
class PlanBasis:
    """The problem of one network in one precision, and the way back from what the solver chose to the network.

    `network`: its units; `harm`: all that was measured; `channels_from`: the samples by which channels are ranked.
    """

    network: NetworkUnits
    module: torch.nn.Module
    example: tuple[NDArray[np.generic], ...]
    coupling: Coupling
    harm: Sensitivity
    assembled: Assembled
    channels_from: Split
    cutter: PlanCutter

    def pruning(self, allocation: Allocation) -> PrunePlan:
        """The allocation as what goes from the network. Raises StageError where it cannot be done."""
        return self.cutter.plan(allocation)


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
) -> PlanBasis:
    """The basis of plans over the times of `table`; harm is measured on calibration samples, and stored.

    Raises UserError where the table does not tell the network's time, StageError where it cannot be traced.
    """
    network = units_of(Path(original.onnx_path), table.measured_on.runtime, precision)
    module, example = model.load(), example_inputs(source)
    with reporter.step("Finding what can be narrowed and dropped"):
        coupling = coupled(module, example, config)
    harm = measured_harm(cache, reporter, model, source, splits.calibration, config)
    assembled = assemble(network, coupling, table, harm, limits)
    ranked_by = splits.calibration
    cutter = PlanCutter(module, example, coupling, config, ranked_by)
    return PlanBasis(network, module, example, coupling, harm, assembled, ranked_by, cutter)


def measured_harm(
    cache: Cache,
    reporter: Reporter,
    model: GivenModel,
    source: DataSource,
    samples: Split,
    config: PruneConfig,
) -> Sensitivity:
    """The harm of all that can be done to the network, from the store or measured now."""
    settings = SensitivityConfig.for_samples(len(samples))

    def make(_: Any) -> dict[str, Any]:
        with reporter.step("Measuring what each group, block and layer is worth") as step:
            told = measure_sensitivity(
                model.load(), example_inputs(source), samples, config, settings, progress=step
            )
        return {"sensitivity": told.to_json()}

    parts = {
        **sensitivity_parts(model.ref.digest, samples.digest, config, settings),
        "compress": code_digest(("compress",)),
    }
    return Sensitivity.from_json(cache.entry("sensitivity", parts, make).meta["sensitivity"])
