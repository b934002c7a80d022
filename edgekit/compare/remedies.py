"""Which recipe does what a hint asks for, in the runtime of an artifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.compare.hints import Remedies
from edgekit.quantize import Recipe, all_recipes

if TYPE_CHECKING:
    from edgekit.types import BackendName

__all__ = ["remedies_for"]


def remedies_for(backend: BackendName, project: Path | None = None) -> Remedies:
    """Words for the recipes that this backend has; where it lacks one, what to look for."""
    recipes = [recipe for recipe in all_recipes(project) if backend in recipe.backends]
    plain = Remedies()
    mixed = _name(recipes, lambda recipe: recipe.keep_float > 0)
    return Remedies(
        wider=_name(recipes, lambda recipe: recipe.observer == "minmax") or plain.wider,
        tighter=_name(
            recipes, lambda recipe: recipe.observer in ("mse", "percentile") and not recipe.keep_float
        )
        or plain.tighter,
        keep_float=f"{plain.keep_float} ({mixed})" if mixed else plain.keep_float,
        bias=_name(recipes, lambda recipe: recipe.bias_correction == "full")
        or _name(recipes, lambda recipe: recipe.bias_correction == "fast")
        or plain.bias,
    )


def _name(recipes: list[Recipe], fits: Callable[[Recipe], bool]) -> str:
    """ "recipe NAME" of the first that fits, the smallest share in float first."""
    chosen = sorted((recipe for recipe in recipes if fits(recipe)), key=lambda recipe: recipe.keep_float)
    return f"recipe {chosen[0].name}" if chosen else ""
