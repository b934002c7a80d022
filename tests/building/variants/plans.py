"""What plans are made from, of a small network with a table by a formula."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from edgekit.building.variants.basis import PlanBasis
from edgekit.compress import PruneConfig, PrunePlan, SensitivityConfig, measure_sensitivity
from edgekit.compress.pruning.plan import PruneStep
from edgekit.latency import units_of
from edgekit.model.export import export_onnx
from edgekit.plan.solving import Allocation, PlanLimits
from edgekit.planning import PlanCutter, assemble, coupled
from tests.building.parts import digit_splits
from tests.compress.nets import image_example, random_samples
from tests.planning.networks import formula_table, small_resnet

__all__ = ["EXAMPLE", "FakeBasis", "fake_basis", "real_basis"]

EXAMPLE = image_example(side=16)
CONFIG = PruneConfig(importance="magnitude", round_to=8)


class FakeBasis(PlanBasis):
    """Plans by their names alone: no network is cut, which takes a second each."""

    def pruning(self, allocation: Allocation) -> PrunePlan:
        full = {group.name: group.widths[-1] for group in self.coupling.groups}
        steps = tuple(
            PruneStep(name, full[name], tuple(range(width)))
            for name, width in allocation.widths.items()
            if width < full[name]
        )
        return PrunePlan(steps, 100, 50, tuple(allocation.dropped))


def real_basis(folder: Path) -> PlanBasis:
    """Whose plans are cut out of the network."""
    network = small_resnet()
    path = folder / "network.onnx"
    export_onnx(network, EXAMPLE, path)
    units = units_of(path, "onnxruntime", "int8")
    coupling = coupled(network, EXAMPLE, CONFIG)
    told = SensitivityConfig(fractions=(0.5,), samples=32, batch_size=32)
    harm = measure_sensitivity(network, EXAMPLE, random_samples(64, side=16), CONFIG, told)
    assembled = assemble(units, coupling, formula_table(units.units), harm, PlanLimits(latency_ms=1.0))
    cutter = PlanCutter(network, EXAMPLE, coupling, CONFIG)
    return PlanBasis(
        units, lambda: network, EXAMPLE, coupling, harm, assembled, digit_splits().calibration, cutter.plan
    )


def fake_basis(basis: PlanBasis) -> FakeBasis:
    """The same, whose plans are names."""
    return FakeBasis(**{field.name: getattr(basis, field.name) for field in fields(PlanBasis)})
