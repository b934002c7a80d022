"""Recipes, observers, calibration, layer sensitivity, bias correction, and the plan made of them; for all backends."""

from __future__ import annotations

from edgekit.quantize.bias import corrected_biases
from edgekit.quantize.collect import collect_ranges
from edgekit.quantize.measured import Memo
from edgekit.quantize.observers.kinds import OBSERVERS, Observer, make_observer
from edgekit.quantize.observers.ranges import AffineParameters, Range, affine_parameters
from edgekit.quantize.plan import QuantPlan
from edgekit.quantize.planning import make_plan
from edgekit.quantize.precision_times import Border, PrecisionTimes, SwitchableUnit
from edgekit.quantize.recipe import (
    ObserverKind,
    Recipe,
    all_recipes,
    at_share,
    find_recipe,
    ladder,
    load_recipe_file,
)
from edgekit.quantize.sensitivity import LayerSensitivity, sensitivity
from edgekit.quantize.simulate import Scheme

__all__ = [
    "OBSERVERS",
    "AffineParameters",
    "Border",
    "LayerSensitivity",
    "Memo",
    "Observer",
    "ObserverKind",
    "PrecisionTimes",
    "QuantPlan",
    "Range",
    "Recipe",
    "Scheme",
    "SwitchableUnit",
    "affine_parameters",
    "all_recipes",
    "at_share",
    "collect_ranges",
    "corrected_biases",
    "find_recipe",
    "ladder",
    "load_recipe_file",
    "make_observer",
    "make_plan",
    "sensitivity",
]
