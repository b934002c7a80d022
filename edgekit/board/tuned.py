"""tuned.json beside an artifact: the threads and options that settling found to be faster on this very board.

It is the program's own, bound to the manifest by its digest and to the machine that it was found on; an artifact that
moves to another machine runs there as it was built.
"""

import os
from typing import Any, Dict, Mapping, Optional

from . import forms
from .files import read_json, write_json
from .manifest import ManifestError, manifest_digest
from .tuning import offered_keys

TUNED = "tuned.json"
SCHEMA = 1
MACHINE = ("machine", "arch", "cpu", "cores")  # of `describe`: what makes another board of it
LARGEST_BYTES = 1 << 20

FORM = forms.record(
    {
        "schema": forms.whole(SCHEMA, SCHEMA),
        "bundle": forms.text,
        "threads": forms.whole(1, 4096),
        "options": forms.table(forms.text),
        "machine": forms.record(
            {"machine": forms.text, "arch": forms.text, "cpu": forms.text, "cores": forms.whole(1, 1 << 16)}
        ),
    }
)


def write_tuned(
    folder: str,
    manifest: Mapping[str, Any],
    facts: Mapping[str, Any],
    options: Mapping[str, str],
    threads: int,
) -> None:
    """Write tuned.json of the artifact in `folder`; `facts` are the machine's."""
    content = {
        "schema": SCHEMA,
        "bundle": manifest_digest(manifest),
        "machine": {name: facts[name] for name in MACHINE},
        "threads": threads,
        "options": dict(options),
    }
    write_json(os.path.join(folder, TUNED), dict(content, digest=manifest_digest(content)))


def read_tuned(folder: str, manifest: Mapping[str, Any]) -> Optional[Dict[str, Any]]:
    """What tuned.json of the artifact in a folder says; None where there is none. Raises ManifestError."""
    path = os.path.join(folder, TUNED)
    if not os.path.lexists(path):
        return None
    mend = "delete it, or settle again"
    if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > LARGEST_BYTES:
        raise ManifestError("%s is no plain file of settling: %s" % (path, mend))
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError("%s cannot be read, it was changed: %s" % (path, mend)) from error
    if not isinstance(content, dict) or content.pop("digest", None) != manifest_digest(content):
        raise ManifestError("%s was changed: its digest does not match; %s" % (path, mend))
    try:
        FORM(content, TUNED)
    except ValueError as error:
        raise ManifestError("%s cannot be used: %s; %s" % (path, error, mend)) from error
    if content["bundle"] != manifest_digest(manifest):
        raise ManifestError("%s is of another bundle: %s" % (path, mend))
    own, offered = manifest["options"], offered_keys(manifest["candidate"]["backend"])
    for key in sorted(set(content["options"]) | set(own)):
        if content["options"].get(key) != own.get(key) and key not in offered:
            raise ManifestError(
                "%s changes the option %s, which is not tuned: %s" % (path, forms.one_line(key, 60), mend)
            )
    return content


def is_tuned(path: str) -> bool:
    """Whether a file is a tuned.json that settling wrote, of whichever bundle."""
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError):
        return False
    if os.path.islink(path) or not isinstance(content, dict):
        return False
    return bool(content.pop("digest", None) == manifest_digest(content))


def is_of(tuned: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether it was found on a machine as this one, by what `describe` says."""
    return all(tuned["machine"][name] == facts[name] for name in MACHINE)


def settings_here(folder: str, manifest: Mapping[str, Any]) -> Dict[str, Any]:
    """What the artifact in a folder is opened with on this machine: {options, threads, tuned (whether)}.

    Raises ManifestError for a tuned.json that was changed.
    """
    tuned = read_tuned(folder, manifest)
    if tuned is not None:
        from .machine import describe

        if is_of(tuned, describe()):
            return {"options": tuned["options"], "threads": tuned["threads"], "tuned": True}
    return {"options": manifest["options"], "threads": manifest["threads"], "tuned": False}


def remove_tuned(folder: str, manifest: Mapping[str, Any]) -> None:
    """Remove the tuned.json of an earlier settling. Raises ManifestError for one that is not of this program."""
    if read_tuned(folder, manifest) is not None:
        os.unlink(os.path.join(folder, TUNED))
