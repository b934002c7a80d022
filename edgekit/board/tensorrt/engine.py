"""Engines on arrival: an artifact is an ONNX file and build.json, its recipe; here it becomes an engine, and stays one.

`engine_for` checks the TensorRT version and the GPU against the recipe, builds, writes `engine/model.engine` beside
`engine/model.engine.json` (what it was built with), tests it against golden outputs where there are some, and builds
again when the record no longer fits. One code path serves `tensorrt` 8.2 to 10.x and `tensorrt_rtx`, which also
compiles for a GPU that is not here.
"""

import collections
import os
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..files import sha256_file, write_atomically, write_json
from ..golden import largest_deviation, read
from ..manifest import MANIFEST, ManifestError, check_tolerance, read_manifest
from .build import build_engine
from .cuda import gpu
from .kept import keep_shared, take_shared
from .library import EngineError, is_rtx, load_tensorrt
from .record import (
    ENGINE,
    NONE_YET,
    RECIPE,
    RECORD,
    SCHEMA,
    check_fit,
    engine_folder,
    inputs_of,
    read_recipe,
    stale,
)
from .session import EngineSession

Say = Callable[[str], None]


def no_words(_text: str) -> None:
    """Says nothing."""


def to_stderr(text: str) -> None:
    """Standard output may be a protocol."""
    sys.stderr.write(text + "\n")


def engine_for(
    folder: str,
    say: Optional[Say] = None,
    compile_for: str = "",
    golden: str = "",
    trt: Any = None,
    level: Optional[int] = None,
) -> Tuple[str, str]:
    """(path of the engine, why it was built now or ""). Builds only when no stored engine fits.

    `compile_for`: for a GPU that is not here. `golden`: golden.npz to test a new engine against; by default that of
    the folder or of the one above it. `level`: the builder's optimization level (TensorRT 8.6 on); such an engine lies
    in a folder of its own. Raises EngineError, ImportError.
    """
    tell = say or no_words
    recipe = read_recipe(os.path.join(folder, RECIPE))
    trt = trt or load_tensorrt(recipe["library"])
    device = {"sm": compile_for, "name": "compiled ahead of time"} if compile_for else gpu()
    if device is None:
        raise EngineError("there is no NVIDIA GPU here: engines are built on the board")
    check_fit(trt, recipe, device["sm"])
    place = os.path.join(folder, engine_folder(level))
    engine_path, record_path = os.path.join(place, ENGINE), os.path.join(place, RECORD)
    record = collections.OrderedDict(
        schema=SCHEMA,
        library="tensorrt_rtx" if is_rtx(trt) else "tensorrt",
        version=trt.__version__,
        sm=device["sm"],
        gpu=device["name"],
        files=inputs_of(folder, recipe),
    )
    if level is not None:
        record["builder_level"] = level
    reason = stale(record_path, engine_path, record)
    if not reason:
        return engine_path, ""
    os.makedirs(place, exist_ok=True)
    if reason == NONE_YET and take_shared(record, engine_path, record_path):
        tell("the engine was built here before")
        return engine_path, ""
    tell(
        "building the engine for %s with %s %s: %s"
        % (device["name"], record["library"], record["version"], reason)
    )
    begin = time.time()
    content = build_engine(os.path.join(folder, recipe["onnx"]), recipe, trt, compile_for, place, level)
    write_atomically(engine_path, content)
    if not compile_for:
        golden = golden or find_golden(folder)
        record["self_test"] = self_test_engine(
            trt, engine_path, golden, tolerance_beside(golden, recipe["tolerance"])
        )
    record.update(
        engine_sha256=sha256_file(engine_path), seconds=round(time.time() - begin, 3), built=int(begin)
    )
    write_json(record_path, record)
    keep_shared(record, engine_path, record_path)
    tell("built in %.1f s" % record["seconds"])
    return engine_path, reason


def find_golden(folder: str) -> str:
    """golden.npz in the folder or, in a bundle, above it; "" where there is none."""
    above = os.path.dirname(os.path.abspath(folder))
    for place in (folder, above):
        if os.path.exists(os.path.join(place, "golden.npz")):
            return os.path.join(place, "golden.npz")
    return ""


def tolerance_beside(golden: str, otherwise: float) -> float:
    """The tolerance of the bundle in which golden outputs lie; that of the recipe where they lie in none.

    The recipe was written before there were golden outputs: it knows the precision's, not the network's. Raises
    EngineError for a bundle that was changed.
    """
    folder = os.path.dirname(golden)
    if not golden or not os.path.lexists(os.path.join(folder, MANIFEST)):
        return otherwise
    try:
        tolerance = read_manifest(folder)["golden"]["tolerance"]
        check_tolerance(tolerance)
    except (KeyError, ManifestError) as error:
        raise EngineError("the golden outputs cannot be used: %s" % error) from error
    return float(tolerance)


def self_test_engine(trt: Any, engine_path: str, golden: str, tolerance: float) -> Dict[str, Any]:
    """What `self_test` says of a fresh engine; empty without golden outputs."""
    if not golden:
        return {}
    with EngineSession(trt, engine_path) as session:
        try:
            return self_test(session, golden, tolerance)
        except EngineError:
            os.remove(engine_path)
            raise


def self_test(session: Any, golden: str, tolerance: float) -> Dict[str, Any]:
    """Run golden inputs (in0 [samples, ...], ...) and compare with out0, ... Raises EngineError when one is off."""
    inputs, outputs = ([spec["name"] for spec in session.signature[side]] for side in ("inputs", "outputs"))

    def run(arrays: List[Any]) -> List[Any]:
        answers = session.run(dict(zip(inputs, arrays)))
        return [answers[name] for name in outputs]

    stored = read(golden, len(inputs), len(outputs))
    off = largest_deviation(run, *stored)
    if not off <= tolerance:
        raise EngineError(
            "the engine does not give its golden outputs: off by %.3g, allowed %.3g" % (off, tolerance)
        )
    return {"samples": len(stored[0][0]), "off": off, "tolerance": tolerance}


def open_artifact(path: str, say: Say = to_stderr, level: Optional[int] = None) -> EngineSession:
    """The session of an artifact's ONNX file: its engine is built first where none fits."""
    folder = os.path.dirname(os.path.abspath(path))
    trt = load_tensorrt(read_recipe(os.path.join(folder, RECIPE))["library"])
    engine_path, reason = engine_for(folder, say, trt=trt, level=level)
    session = EngineSession(trt, engine_path)
    session.facts["engine"] = "built now: " + reason if reason else "found built"
    return session


def build_in(folder: str, level: Optional[int] = None) -> int:
    """Build the engine of the artifact in a folder, or say that it still fits. Gives the exit code."""
    try:
        path, reason = engine_for(folder, to_stderr, level=level)
    except (EngineError, ImportError) as error:
        sys.stderr.write("engine: %s\n" % error)
        return 1
    sys.stdout.write("%s: %s\n" % (path, "built" if reason else "still fits"))
    return 0
