"""A bundle of several candidates as settling reads it: checked, with what it needs here and what was claimed of it."""

import os
from typing import Any, Dict, Mapping, Tuple

from .files import is_safe, read_json
from .manifest import ManifestError, changed_file, check_tolerance, read_manifest
from .runtimes import find_runtime

Manifests = Mapping[str, Mapping[str, Any]]  # by candidate


def read_bundle(here: str) -> Tuple[Dict[str, Any], Manifests]:
    """The bundle's manifest and each candidate's, all files being as they were written. Raises ManifestError."""
    facts = read_manifest(here)
    if facts.get("kind") != "candidates":
        raise ManifestError("%s holds no candidates to settle" % here)
    changed = changed_file(here, facts)
    if changed:
        raise ManifestError("%s is missing or was changed: copy the bundle again" % changed)
    names = [candidate["id"] for candidate in facts["candidates"]]
    if len(set(names)) != len(names):
        raise ManifestError("two candidates are called the same")
    listed = {file["path"] for file in facts["files"]}
    manifests = {}
    for candidate in facts["candidates"]:
        name, folder = candidate["id"], candidate["folder"]
        if not is_safe(name) or "/" in name or not is_safe(folder):
            raise ManifestError("the candidate %r leads out of the bundle" % name)
        manifest = read_manifest(folder_of(here, candidate))
        if manifest.get("kind") == "candidates":
            raise ManifestError("the candidate %s is a bundle of several itself" % name)
        needed = [folder + "/" + file for file in ("manifest.json", "golden.npz", manifest["entry"])]
        if not set(needed) <= listed:
            raise ManifestError("the manifest does not list all of candidate %s" % name)
        check_tolerance(manifest["golden"]["tolerance"])
        find_runtime(manifest["candidate"]["backend"])
        manifests[name] = manifest
    return facts, manifests


def folder_of(here: str, candidate: Mapping[str, Any]) -> str:
    """Where a candidate's own bundle lies."""
    return os.path.join(here, *candidate["folder"].split("/"))


def with_claims(facts: Mapping[str, Any], manifests: Manifests) -> Dict[str, Any]:
    """The facts with each candidate's drop on the split that a verdict stands on: test where it was measured there."""
    candidates = []
    for candidate in facts["candidates"]:
        test = manifests[candidate["id"]]["measured"]["test"]
        if test is None:
            candidates.append(dict(candidate, split="validation"))
            continue
        drop = test["drop"]
        candidates.append(
            dict(
                candidate,
                split="test",
                drop=drop["value"],
                drop_low=drop["low"],
                drop_high=drop["high"],
                drop_bound=test.get("drop_bound"),
            )
        )
    return dict(facts, candidates=candidates)


def is_answer(path: str) -> bool:
    """Whether a file is a settled.json that an earlier run wrote."""
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"schema", "verdict", "not_the_board"} <= set(content)
