"""Several teachers as one: the weighted mean of what they say, which a student learns as it learns from any network.

What the mean of an output is: `training/means.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import Samples, flat_outputs, to_tensor
from edgekit.compress.folding import folded
from edgekit.compress.training.config import TrainConfig
from edgekit.compress.training.goal import find_goal
from edgekit.compress.training.kinds import OutputKind, output_kinds, read_outputs
from edgekit.compress.training.means import mean_outputs

if TYPE_CHECKING:
    import torch

__all__ = ["Teacher", "Teachers"]

TRIED = 8
"""Samples that show what the outputs are."""


@dataclass(frozen=True)
class Teacher:
    """A network in eval mode, what it is called, and how much it weighs beside the others."""

    name: str
    module: torch.nn.Module
    weight: float


@dataclass(frozen=True)
class Teachers:
    """One teacher or several; the first is the one whose layers a student may learn."""

    all: tuple[Teacher, ...]

    def joined(self, samples: Samples, config: TrainConfig) -> torch.nn.Module:
        """The one, or a network that gives the mean of all, with the first one's structure; see the module.

        `samples`: those of the training, whose labels say what the outputs are; `config`: how it trains.
        """
        modules = [folded(teacher.module) for teacher in self.all]
        if len(modules) == 1:
            return modules[0]
        total = sum(teacher.weight for teacher in self.all)
        kinds = _kinds(modules[0], samples, config)
        weights = [teacher.weight / total for teacher in self.all]
        joined: torch.nn.Module = _joined_class()(modules, weights, kinds, config.temperature)
        return joined.eval()

    @property
    def within(self) -> str:
        """What stands before the names of the first one's layers in what `joined` gives."""
        return "" if len(self.all) == 1 else "networks.0."

    def told(
        self, validate: Callable[[torch.nn.Module], float], joined: torch.nn.Module, baseline: float
    ) -> Iterator[str]:
        """Sentences on who teaches: weights and scores, and that together they are worse than the model, if so.

        `baseline`: the model's score.
        """
        together = validate(joined)
        if len(self.all) == 1:
            yield f"taught by {self.all[0].name}, which scores {together:.2%}"
        else:
            total = sum(teacher.weight for teacher in self.all)
            shares = [
                f"{teacher.name} ({teacher.weight / total:.0%}, scores {validate(teacher.module):.2%})"
                for teacher in self.all
            ]
            yield f"taught by {', '.join(shares)}; together they score {together:.2%}"
        if together < baseline:
            yield (
                f"the teacher is worse than the model: {together:.2%} against {baseline:.2%}; "
                "without --teacher the model teaches, with --alpha 1 the labels alone"
            )


def _kinds(module: torch.nn.Module, samples: Samples, config: TrainConfig) -> tuple[OutputKind, ...]:
    import torch

    batch = next(iter(samples.batches(min(TRIED, len(samples)))))
    with torch.no_grad():
        outputs = flat_outputs(module.eval()(*(to_tensor(array) for array in batch.inputs)))
    return output_kinds(outputs, find_goal(samples.labels, outputs), said=read_outputs(config.outputs))


def _with(structure: Any, tensors: Iterator[torch.Tensor]) -> Any:
    """What a network gave with other tensors in its place, in order."""
    import torch

    if isinstance(structure, torch.Tensor):
        return next(tensors)
    if isinstance(structure, Mapping):
        changed: Any = copy.copy(structure)
        for key in structure:
            changed[key] = _with(structure[key], tensors)
        return changed
    if isinstance(structure, (tuple, list)):
        parts = [_with(part, tensors) for part in structure]
        return type(structure)(*parts) if hasattr(structure, "_fields") else type(structure)(parts)
    return structure


@cache
def _joined_class() -> Any:
    import torch

    class Joined(torch.nn.Module):
        """Networks whose outputs are averaged."""

        def __init__(
            self,
            networks: Sequence[torch.nn.Module],
            weights: Sequence[float],
            kinds: Sequence[OutputKind],
            temperature: float,
        ) -> None:
            super().__init__()
            self.networks = torch.nn.ModuleList(networks)
            self.weights, self.kinds, self.temperature = tuple(weights), tuple(kinds), temperature

        def extra_repr(self) -> str:
            """What the outputs depend on beside the networks."""
            return f"{self.weights} {self.kinds} {self.temperature}"

        def forward(self, *inputs: torch.Tensor) -> Any:
            given = [network(*inputs) for network in self.networks]
            means = mean_outputs([*map(flat_outputs, given)], self.weights, self.kinds, self.temperature)
            return _with(given[0], iter(means))

    return Joined
