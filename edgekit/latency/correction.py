"""What a sum of layers misses of a whole network, fitted on whole networks that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.latency.unit import Kind, Unit, UnitPrecision
from edgekit.types import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Correction", "Whole", "fit_correction"]

GROUPS: dict[Kind, int] = {"conv": 0, "linear": 0, "product": 0, "attention": 0, "depthwise": 1}
"""Kind → its factor; all others share the last one."""

FACTORS = 3
FACTOR_PRIOR, REST_PRIOR = 0.15, 0.2
"""How strongly factors are drawn to 1, and the rest to 0: a whole network that is off by 3 % weighs as much as a factor
that is off by 20 %, or as a constant of 15 % of the time. Layers of a network grow and shrink together under pruning,
so a dozen of networks alone would leave open which of them the missing time belongs to."""

MIB = float(1 << 20)


@dataclass(frozen=True)
class Whole:
    """A whole network: its units, what the table said of each, and what it took. Milliseconds."""

    units: tuple[Unit, ...]
    predicted_ms: tuple[float, ...]
    measured_ms: float


@dataclass(frozen=True)
class Correction:
    """Time = constant + sum of factor × time by kind (convolutions and products, depthwise, others) + weights.

    `weights_ms_per_mib`: for weights, which whole networks fetch from farther away than a single layer does.
    `structure`: of the networks it was fitted on (`structure_of`), `network`: how they are called, `networks`: their
    number. `heldout_median`, `heldout_worst`: relative errors of each network by a fit to the others.
    """

    structure: str
    network: str
    precision: UnitPrecision
    factors: tuple[float, float, float]
    constant_ms: float
    weights_ms_per_mib: float
    networks: int
    heldout_median: float
    heldout_worst: float

    def apply(self, units: Sequence[Unit], predicted_ms: Sequence[float]) -> Estimate:
        """The corrected time of a network, with what the worst held-out network was off by to both sides."""
        import numpy as np

        weights = np.array([*self.factors, self.constant_ms, self.weights_ms_per_mib])
        value = float(_features(units, predicted_ms) @ weights)
        return Estimate(value, value / (1 + self.heldout_worst), value * (1 + self.heldout_worst))


def fit_correction(
    wholes: Sequence[Whole], *, structure: str, network: str, precision: UnitPrecision
) -> Correction:
    """The correction with least squares of relative errors, no part of it negative (Lawson and Hanson 1974, NNLS).

    Each network is also predicted by a fit to all others: those errors are what the correction tells of itself.
    Raises ValueError for fewer than three networks.
    """
    import numpy as np

    if len(wholes) < 3:
        raise ValueError(f"{len(wholes)} networks; a correction takes 3 or more")
    rows = np.array([_features(whole.units, whole.predicted_ms) for whole in wholes])
    measured = np.array([whole.measured_ms for whole in wholes])
    errors = []
    for index in range(len(wholes)):
        others = np.arange(len(wholes)) != index
        said = float(rows[index] @ _fit(rows[others], measured[others]))
        errors.append(abs(said / float(measured[index]) - 1))
    fitted = [float(value) for value in _fit(rows, measured)]
    return Correction(
        structure, network, precision, (fitted[0], fitted[1], fitted[2]), fitted[3], fitted[4],
        len(wholes), float(np.median(errors)), max(errors),
    )  # fmt: skip


def _features(units: Sequence[Unit], predicted_ms: Sequence[float]) -> NDArray[np.float64]:
    """Time by kind, 1, and MiB of weights."""
    import numpy as np

    values = np.zeros(FACTORS + 2)
    values[FACTORS] = 1.0
    for unit, time_ms in zip(units, predicted_ms, strict=True):
        values[GROUPS.get(unit.family.kind, FACTORS - 1)] += time_ms
        values[FACTORS + 1] += unit.weight_bytes / MIB
    return values


def _fit(rows: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of rows scaled to a time of 1, with the prior as further rows."""
    import numpy as np
    from scipy.optimize import nnls

    scaled = rows / measured[:, None]
    sizes = scaled.mean(axis=0)
    wanted = np.array([1.0] * FACTORS + [0.0, 0.0])
    strengths = np.concatenate(
        [np.full(FACTORS, FACTOR_PRIOR), REST_PRIOR * np.maximum(sizes[FACTORS:], 1e-9)]
    )
    prior = np.diag(strengths)
    solution, _ = nnls(np.vstack([scaled, prior]), np.concatenate([np.ones(len(rows)), prior @ wanted]))
    return np.asarray(solution, np.float64)
