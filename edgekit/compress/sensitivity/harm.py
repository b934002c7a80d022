"""What was measured, as plain data, and the harm that it predicts of a whole plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edgekit.compress.pruning.groups import ChannelUnit, group_name
from edgekit.errors import UserError
from edgekit.types import Precision

if TYPE_CHECKING:
    from edgekit.compress.pruning.plan import PrunePlan

__all__ = ["BlockHarm", "GroupHarm", "LayerHarm", "MeasuredWidth", "Sensitivity"]


@dataclass(frozen=True)
class MeasuredWidth:
    """A width that was tried: the best `width` channels kept, batch norms re-estimated."""

    width: int
    harm: float


@dataclass(frozen=True)
class GroupHarm:
    """One channel group, named like its `ChannelGroup` by its first layer.

    `makers`: all layers that make its channels, or its heads where `unit` says so. `measured`: descending widths, full
    width (harm 0) not among them. `lost[w]`: the share of the channels' scores that is lost where the best w stay,
    [width + 1], from 1 down to 0.
    """

    layer: str
    width: int
    makers: tuple[str, ...]
    measured: tuple[MeasuredWidth, ...]
    lost: tuple[float, ...]
    unit: ChannelUnit = "channel"

    def harm(self, width: int) -> float:
        """Of keeping the best `width` channels: linear in the lost score between measured widths, never falling.

        Below the narrowest measured width it goes on with the last slope, or in proportion where that is steeper.
        Raises UserError for a width that the group cannot have.
        """
        if not 1 <= width <= self.width:
            raise UserError(f"{self.layer} with {width} channels", allowed=f"1 to {self.width}")
        # The width itself, hardly weighed, keeps the places apart where channels score nothing.
        places = [0.0, *(self._place(point.width) for point in self.measured)]
        harms = np.maximum.accumulate([0.0, *(point.harm for point in self.measured)])
        place = self._place(width)
        if len(places) == 1 or place <= places[-1]:
            return float(np.interp(place, places, harms))
        slopes = (harms[-1] - harms[-2]) / (places[-1] - places[-2]), harms[-1] / places[-1]
        return float(harms[-1] + max(slopes) * (place - places[-1]))

    def _place(self, width: int) -> float:
        return self.lost[width] + 1e-6 * (self.width - width)


@dataclass(frozen=True)
class BlockHarm:
    """One block bypassed, or a chain of convolutions merged; batch norms re-estimated."""

    name: str
    harm: float


@dataclass(frozen=True)
class LayerHarm:
    """One layer alone at a lower precision: its weights and its input. `harm`: by precision."""

    layer: str
    harm: Mapping[Precision, float]


@dataclass(frozen=True)
class Sensitivity:
    """Harm of everything that can be done to a network, each alone.

    Harm is the divergence of the outputs from the original's on the same samples (`divergence.py`): 0 is none. Of
    groups, blocks and chains it is that between networks whose batch norms were both re-estimated; `floor` is what that
    alone does to the original. `samples`: how many were compared.
    """

    groups: tuple[GroupHarm, ...]
    blocks: tuple[BlockHarm, ...]
    layers: tuple[LayerHarm, ...]
    floor: float
    samples: int
    chains: tuple[BlockHarm, ...] = ()

    def harm_of(self, plan: PrunePlan) -> float:
        """Predicted of a plan: the sum over its parts. Raises UserError for a group or block that was not measured."""
        return self.harm_of_widths(plan.widths, plan.dropped, plan.merged)

    def harm_of_widths(
        self, widths: Mapping[str, int], dropped: Collection[str] = (), merged: Collection[str] = ()
    ) -> float:
        """Like `harm_of`, for groups' widths by any layer that makes their channels, dropped blocks, merged chains."""
        groups = {group_name(maker, group.unit): group for group in self.groups for maker in group.makers}
        blocks = {block.name: block.harm for block in self.blocks}
        chains = {chain.name: chain.harm for chain in self.chains}
        unknown = (*(set(widths) - set(groups)), *(set(dropped) - set(blocks)), *(set(merged) - set(chains)))
        if unknown:
            known = ", ".join((*(group.layer for group in self.groups), *blocks, *chains))
            raise UserError(f"nothing is known of {unknown[0]}", allowed=known)
        narrowed = sum(groups[layer].harm(width) for layer, width in widths.items())
        return narrowed + sum(blocks[name] for name in dropped) + sum(chains[name] for name in merged)

    def harm_of_precision(self, layers: Collection[str], precision: Precision) -> float:
        """Predicted of these layers at that precision: the sum; layers that were not measured count nothing."""
        return sum(layer.harm.get(precision, 0.0) for layer in self.layers if layer.layer in layers)

    def to_json(self) -> str:
        """One JSON object; `from_json` reads it back."""
        return msgspec.json.encode(self).decode()

    @staticmethod
    def from_json(text: str) -> Sensitivity:
        """Read what `to_json` wrote. Raises UserError on anything else."""
        try:
            return msgspec.json.decode(text, type=Sensitivity)
        except msgspec.MsgspecError as error:
            raise UserError(f"not a measured sensitivity: {error}") from error
