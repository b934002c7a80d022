"""Calibration recipes: named, strict TOML files, one per recipe, each naming the next step of its ladder."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from edgekit.errors import RecipeError
from edgekit.files import read_toml
from edgekit.hardware.folders import config_dir, data_dir, project_dir
from edgekit.runtimes import RUNTIMES, near_runtimes
from edgekit.types import BackendName

__all__ = ["ObserverKind", "Recipe", "all_recipes", "at_share", "find_recipe", "ladder", "load_recipe_file"]

AT = "-at-"
"""Between a recipe's name and the percent of the time that its layers in float may take, as in `int8-mixed-at-12`."""

MOST_PERCENT = 100

ObserverKind = Literal["minmax", "percentile", "entropy", "mse", "nncf", "trained"]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a candidate is calibrated and quantized. The file `calibration/NAME.toml` holds the same keys.

    `observer`: how activation ranges come about; `nncf` leaves them to the runtime's own quantizer, `trained` takes
    those that were trained with the network's weights.
    `percentile`: percent of the values kept between both ends (observer `percentile` only).
    `keep_float`: how many of the most sensitive layers stay in float: 0 none, below 1 a fraction, else a count.
    `float_time`: the share of the INT8 network's time that layers in float may add to it. Where the times of the
    board's layers are known, those stay float that take most noise off within it; else as many as `keep_float` says.
    `most_float_time`: up to which share a build searches for the least that keeps the accuracy; 0: it does not.
    `float_as`: what layers in float compute in, where a runtime leaves the choice; "": as the runtime has it by itself.
    `keep_float_ops`: ONNX op types that stay in float. `next`: the recipe to try when accuracy is missed.
    `io`: what the artifact itself takes and gives where its runtime leaves the choice (LiteRT); callers see float.
    `equalize`, `smooth`: move scale between the channels of layers, and of normalizations and what reads them, so that
    those of a tensor span alike; `smooth` is the share that the weights take, SmoothQuant's alpha, 0 for none.
    `rounding`: which way weights go: each to its `nearest` integer, or `adaptive`, so that outputs change least.
    `affine`: channels are scaled and shifted to where float is. These four are done to the network before it is
    quantized (`quantize.repair`).
    A backend that cannot honour a key refuses the recipe and names the key.
    """

    name: str
    title: str
    backends: tuple[BackendName, ...]
    observer: ObserverKind
    percentile: float = 99.99
    granularity: Literal["per-channel", "per-tensor"] = "per-channel"
    samples: int = 512
    bias_correction: Literal["none", "fast", "full"] = "none"
    keep_float: float = 0.0
    float_time: float = 0.0
    most_float_time: float = 0.0
    float_as: Literal["", "fp32", "fp16", "bf16"] = ""
    keep_float_ops: tuple[str, ...] = ()
    io: Literal["float", "int8"] = "float"
    equalize: bool = False
    smooth: float = 0.0
    rounding: Literal["nearest", "adaptive"] = "nearest"
    affine: bool = False
    next: str = ""

    @property
    def repairs(self) -> bool:
        """Whether it changes the network before it is quantized."""
        return self.equalize or self.smooth > 0 or self.rounding != "nearest" or self.affine

    def layers_in_float(self, layers: int) -> int:
        """How many of `layers` quantizable layers stay in float."""
        count = round(self.keep_float * layers) if self.keep_float < 1 else int(self.keep_float)
        return min(max(count, 1 if self.keep_float > 0 else 0), layers)


def load_recipe_file(path: Path) -> Recipe:
    """Read one recipe. Raises RecipeError naming the file, the key and what is allowed."""
    content = read_toml(path, RecipeError)
    try:
        recipe = msgspec.convert(content, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(f"recipe {path}: {error}", allowed=_allowed(str(error))) from error
    _check(recipe, path)
    return recipe


def all_recipes(project: Path | None = None) -> tuple[Recipe, ...]:
    """Every known recipe by name: those of edgekit, then of the user's config folder, then of the project."""
    recipes: dict[str, Recipe] = {}
    for path in _recipe_files(project).values():
        recipe = load_recipe_file(path)
        recipes[recipe.name] = recipe
    return tuple(recipes[name] for name in sorted(recipes))


def at_share(recipe: Recipe, percent: int) -> Recipe:
    """The recipe whose layers in float add at most so many percent to the INT8 network's time: `NAME-at-12`."""
    return msgspec.structs.replace(
        recipe,
        name=f"{recipe.name}{AT}{percent}",
        title=f"{recipe.title}; here {percent} %",
        float_time=percent / 100,
        most_float_time=0.0,
        next="",
    )


