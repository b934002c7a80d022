"""Artifacts of bundles as entries of a job: their files, their golden inputs, and how far off their answers are."""

import os
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from . import golden
from .machine import first_cpus
from .runner import JobRunner


def entry_of(
    runner: JobRunner, folder: str, manifest: Mapping[str, Any], work: str, name: str, place: str
) -> Dict[str, Any]:
    """The entry `name` of the artifact in `folder`, as it was built. `place`: a name for its files, one for each.

    `work`: a folder of this machine for golden inputs. Raises what golden.read does.
    """
    scratch = os.path.join(work, place)
    os.makedirs(scratch, exist_ok=True)
    golden_path = os.path.join(folder, "golden.npz")
    inputs: Dict[str, str] = {}
    first: Dict[str, str] = {}
    arrays, _ = golden.read(golden_path, len(manifest["signature"]["inputs"]), 0)
    for index, (spec, array) in enumerate(zip(manifest["signature"]["inputs"], arrays)):
        for kind, some, names in (("in", array, inputs), ("first", array[:1], first)):
            file = "%s%d.npy" % (kind, index)
            np.save(os.path.join(scratch, file), some.astype(spec["dtype"]))
            names[spec["name"]] = runner.take(os.path.join(scratch, file), "%s/%s" % (place, file))
    path = ""
    for listed in manifest["files"]:
        if listed["path"].startswith("model/"):
            there = runner.take(
                os.path.join(folder, *listed["path"].split("/")), "%s/%s" % (place, listed["path"])
            )
            path = there if listed["path"] == manifest["entry"] else path
    runner.take(
        golden_path, "%s/model/golden.npz" % place
    )  # engines are tested against it where they are built
    return {
        "id": name,
        "runtime": manifest["candidate"]["backend"],
        "path": path,
        "options": dict(manifest["options"]),
        "feeds": first,
        "evaluate": {"inputs": inputs, "outputs": runner.place("%s/outputs" % place)},
    }


def with_setting(
    entry: Mapping[str, Any],
    name: str,
    options: Mapping[str, str],
    threads: int,
    facts: Mapping[str, Any],
    outputs: Optional[str] = None,
) -> Dict[str, Any]:
    """The same artifact under another name, opened with other options and threads; `outputs`: a folder of its own."""
    changed = dict(entry, id=name, options=dict(options), threads=threads, cpus=first_cpus(facts, threads))
    if outputs is not None:
        changed["evaluate"] = dict(entry["evaluate"], outputs=outputs)
    return changed


def off_golden(folder: str, manifest: Mapping[str, Any], outputs: List[str]) -> Tuple[float, float]:
    """How far an artifact's outputs (files, in order) are from its golden ones, and what is allowed."""
    _, expected = golden.read(os.path.join(folder, "golden.npz"), 0, len(manifest["signature"]["outputs"]))
    worst = 0.0 if len(outputs) == len(expected) else float("inf")
    for path, right in zip(outputs, expected):
        answer = np.load(path, allow_pickle=False)
        worst = max(worst, golden.deviation(answer, right, golden.magnitude(right)))
    return worst, float(manifest["golden"]["tolerance"])
