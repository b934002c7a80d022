"""What a bundle's own programs measure of the artifacts in it: one entry of a job for each, as it runs here."""

import argparse
import os
from typing import Any, Dict, List, NamedTuple, Tuple

from .candidates import folder_of, read_bundle
from .entries import entry_of, with_setting
from .manifest import MANIFEST, ManifestError, check_tolerance, read_manifest
from .runner import JobRunner
from .settled import one_artifact, read_artifact
from .tuned import settings_here

LONGEST_S = 3600


class Held(NamedTuple):
    """An artifact of a bundle: its id, the folder that is its own bundle, its manifest."""

    name: str
    folder: str
    manifest: Dict[str, Any]


def bundle_folder() -> str:
    """The bundle in which this folder board/ lies."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def the_one(bundle: str) -> Held:
    """The artifact of a bundle, or the winner of one that was settled. Raises ManifestError."""
    folder = one_artifact(bundle)
    manifest = read_artifact(folder)
    check_tolerance(manifest["golden"]["tolerance"])
    return Held(_name(manifest, folder), folder, manifest)


def all_of(bundle: str) -> List[Held]:
    """The artifact of a bundle, or each candidate of one of several. Raises ManifestError."""
    if read_manifest(bundle).get("kind") != "candidates":
        return [the_one(bundle)]
    facts, manifests = read_bundle(bundle)
    return [
        Held(candidate["id"], folder_of(bundle, candidate), dict(manifests[candidate["id"]]))
        for candidate in facts["candidates"]
    ]


def _name(manifest: Dict[str, Any], folder: str) -> str:
    name = manifest["candidate"].get("id")
    return name if isinstance(name, str) and name else os.path.basename(os.path.abspath(folder))


def entry_here(runner: JobRunner, held: Held, work: str, place: str) -> Tuple[Dict[str, Any], bool]:
    """The artifact's entry with what it is opened with on this machine, and whether that was tuned."""
    setting = settings_here(held.folder, held.manifest)
    entry = entry_of(runner, held.folder, held.manifest, work, held.name, place)
    return (
        with_setting(entry, held.name, setting["options"], setting["threads"], runner.facts()),
        bool(setting["tuned"]),
    )


def job_of(entries: List[Dict[str, Any]], seconds: float) -> Dict[str, Any]:
    """The job over entries, each with threads and CPUs of its own."""
    threads = max(entry["threads"] for entry in entries)
    return {"schema": 1, "threads": threads, "cpus": None, "seconds": seconds, "entries": entries}


def refuse_no_bundle(bundle: str) -> None:
    """Raises ManifestError where board/ does not lie in a bundle."""
    if not os.path.lexists(os.path.join(bundle, MANIFEST)):
        raise ManifestError("%s is no bundle: it has no %s" % (bundle, MANIFEST))


def seconds_of(parser: argparse.ArgumentParser, seconds: float) -> float:
    """--seconds, checked."""
    if not 0 < seconds <= LONGEST_S:
        parser.error("--seconds %s; allowed: above 0 to %d" % (seconds, LONGEST_S))
    return seconds
