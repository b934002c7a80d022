"""A pruned structure as plain data: which blocks go, and which output channels of which layers stay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.errors import UserError

__all__ = ["PrunePlan", "PruneStep"]


@dataclass(frozen=True)
class PruneStep:
    """One group of coupled channels, named by its first layer; indices count the *original's* channels.

    They are the group's channels (see ChannelGroup): mostly those of `layer`, or pairs of them.
    """

    layer: str
    width: int
    kept: tuple[int, ...]

    @property
    def removed(self) -> tuple[int, ...]:
        """Channels of the group that go, ascending."""
        staying = set(self.kept)
        return tuple(index for index in range(self.width) if index not in staying)


@dataclass(frozen=True)
class PrunePlan:
    """All that is needed to make the pruned structure again from the original, without pickles.

    `original_macs` and `macs` are multiply-accumulates of convolutions, linear layers and products of activations for
    one sample, before and after. `dropped` are residual blocks that go whole, by their modules' names, `merged` those
    whose convolutions become one; both are done first, so `steps` are about the groups of what is left.
    """

    steps: tuple[PruneStep, ...] = ()
    original_macs: int = 0
    macs: int = 0
    dropped: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether anything goes."""
        return bool(self.steps or self.dropped or self.merged)

    @property
    def fraction(self) -> float:
        """MACs after pruning divided by MACs before (1.0 when nothing is counted)."""
        return self.macs / self.original_macs if self.original_macs else 1.0

    @property
    def lines(self) -> tuple[str, ...]:
        """Which blocks went or were merged, for people."""
        told = (("blocks dropped", self.dropped), ("convolutions merged", self.merged))
        return tuple(f"{what}: {', '.join(names)}" for what, names in told if names)

    @property
    def widths(self) -> Mapping[str, int]:
        """Channels left in each pruned group, by the name of its first layer."""
        return {step.layer: len(step.kept) for step in self.steps}

    def then(self, later: PrunePlan) -> PrunePlan:
        """This plan followed by `later`, whose indices count the channels that this plan left.

        Raises UserError where they do not fit, and where blocks would be dropped or merged after channels: that
        changes what the groups are.
        """
        if (later.dropped or later.merged) and self.steps:
            names = ", ".join((*later.dropped, *later.merged))
            raise UserError(
                f"{names} would be dropped or merged after channels were pruned",
                remedy="drop and merge blocks first",
            )
        mine = {step.layer: step for step in self.steps}
        for step in later.steps:
            first = mine.get(step.layer)
            if first is None:
                mine[step.layer] = step
                continue
            if step.width != len(first.kept):
                raise UserError(
                    f"pruning plan for {step.layer} starts from {step.width} channels, "
                    f"but {len(first.kept)} are left there"
                )
            mine[step.layer] = PruneStep(step.layer, first.width, tuple(first.kept[i] for i in step.kept))
        dropped = tuple(dict.fromkeys((*self.dropped, *later.dropped)))
        merged = tuple(dict.fromkeys((*self.merged, *later.merged)))
        before = self.original_macs or later.original_macs
        return PrunePlan(tuple(mine.values()), before, later.macs, dropped, merged)

    def to_json(self) -> str:
        """One JSON object; `from_json` reads it back. Blocks are in it where any are dropped or merged."""
        fields = {
            "original_macs": self.original_macs,
            "macs": self.macs,
            "steps": [
                {"layer": step.layer, "width": step.width, "kept": list(step.kept)} for step in self.steps
            ],
            **({"dropped": list(self.dropped)} if self.dropped else {}),
            **({"merged": list(self.merged)} if self.merged else {}),
        }
        return json.dumps(fields, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> PrunePlan:
        """Read what `to_json` wrote. Raises UserError on anything else."""
        try:
            raw = json.loads(text)
            steps = tuple(
                PruneStep(str(step["layer"]), int(step["width"]), tuple(int(i) for i in step["kept"]))
                for step in raw["steps"]
            )
            blocks = []
            for kind in ("dropped", "merged"):
                names = raw.get(kind, [])
                if not isinstance(names, list):
                    raise TypeError(f"{kind} is a {type(names).__name__}")
                blocks.append(tuple(map(str, names)))
            return PrunePlan(steps, int(raw["original_macs"]), int(raw["macs"]), *blocks)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"not a pruning plan: {type(error).__name__}: {error}") from error
