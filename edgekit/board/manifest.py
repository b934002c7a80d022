"""Whether a bundle is as it was written: its manifest by the digest in it, every other file by the manifest."""

import json
import math
import os
from typing import Any, Dict, Mapping

from .files import is_safe, read_json, sha256_file

MANIFEST = "manifest.json"
LARGEST_TOLERANCE = 0.5  # of an output's largest golden magnitude: an answer of zeros alone is off by 1


class ManifestError(ValueError):
    """A manifest that is none or that was changed; the message is one line."""


def manifest_digest(content: Mapping[str, Any]) -> str:
    """The manifest's `digest`: SHA-256 over all its other keys, as JSON with sorted keys and no spaces."""
    import hashlib

    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read_manifest(folder: str) -> Dict[str, Any]:
    """The manifest of the bundle in a folder, without its digest, which fits. Raises ManifestError."""
    path = os.path.join(folder, MANIFEST)
    if os.path.islink(path) or not os.path.isfile(path):
        raise ManifestError("%s is missing or no plain file" % path)
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError("%s cannot be read: it was changed" % path) from error
    if not isinstance(content, dict) or content.pop("digest", None) != manifest_digest(content):
        raise ManifestError("%s was changed: its digest does not match" % path)
    return content


def check_tolerance(tolerance: Any) -> None:
    """Raises ManifestError for a golden tolerance that every answer would meet, or none."""
    is_number = isinstance(tolerance, (int, float)) and math.isfinite(tolerance)
    if not is_number or not 0 < tolerance <= LARGEST_TOLERANCE:
        raise ManifestError(
            "the golden tolerance is %r; allowed: above 0 to %g" % (tolerance, LARGEST_TOLERANCE)
        )


def changed_file(folder: str, facts: Mapping[str, Any]) -> str:
    """The name of the first file that leads out of the bundle, is missing or a link, or was changed; or ""."""
    for file in facts["files"]:
        if not is_safe(file["path"]):
            return repr(file["path"])
        path = folder
        for part in file["path"].split("/"):
            path = os.path.join(path, part)
            if os.path.islink(path):
                return str(file["path"])
        if not os.path.isfile(path) or sha256_file(path) != file["sha256"]:
            return str(file["path"])
    return ""
