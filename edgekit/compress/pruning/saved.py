"""A smaller network on disk: weights and plan in one safetensors file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.compress.attention import unpacked_state
from edgekit.compress.base import NetworkPlan
from edgekit.compress.pruning.plan import PrunePlan
from edgekit.compress.pruning.propose import apply_plan
from edgekit.compress.training.checkpoint import read_tensors, write_tensors
from edgekit.errors import ModelError, in_one_line

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["load_pruned", "load_saved", "save_pruned"]


def save_pruned(path: Path, module: torch.nn.Module, plan: NetworkPlan) -> None:
    """Write a pruned network, or one of another plan: its weights, and the plan that makes its structure."""
    write_tensors(path, module.state_dict(), {"plan": plan.to_json()})


def load_pruned(path: Path, original: torch.nn.Module, example: Example) -> tuple[torch.nn.Module, PrunePlan]:
    """Rebuild what `save_pruned` wrote on a copy of `original`. Raises ModelError when it does not fit."""
    plans: list[PrunePlan] = []

    def rebuilt(plan: str) -> torch.nn.Module:
        plans.append(PrunePlan.from_json(plan))
        return apply_plan(original, example, plans[0])

    return load_saved(path, rebuilt), plans[0]


def load_saved(path: Path, rebuilt: Callable[[str], torch.nn.Module]) -> torch.nn.Module:
    """What `save_pruned` wrote. `rebuilt`: its plan, a text → the structure. Raises ModelError when it does not fit."""
    tensors, note = read_tensors(path, sealed=False)
    module = rebuilt(str(note.get("plan")))
    try:
        module.load_state_dict(unpacked_state(tensors, module.state_dict().keys()))
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit this model: {in_one_line(error)}") from error
    return module
