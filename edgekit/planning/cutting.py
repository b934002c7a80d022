"""What the solver chose brought back to the network: which blocks go, and which channels of what is left."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from edgekit.compress import PruneConfig, PrunePlan
from edgekit.compress.depth.blocks import Depth, find_depth
from edgekit.compress.depth.merging import Mergers, find_mergers
from edgekit.compress.depth.shallow import depth_text
from edgekit.compress.folding import folded
from edgekit.compress.pruning.cost import network_macs
from edgekit.compress.pruning.propose import ScoredGroups, scored_groups
from edgekit.errors import StageError, UserError
from edgekit.plan.solving import Allocation
from edgekit.planning.coupling import Coupling

if TYPE_CHECKING:
    import torch

    from edgekit.compress import Samples
    from edgekit.compress.base import Example

__all__ = ["PlanCutter"]


class PlanCutter:
    """Plans of one network, as `compress` applies them: blocks first, then the best channels of what is left.

    Tracing takes seconds: what is found of the network without certain blocks is found once. `data`: by which channels
    are ranked; None: by magnitude.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        example: Example,
        coupling: Coupling,
        config: PruneConfig,
        data: Samples | None = None,
    ) -> None:
        self._module, self._example = folded(module), example
        self._coupling, self._config, self._data = coupling, config, data
        self._scored: dict[tuple[tuple[str, ...], tuple[str, ...]], ScoredGroups] = {}

    def plan(self, allocation: Allocation) -> PrunePlan:
        """The allocation as what goes from the network.

        Groups are called otherwise once their first layer has gone: they are found again by any layer that makes them.
        Raises StageError when the network cannot be traced, or narrows two groups differently that have become one.
        """
        chains = {block.name: block.chain.name for block in self._coupling.mergeable}
        depth = tuple(allocation.dropped), tuple(chains[name] for name in allocation.merged)
        if depth not in self._scored:
            self._scored[depth] = self._at(*depth)
        scored = self._scored[depth]
        home = {(member.layer, group.unit): group for group in scored.groups for member in group.makers}
        widths: dict[str, int] = {}
        for group in self._coupling.groups:
            width = allocation.widths.get(group.name, group.widths[-1])
            if width == group.widths[-1]:
                continue
            makers = [(maker, group.unit) for maker in group.makers]
            for layer in {home[maker].layer for maker in makers if maker in home}:
                if widths.setdefault(layer, width) != width:
                    raise StageError("prune", f"{depth_text(*depth)}: {layer} would have two widths")
        before = scored.cost.macs({})
        return PrunePlan((), self._macs, before, *depth).then(scored.plan(widths))

    def _at(self, dropped: tuple[str, ...], merged: tuple[str, ...]) -> ScoredGroups:
        shallow = self._module
        try:
            if dropped:
                shallow = self._depth.without(shallow, dropped)
            if merged:
                shallow = self._mergers.merged(shallow, merged)
        except UserError as error:
            raise StageError("prune", str(error)) from error
        return scored_groups(shallow, self._example, self._config, self._data)

    @cached_property
    def _depth(self) -> Depth:
        return find_depth(self._module, self._example)

    @cached_property
    def _mergers(self) -> Mergers:
        return find_mergers(self._module, self._example)

    @cached_property
    def _macs(self) -> int:
        return network_macs(self._module, self._example)
