"""What following the channels of a network gives: which layers make, read and carry which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from edgekit.compress.pruning.calls import NumberPlace
from edgekit.compress.pruning.channels import ChannelSets
from edgekit.compress.pruning.stored import StoredAxis

__all__ = ["Role", "TracedChannels"]

Role = Literal["out", "in", "through"]


@dataclass
class TracedChannels:
    """Layers and the channels that they make, read or carry on, as elements of `sets`.

    `norms`: layer → the batch norm that its result goes into. `sizes`: numbers that a forward gives its views, with
    the channels that the axis of this size holds. `summed`: modules in whose forwards a product of activations sums
    over channels → those channels, and how many at once. `products`: of two activations, by their place in the graph →
    multiply-accumulates, and the channels on the axis that they lie along. `stored`: axes of tensors that are no
    layer's weights → the channels there. `normalizing`: layers whose statistics are taken across their channels.
    """

    sets: ChannelSets = field(default_factory=ChannelSets)
    roles: dict[tuple[str, Role], tuple[int, ...]] = field(default_factory=dict)
    norms: dict[str, str] = field(default_factory=dict)
    sizes: dict[NumberPlace, tuple[int, ...]] = field(default_factory=dict)
    summed: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    products: dict[tuple[str, int], tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    stored: dict[StoredAxis, tuple[int, ...]] = field(default_factory=dict)
    normalizing: set[str] = field(default_factory=set)

    def elements(self, layer: str, role: Role, count: int) -> tuple[int, ...]:
        """The layer's channels, the same at each of its calls."""
        if (layer, role) not in self.roles:
            self.roles[layer, role] = self.sets.new(count)
        return self.roles[layer, role]

    def fix_layer(self, layer: str) -> None:
        """The layer's weights are used in some other way too: they stay."""
        self._fix(elements for (name, _), elements in self.roles.items() if name == layer)

    def fix_stored(self, owner: str) -> None:
        """The module's parameters are another's too: they stay."""
        self._fix(elements for (name, _), elements in self.stored.items() if name.rpartition(".")[0] == owner)

    def _fix(self, rows: Iterable[tuple[int, ...]]) -> None:
        for elements in rows:
            self.sets.fix(elements, "has weights that are used elsewhere too")
