"""Measuring, one at a time: groups at a few widths, blocks bypassed, chains merged, layers quantized."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from edgekit.compress.base import Samples, whole_batches
from edgekit.compress.depth.blocks import Depth, find_depth
from edgekit.compress.depth.merging import Mergers, find_mergers
from edgekit.compress.folding import folded
from edgekit.compress.layers import weighted_layers
from edgekit.compress.norms import reestimate_norms
from edgekit.compress.pruning.groups import ChannelGroup
from edgekit.compress.pruning.importance import channel_scores
from edgekit.compress.pruning.plan import PrunePlan, PruneStep
from edgekit.compress.pruning.propose import PruneConfig, sound_grouping
from edgekit.compress.pruning.slicing import cut
from edgekit.compress.sensitivity.divergence import OriginalOutputs
from edgekit.compress.sensitivity.harm import (
    BlockHarm,
    GroupHarm,
    LayerHarm,
    MeasuredWidth,
    Sensitivity,
)
from edgekit.compress.sensitivity.quantized import input_ranges, quantized_layer
from edgekit.errors import DataError, UserError
from edgekit.progress import SilentStep, Step

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from edgekit.compress.base import Example

__all__ = ["SensitivityConfig", "joined", "measure_blocks", "measure_sensitivity", "sensitivity_parts"]

Batches = Sequence[tuple["torch.Tensor", ...]]

Share = tuple[int, int]
"""Which place of how many: every so many-th thing, beginning with that one."""

WHOLE: Share = (0, 1)

Part = TypeVar("Part")


@dataclass(frozen=True)
class SensitivityConfig:
    """How much is measured.

    fractions: of each group's width, the widths that are tried. samples: how many are compared, and as many others
    re-estimate batch norms where there are that many. seed: which samples.
    """

    fractions: tuple[float, ...] = (0.75, 0.5, 0.25)
    samples: int = 256
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.fractions or not all(0.0 < fraction < 1.0 for fraction in self.fractions):
            raise UserError(
                f"fractions are {self.fractions}", allowed="between 0 and 1, e.g. 0.75, 0.5, 0.25"
            )
        if self.batch_size < 2 or self.samples < self.batch_size:
            raise UserError(
                f"samples is {self.samples}, batch_size is {self.batch_size}",
                allowed="a batch of 2 or more, and samples for a batch",
            )

    @classmethod
    def for_samples(cls, count: int) -> SensitivityConfig:
        """As usual, with no more samples than there are, in whole batches. Raises UserError for fewer than 2."""
        size = min(cls.batch_size, count)
        return cls(samples=min(cls.samples, size * (count // max(1, size))), batch_size=size)


def sensitivity_parts(
    model_digest: str, samples_digest: str, pruning: PruneConfig, config: SensitivityConfig
) -> dict[str, Any]:
    """All that a sensitivity depends on, but for the code: the parts of its key."""
    return {
        "model": model_digest,
        "samples": samples_digest,
        "pruning": msgspec.to_builtins(pruning),
        "config": msgspec.to_builtins(config),
    }


def measure_sensitivity(
    module: torch.nn.Module,
    example: Example,
    data: Samples,
    pruning: PruneConfig,
    config: SensitivityConfig = SensitivityConfig(),
    *,
    progress: Step | None = None,
    share: Share = WHOLE,
) -> Sensitivity:
    """The harm of everything that can be done to `module`, each thing alone, on samples of `data`.

    `share`: of the groups, blocks, chains and layers those that one of several takes, which `joined` brings together.

    `module` is left as it is, but for being in eval mode. The same arguments give the same numbers on one machine.
    `pruning` says which groups may be pruned, and how their channels are scored. Raises StageError when the network
    cannot be traced or its outputs are not finite, DataError for too few samples.
    """
    return _Measuring(folded(module).eval(), example, data, pruning, config, progress or SilentStep()).all(
        share
    )


def joined(shares: Sequence[Sensitivity]) -> Sensitivity:
    """The whole out of all shares, in the order of their places: what one measurement alone would have given."""

    def in_turn(parts: Sequence[tuple[Part, ...]]) -> tuple[Part, ...]:
        rows = itertools.zip_longest(*parts)
        return tuple(part for row in rows for part in row if part is not None)

    return replace(
        shares[0],
        groups=in_turn([share.groups for share in shares]),
        blocks=in_turn([share.blocks for share in shares]),
        layers=in_turn([share.layers for share in shares]),
        chains=in_turn([share.chains for share in shares]),
    )


def measure_blocks(
    module: torch.nn.Module,
    example: Example,
    data: Samples,
    config: SensitivityConfig = SensitivityConfig(),
    *,
    progress: Step | None = None,
) -> tuple[BlockHarm, ...]:
    """The harm of each droppable block alone, as `measure_sensitivity` has it. Raises what that raises."""
    nothing = PruneConfig(importance="magnitude", keep=("*",))
    return _Measuring(
        folded(module).eval(), example, data, nothing, config, progress or SilentStep()
    ).blocks()


class _Measuring:
    """One network with what all measurements of it share."""

    def __init__(
        self,
        module: torch.nn.Module,
        example: Example,
        data: Samples,
        pruning: PruneConfig,
        config: SensitivityConfig,
        progress: Step,
    ) -> None:
        self._module, self._progress, self._config = module, progress, config
        compared, self._renewing = _batches(data, config)
        self._reference, self._compared = OriginalOutputs(module, compared), compared
        renewed = copy.deepcopy(module)
        reestimate_norms(renewed, self._renewing)
        # Changed networks with new statistics are compared with the original with new ones, or all would be blamed for
        # what the few samples alone do to the statistics.
        self._renewed = OriginalOutputs(renewed, compared)
        self._floor = self._reference.divergence(renewed)
        self._depth: Depth = find_depth(module, example)
        self._mergers: Mergers = find_mergers(module, example)
        self._groups = sound_grouping(module, example, pruning).groups
        self._scores = channel_scores(
            module, self._groups, pruning.importance, data, pruning.importance_samples
        )
        self._layers = weighted_layers(module)
        self._done = 0

    def all(self, share: Share) -> Sensitivity:
        """One after the other, each on its own."""
        place, count = share
        groups = tuple(self._group(group) for group in self._groups[place::count])
        blocks, chains = self.blocks(share), self.chains(share)
        ranges = input_ranges(self._module, self._compared)
        called = [name for name in self._layers if name in ranges]
        layers = tuple(self._quantized(name, ranges[name]) for name in called[place::count])
        self._progress.advance(1.0, f"{len(groups)} groups, {len(blocks)} blocks, {len(layers)} layers")
        return Sensitivity(groups, blocks, layers, self._floor, self._reference.samples, chains)

    def blocks(self, share: Share = WHOLE) -> tuple[BlockHarm, ...]:
        """Each block bypassed."""
        place, count = share
        names = [block.name for block in self._depth.blocks[place::count]]
        return tuple(
            BlockHarm(name, self._harm(self._depth.without(self._module, [name]), f"without {name}"))
            for name in names
        )

    def chains(self, share: Share = WHOLE) -> tuple[BlockHarm, ...]:
        """Each chain of convolutions merged."""
        place, count = share
        names = [chain.name for chain in self._mergers.plausible[place::count]]
        return tuple(
            BlockHarm(name, self._harm(self._mergers.merged(self._module, [name]), f"{name} merged"))
            for name in names
        )

    def _group(self, group: ChannelGroup) -> GroupHarm:
        scores = self._scores[group.layer]
        order = (-scores).argsort(kind="stable")
        widths = sorted(
            {max(1, round(fraction * group.width)) for fraction in self._config.fractions} - {group.width}
        )
        measured = []
        for width in reversed(widths):
            kept = tuple(sorted(int(channel) for channel in order[:width]))
            plan = PrunePlan((PruneStep(group.layer, group.width, kept),))
            narrow = cut(self._module, [group], plan)
            measured.append(MeasuredWidth(width, self._harm(narrow, f"{group.layer} with {width} channels")))
        makers = tuple(maker.layer for maker in group.makers)
        lost = _lost(scores[order])
        return GroupHarm(group.layer, group.width, makers, tuple(measured), lost, group.unit)

    def _quantized(self, name: str, values: Any) -> LayerHarm:
        with quantized_layer(self._layers[name], values):
            harm = self._reference.divergence(self._module)
        self._advance(f"{name} in int8")
        return LayerHarm(name, {"int8": harm})

    def _harm(self, network: torch.nn.Module, what: str) -> float:
        """Of a changed copy, whose batch norms are re-estimated here."""
        reestimate_norms(network, self._renewing)
        harm = self._renewed.divergence(network)
        self._advance(what)
        return harm

    def _advance(self, what: str) -> None:
        self._done += 1
        tried = len(self._config.fractions) * len(self._groups) + len(self._depth.blocks)
        tried += len(self._mergers.plausible) + len(self._layers)
        self._progress.advance(min(0.999, self._done / tried), what)


def _batches(data: Samples, config: SensitivityConfig) -> tuple[Batches, Batches]:
    """Those whose outputs are compared, and others to re-estimate batch norms on; the same where there are few."""
    wanted = config.samples // config.batch_size
    stream = whole_batches(data, config.batch_size, config.seed)
    taken = list(itertools.islice(stream, 2 * wanted))
    if not taken:
        raise DataError(
            f"sensitivity got {len(data)} samples", allowed=f"{config.batch_size} or more (one batch)"
        )
    return taken[:wanted], taken[wanted:] or taken


def _lost(descending: NDArray[np.float64]) -> tuple[float, ...]:
    """`[w]`: the share of the scores that is lost where the best w channels stay."""
    total = float(descending.sum())
    if total <= 0.0:  # nothing tells them apart
        return tuple(1.0 - width / len(descending) for width in range(len(descending) + 1))
    held = np.concatenate(([0.0], np.cumsum(descending))) / total
    return tuple(float(value) for value in np.clip(1.0 - held, 0.0, 1.0))
