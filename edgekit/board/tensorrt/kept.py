"""Engines kept for all folders of a user: building takes minutes, and bundles of one network are many."""

import hashlib
import json
import os
import sys
from typing import Any, Dict

from ..files import read_json, write_atomically
from .record import ENGINE, RECORD, stale

SHARED = 32  # engines kept for all folders


def shared_folder() -> str:
    """Where engines are kept for all artifacts of this user; the environment's EDGEKIT_ENGINES names another place."""
    default = os.path.join(os.path.expanduser("~"), ".cache", "edgekit", "engines")
    return os.environ.get("EDGEKIT_ENGINES", default)


def shared_place(record: Dict[str, Any]) -> str:
    """The folder of one engine, named by all that it depends on."""
    return os.path.join(shared_folder(), name_of(record))


def name_of(record: Dict[str, Any]) -> str:
    """32 hex digits of all that an engine depends on."""
    facts = [record[key] for key in ("schema", "library", "version", "sm", "gpu")]
    if record.get("builder_level") is not None:
        facts.append("level %d" % record["builder_level"])
    text = json.dumps([facts, sorted(record["files"].items())])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def take_shared(record: Dict[str, Any], engine_path: str, record_path: str) -> bool:
    """Copy the engine that was built from the same for another folder, if there is one: building takes minutes."""
    place = shared_place(record)
    if not holds_engine(place):
        return False
    kept = [os.path.join(place, name) for name in (ENGINE, RECORD)]
    if stale(kept[1], kept[0], record):
        return False
    os.utime(place, None)
    for source, target in zip(kept, (engine_path, record_path)):
        with open(source, "rb") as file:
            write_atomically(target, file.read())
    return True


def keep_shared(record: Dict[str, Any], engine_path: str, record_path: str) -> None:
    """Keep a copy for other folders, the newest SHARED engines only. A full disk costs no build."""
    place = shared_place(record)
    try:
        os.makedirs(place, exist_ok=True)
        if os.path.islink(place):
            raise OSError("%s is a link" % place)
        for source, name in ((engine_path, ENGINE), (record_path, RECORD)):
            with open(source, "rb") as file:
                write_atomically(os.path.join(place, name), file.read())
        places = [os.path.join(shared_folder(), name) for name in os.listdir(shared_folder())]
        kept = [path for path in places if holds_engine(path)]
        for old in sorted(kept, key=os.path.getmtime)[:-SHARED]:
            for name in (ENGINE, RECORD):
                os.unlink(os.path.join(old, name))
            os.rmdir(old)
    except OSError as error:
        sys.stderr.write("the engine is not kept for other folders: %s\n" % error)


def holds_engine(place: str) -> bool:
    """Whether a folder is one that `keep_shared` made, and nothing else: its name is that of the record in it."""
    files = [os.path.join(place, name) for name in (ENGINE, RECORD)]
    if os.path.islink(place) or not os.path.isdir(place) or set(os.listdir(place)) != {ENGINE, RECORD}:
        return False
    if any(os.path.islink(path) or not os.path.isfile(path) for path in files):
        return False
    try:
        return name_of(read_json(files[1])) == os.path.basename(place)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
