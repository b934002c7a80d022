"""Structured pruning: propose which channels go, and make the smaller dense network."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from edgekit.compress.folding import folded
from edgekit.compress.pruning.cost import CostModel, layer_macs
from edgekit.compress.pruning.groups import ChannelGroup, ChannelUnit, Grouping, channel_groups
from edgekit.compress.pruning.importance import Importance, channel_scores
from edgekit.compress.pruning.plan import PrunePlan, PruneStep
from edgekit.compress.pruning.slicing import apply_steps
from edgekit.compress.pruning.soundness import means_the_same, output_shapes, sound_groups
from edgekit.compress.pruning.trace import OUTPUT
from edgekit.errors import StageError, UserError, in_one_line

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from edgekit.compress.base import Example, Samples

__all__ = [
    "Prunable",
    "PruneConfig",
    "ScoredGroups",
    "apply_plan",
    "kept_whole",
    "propose",
    "propose_widths",
    "prunable",
    "scored_groups",
    "sound_grouping",
    "told",
    "widths_of",
]


@dataclass(frozen=True)
class PruneConfig:
    """How to prune.

    ratio_step: fraction of the original's MACs that one step of iterative pruning takes away.
    round_to: the channel multiple that the target's runtime likes (see allowed_widths).
    scope: "inner" prunes only groups with one maker, and those within an attention (never the width of a residual
    stream); "all" prunes every sound group, the embedding width of a transformer too.
    keep: layer-name globs whose output channels all stay.
    importance_samples: how many samples "taylor" and "activation" may read.
    """

    ratio_step: float = 0.08
    importance: Importance = "activation"
    round_to: int = 8
    min_channels: int = 1
    scope: Literal["all", "inner"] = "all"
    keep: tuple[str, ...] = ()
    importance_samples: int = 1024

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio_step < 1.0:
            raise UserError(f"ratio_step is {self.ratio_step}", allowed="between 0 and 1, e.g. 0.08")
        if self.importance not in get_args(Importance):
            raise UserError(f"importance is {self.importance!r}", allowed=", ".join(get_args(Importance)))
        if self.round_to < 1 or self.min_channels < 1:
            raise UserError(
                f"round_to is {self.round_to}, min_channels is {self.min_channels}", allowed="1 or more"
            )
        if self.scope not in ("all", "inner"):
            raise UserError(f"scope is {self.scope!r}", allowed="all, inner")


@dataclass(frozen=True)
class Prunable:
    """A group that can be pruned: its layer, its width, and the widths it may get (descending); `unit`: of what."""

    layer: str
    width: int
    allowed: tuple[int, ...]
    unit: ChannelUnit = "channel"


def prunable(module: torch.nn.Module, example: Example, config: PruneConfig) -> tuple[Prunable, ...]:
    """Every group that `propose` may prune. Empty when nothing can be pruned soundly."""
    return tuple(
        Prunable(group.layer, group.width, widths_of(group, group.width, config), group.unit)
        for group in sound_grouping(folded(module), example, config).groups
    )


def propose(
    module: torch.nn.Module,
    example: Example,
    config: PruneConfig,
    target_fraction: float,
    data: Samples | None = None,
    *,
    previous: PrunePlan | None = None,
) -> PrunePlan:
    """The plan that brings MACs to at most `target_fraction` of the original's, cheapest channels first.

    `module` is the original, or the network that `previous` (and training) made of it; the plan that comes
    back starts from the original in both cases. Where the allowed widths end earlier, the plan ends there:
    look at its `fraction`. Raises StageError when the network cannot be traced or no group can be pruned.
    """
    module = folded(module)
    grouping = sound_grouping(module, example, config)
    groups = grouping.groups
    if not groups:
        reasons = told(kept_whole(module, example, config))
        raise StageError(
            "prune",
            f"no channels can be pruned without breaking the network: {reasons}",
            "build with --no-prune",
        )
    scores = channel_scores(module, groups, config.importance, data, config.importance_samples)
    cost = CostModel(layer_macs(module, example), groups, grouping.products)
    full = previous.original_macs if previous and previous.original_macs else cost.macs({})
    originals = {step.layer: step.width for step in previous.steps} if previous else {}
    allowed = {
        group.layer: _allowed_now(group, originals.get(group.layer, group.width), config) for group in groups
    }
    widths = _cheapest(groups, scores, cost, allowed, target_fraction * full)
    plan = _keep_best(groups, scores, widths, full, cost.macs(widths))
    if not means_the_same(module, example, groups, plan):
        raise StageError("prune", "the pruned network does not compute what it should")
    return previous.then(plan) if previous else plan


def propose_widths(
    module: torch.nn.Module,
    example: Example,
    widths: Mapping[str, int],
    config: PruneConfig,
    data: Samples | None = None,
) -> PrunePlan:
    """The plan with exactly these widths (group's layer → channels left); the best channels stay.

    Without data, channels are picked by magnitude. Raises UserError for an unknown group or a bad width.
    """
    return scored_groups(module, example, config, data).plan(widths)


@dataclass(frozen=True)
class ScoredGroups:
    """The groups of a network, what their channels are worth, and what they cost: any number of plans of it."""

    groups: tuple[ChannelGroup, ...]
    scores: Mapping[str, NDArray[np.float64]]
    cost: CostModel

    def plan(self, widths: Mapping[str, int]) -> PrunePlan:
        """The plan with exactly these widths; the best channels stay. Raises UserError like propose_widths."""
        known = {group.layer: group.width for group in self.groups}
        for layer, width in widths.items():
            if not 1 <= width <= known.get(layer, 0):
                raise UserError(
                    f"cannot prune {layer} to {width} channels",
                    allowed=", ".join(f"{name} 1-{most}" for name, most in known.items()) or "nothing here",
                )
        return _keep_best(self.groups, self.scores, widths, self.cost.macs({}), self.cost.macs(widths))


def scored_groups(
    module: torch.nn.Module, example: Example, config: PruneConfig, data: Samples | None = None
) -> ScoredGroups:
    """The network traced and its channels scored, once. Raises StageError when it cannot be traced."""
    module = folded(module)
    grouping = sound_grouping(module, example, config)
    groups = grouping.groups
    importance: Importance = config.importance if data is not None else "magnitude"
    scores = channel_scores(module, groups, importance, data, config.importance_samples)
    return ScoredGroups(groups, scores, CostModel(layer_macs(module, example), groups, grouping.products))


def allowed_widths(width: int, round_to: int, min_channels: int = 1) -> tuple[int, ...]:
    """Channel counts a group of `width` channels may be pruned to, descending, `width` itself first.

    Multiples of `round_to` below `width`. A group of at most `round_to` channels may be halved once instead
    (8 → 4 at multiples of 8), so nothing is pruned below min(round_to, width / 2) or `min_channels`.

    >>> allowed_widths(64, 16)
    (64, 48, 32, 16)
    >>> allowed_widths(16, 16)
    (16, 8)
    """
    smaller = list(range(round_to * ((width - 1) // round_to), 0, -round_to)) or [width // 2]
    return (width, *(count for count in smaller if count >= max(1, min_channels)))


def apply_plan(module: torch.nn.Module, example: Example, plan: PrunePlan) -> torch.nn.Module:
    """A pruned copy of the original `module`: blocks dropped, then weights sliced; dense, eval mode.

    `module` is left as it is.
    Raises StageError when the plan does not fit, or the pruned network does not run or changes output shapes.
    """
    module = folded(module)
    before = output_shapes(module, example)
    pruned = apply_steps(module, example, plan)
    try:
        after = output_shapes(pruned, example)
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        raise StageError("prune", f"the pruned network does not run: {in_one_line(error)}") from error
    if after != before:
        raise StageError("prune", f"pruning changes the output shapes from {before} to {after}")
    return pruned


def kept_whole(module: torch.nn.Module, example: Example, config: PruneConfig) -> Mapping[str, str]:
    """Layers that no plan makes narrower, though they give no output → why. Raises StageError like `propose`."""
    grouping = sound_grouping(folded(module), example, config)
    return {layer: reason for layer, reason in grouping.kept.items() if reason != OUTPUT}


def told(kept: Mapping[str, str]) -> str:
    """Layers by their reason, on one line."""
    by_reason: dict[str, list[str]] = {}
    for layer, reason in kept.items():
        by_reason.setdefault(reason, []).append(layer or "the network")
    lines = [f"{', '.join(layers)} {reason}" for reason, layers in by_reason.items()]
    return "; ".join(lines) or "all its layers give outputs"


def sound_grouping(module: torch.nn.Module, example: Example, config: PruneConfig) -> Grouping:
    """The groups that the configuration wants and that are sound; all others are kept. `module` has plain weights."""
    traced = channel_groups(module, example)
    wanted = [
        group
        for group in traced.groups
        if (config.scope == "all" or group.inner)
        and not any(fnmatch.fnmatchcase(maker.layer, glob) for maker in group.makers for glob in config.keep)
    ]
    sound = sound_groups(module, example, wanted)
    kept = dict(traced.kept)
    narrowed = {maker.layer for group in sound for maker in group.makers}
    for group in traced.groups:
        if group not in sound:
            reason = "would compute something else" if group in wanted else "is to be kept"
            kept.update((maker.layer, reason) for maker in group.makers if maker.layer not in narrowed)
    return Grouping(sound, kept, traced.products)


def widths_of(group: ChannelGroup, width: int, config: PruneConfig) -> tuple[int, ...]:
    """allowed_widths of a group that had `width` channels at first; of heads any number may stay."""
    if group.unit == "head":
        return allowed_widths(width, 1)
    return allowed_widths(width, config.round_to, config.min_channels)


def _allowed_now(group: ChannelGroup, original: int, config: PruneConfig) -> tuple[int, ...]:
    """Widths allowed from the group's down, counted from the original's width, so that halving happens once."""
    allowed = widths_of(group, original, config)
    return (group.width, *(count for count in allowed if count < group.width))


def _cheapest(
    groups: tuple[ChannelGroup, ...],
    scores: Mapping[str, NDArray[np.float64]],
    cost: CostModel,
    allowed: Mapping[str, tuple[int, ...]],
    wanted_macs: float,
) -> dict[str, int]:
    """Greedy: again and again narrow the group that loses least importance per MAC saved.

    Lost importance is the logarithm of the group's remaining score, so every group is on the same scale and
    the last channels of a narrow group are dear, whatever the first ones were. What a stream loses that norms go across
    counts at each of them: all blocks behind read less then, and all of their work would go at the price of one group.
    """
    remaining = {group.layer: _log_remaining(scores[group.layer]) for group in groups}
    widths = {group.layer: group.width for group in groups}
    times = {group.layer: max(1, len(group.normalizing)) for group in groups}
    now = cost.macs(widths)
    while now > wanted_macs:
        best: tuple[float, str, int, int] | None = None
        for layer, width in widths.items():
            below = [count for count in allowed[layer] if count < width]
            if not below:
                continue
            after = now - cost.saved(widths, layer, below[0])
            lost = times[layer] * (remaining[layer][width] - remaining[layer][below[0]])
            offer = (lost / max(1, now - after), layer, below[0], after)
            if best is None or offer < best:
                best = offer
        if best is None:
            break
        _, layer, widths[layer], now = best
    return widths


def _log_remaining(scores: NDArray[np.float64]) -> list[float]:
    """`[k]`: log of the score share that the k best channels hold; index 0 is the log of almost nothing."""
    total = float(scores.sum()) or 1.0
    held, result = 0.0, [math.log(1e-9)]
    for score in sorted((float(value) for value in scores), reverse=True):
        held += score / total
        result.append(math.log(max(held, 1e-9)))
    return result


def _keep_best(
    groups: tuple[ChannelGroup, ...],
    scores: Mapping[str, NDArray[np.float64]],
    widths: Mapping[str, int],
    original_macs: int,
    macs: int,
) -> PrunePlan:
    steps = []
    for group in groups:
        count = widths.get(group.layer, group.width)
        if count < group.width:
            order = (-scores[group.layer]).argsort(kind="stable")  # of equal channels the first stay
            steps.append(PruneStep(group.layer, group.width, tuple(sorted(int(i) for i in order[:count]))))
    return PrunePlan(tuple(steps), original_macs, macs)
