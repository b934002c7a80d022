"""The recipe of an engine, and the record of how one was built: whether either fits what is here.

Recipe (build.json): schema 1, onnx, precision, typing "weak" or "strong", flags [BuilderFlag names], tf32,
    workspace_bytes, timing_cache (a file name, or ""), library, versions (">=8.2,<8.3"), opset, sm, device "gpu" or
    "dla", dla_core, gpu_fallback, quantization "", "explicit" or "implicit", calibration_cache, tolerance.

Record (engine/model.engine.json): schema 1, library, version, sm, gpu, files {name: SHA-256}, engine_sha256,
    builder_level (where one was asked for), seconds (of building), built (Unix time), self_test {samples, off,
    tolerance}.
"""

import os
from typing import Any, Dict, Optional

from .. import forms
from ..files import is_safe, read_json, sha256_file
from ..versions import fits_range
from .library import EngineError, is_rtx

SCHEMA = 1
FORM = forms.record(
    {
        "onnx": forms.text,
        "typing": forms.one_of("weak", "strong"),
        "flags": forms.list_of(forms.text),
        "workspace_bytes": forms.whole(0),
        "timing_cache": forms.text,
        "library": forms.text,
        "versions": forms.text,
        "sm": forms.text,
        "device": forms.one_of("gpu", "dla"),
        "dla_core": forms.whole(0, 64),
        "gpu_fallback": forms.truth,
        "quantization": forms.one_of("", "explicit", "implicit"),
        "calibration_cache": forms.text,
        "tolerance": forms.number(0, 1),
    }
)
NONE_YET = "there is no engine yet"
ENGINE_FOLDER = "engine"
ENGINE, RECORD, RECIPE = "model.engine", "model.engine.json", "build.json"


def engine_folder(level: Optional[int]) -> str:
    """The folder of an engine, by the builder's optimization level that was asked for."""
    return ENGINE_FOLDER if level is None else "%s-level-%d" % (ENGINE_FOLDER, level)


def read_recipe(path: str) -> Dict[str, Any]:
    """`build.json`. Raises EngineError when it is none of ours."""
    try:
        recipe = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError("%s cannot be read: %s" % (path, forms.one_line(error))) from error
    if not isinstance(recipe, dict) or recipe.get("schema") != SCHEMA:
        raise EngineError("%s is not a build recipe of schema %d" % (path, SCHEMA))
    try:
        FORM(recipe, "the recipe")
    except ValueError as error:
        raise EngineError("%s cannot be used: %s" % (path, error)) from error
    for name in (recipe["onnx"], recipe["timing_cache"], recipe["calibration_cache"]):
        if name and not is_safe(name):
            raise EngineError(
                "%s names the file %s, outside of its folder" % (path, forms.one_line(name, 60))
            )
    return recipe


def check_fit(trt: Any, recipe: Dict[str, Any], sm: str) -> None:
    """Raises EngineError when the recipe is for another library, another version or another GPU."""
    library = "tensorrt_rtx" if is_rtx(trt) else "tensorrt"
    if library != recipe["library"]:
        raise EngineError("the build is for %s, this machine has %s" % (recipe["library"], library))
    if not fits_range(trt.__version__, recipe["versions"]):
        raise EngineError(
            "the build is for %s %s, this machine has %s; build it for the target that this board is"
            % (library, recipe["versions"], trt.__version__)
        )
    if recipe["sm"] and sm != recipe["sm"]:
        raise EngineError(
            "the build is for a GPU of %s, this one is %s; build it for the target that this board is"
            % (recipe["sm"], sm)
        )


def inputs_of(folder: str, recipe: Dict[str, Any]) -> Dict[str, str]:
    """File name -> SHA-256 of all that the engine is built from."""
    names = [recipe["onnx"], RECIPE] + (
        [recipe["calibration_cache"]] if recipe["quantization"] == "implicit" else []
    )
    return {name: sha256_file(os.path.join(folder, name)) for name in names}


def stale(record_path: str, engine_path: str, wanted: Dict[str, Any]) -> str:
    """Why the stored engine no longer fits; "" when it does."""
    if not os.path.exists(engine_path) or not os.path.exists(record_path):
        return NONE_YET
    try:
        record = read_json(record_path)
    except (OSError, ValueError, RecursionError):
        return "the record of the engine cannot be read"
    if not isinstance(record, dict):
        return "the record of the engine cannot be read"
    for key, told in (
        ("library", "another library"), ("version", "another version"), ("sm", "another GPU architecture"),
        ("gpu", "another GPU"), ("builder_level", "another level"), ("files", "other files"),
    ):  # fmt: skip
        if record.get(key) != wanted.get(key):
            if key == "files":
                return "it was built from other files"
            return "it was built by %s: %s, here it is %s" % (told, record.get(key), wanted.get(key))
    if record.get("engine_sha256") != sha256_file(engine_path):
        return "the engine file was changed"
    return ""