def find_recipe(name: str, project: Path | None = None) -> Recipe:
    """The recipe of that name, or of the form `at_share` has. Raises RecipeError with the nearest names."""
    files = _recipe_files(project)
    base, at, percent = name.rpartition(AT)
    if name not in files and at and base in files:
        recipe = load_recipe_file(files[base])
        if not (percent.isascii() and percent.isdecimal() and 1 <= int(percent) <= MOST_PERCENT):
            raise RecipeError(f'no recipe "{name}"', allowed=f"{base}{AT}1 to {base}{AT}{MOST_PERCENT}")
        if not recipe.keep_float:
            raise RecipeError(
                f'no recipe "{name}": {base} leaves no layers in float', remedy=f"did you mean {base}?"
            )
        return at_share(recipe, int(percent))
    if name not in files:
        near = difflib.get_close_matches(name, files, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else ""
        raise RecipeError(f'no recipe "{name}"', allowed=", ".join(sorted(files)), remedy=hint)
    return load_recipe_file(files[name])


def ladder(name: str, project: Path | None = None) -> tuple[Recipe, ...]:
    """The recipe and all that follow when accuracy is missed. Raises RecipeError when the ladder is a circle."""
    steps: list[Recipe] = []
    while name:
        if any(step.name == name for step in steps):
            raise RecipeError(
                f'recipe "{steps[-1].name}": next = "{name}" closes a circle', allowed="a ladder that ends"
            )
        steps.append(find_recipe(name, project))
        name = steps[-1].next
    return tuple(steps)


def _check(recipe: Recipe, path: Path) -> None:
    """What the types cannot say."""
    for name in recipe.backends:
        if name not in RUNTIMES:
            raise RecipeError(
                f'recipe {path}: backends names "{name}"',
                allowed=", ".join(RUNTIMES),
                remedy=near_runtimes(name),
            )
    problems = {
        f'name is "{recipe.name}"': (recipe.name == path.stem, f'the file\'s name "{path.stem}"'),
        "backends is empty": (bool(recipe.backends), ", ".join(RUNTIMES)),
        f"percentile is {recipe.percentile:g}": (50.0 < recipe.percentile <= 100.0, "above 50, at most 100"),
        f"samples is {recipe.samples}": (recipe.samples >= 16, "at least 16"),
        f"keep_float is {recipe.keep_float:g}": (
            recipe.keep_float >= 0 and (recipe.keep_float < 1 or recipe.keep_float == int(recipe.keep_float)),
            "0, a fraction below 1, or a whole number of layers",
        ),
        f"float_time is {recipe.float_time:g}": (
            0 <= recipe.float_time <= 10,
            "0, or a share of the time, as 0.1 for a tenth; at most 10",
        ),
        f"float_time is {recipe.float_time:g} beside keep_float = {recipe.keep_float:g}": (
            recipe.keep_float > 0 or not recipe.float_time,
            "keep_float above 0 too, for boards whose layers' times are not known",
        ),
        f"most_float_time is {recipe.most_float_time:g} beside float_time = {recipe.float_time:g}": (
            not recipe.most_float_time
            or 0 < recipe.float_time <= recipe.most_float_time <= MOST_PERCENT / 100,
            "0, or a share from float_time on, at most 1; the search begins with float_time, which is above 0 then",
        ),
        f"smooth is {recipe.smooth:g}": (0 <= recipe.smooth <= 1, "0 for none, or a share up to 1, as 0.5"),
        "affine is true": (
            not recipe.affine or recipe.granularity == "per-channel",
            'false, or granularity = "per-channel": each channel needs a scale of its own',
        ),
        "a repair (equalize, smooth, rounding, affine)": (
            not recipe.repairs or recipe.observer != "trained",
            'none with observer = "trained": its weights and ranges belong together',
        ),
        f'next is "{recipe.next}"': (recipe.next != recipe.name, "another recipe"),
    }
    for came, (holds, allowed) in problems.items():
        if not holds:
            raise RecipeError(f"recipe {path}: {came}", allowed=allowed)


def _allowed(message: str) -> str:
    """What may stand where msgspec's `message` points: the keys, or the values of a choice."""
    if "unknown field" in message:
        return ", ".join(Recipe.__struct_fields__)
    choices: Mapping[str, str] = {
        "$.observer": "minmax, percentile, entropy, mse, nncf, trained",
        "$.granularity": "per-channel, per-tensor",
        "$.bias_correction": "none, fast, full",
        "$.io": "float, int8",
        "$.rounding": "nearest, adaptive",
        "$.float_as": "fp32, fp16, bf16",
    }
    where = re.search(r"`(\$\.\w+)", message)
    return choices.get(where.group(1), "") if where else ""


def _recipe_files(project: Path | None) -> dict[str, Path]:
    """Name → file; a later folder overrides an earlier one."""
    folders = (data_dir("calibration"), config_dir("calibration"), project_dir("calibration", project))
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}
