"""Whether a bundle is as it was written: its manifest by the digest in it, every other file by the manifest."""

import json
import math
import os
from typing import Any, Dict, Mapping

from . import forms
from .files import is_safe, read_json, sha256_file

MANIFEST = "manifest.json"
LARGEST_TOLERANCE = 0.5  # of an output's largest golden magnitude: an answer of zeros alone is off by 1


SCHEMA = 1  # of bundles
LARGEST_BYTES = 64 << 20

FILES = forms.list_of(forms.record({"path": forms.text, "sha256": forms.text}), 1)
THREADS = forms.whole(1, 4096)
NUMBERS = forms.list_of(forms.number(-1e15))
PIXELS = forms.maybe(forms.one_or_pair(forms.whole(1, 1 << 20)))  # two: width and height
TYPES = forms.one_of(
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"
)  # fmt: skip
TENSORS = forms.list_of(
    forms.record(
        {"name": forms.text, "dtype": TYPES, "shape": forms.list_of(forms.maybe(forms.whole(0, 1 << 31)))}
    ),
    1,
)
DROP = forms.maybe(forms.record({"drop": forms.record({"value": forms.number(-1e15)})}))

ONE = forms.record(
    {
        "entry": forms.text,
        "options": forms.table(forms.text),
        "threads": THREADS,
        "labels": forms.list_of(forms.text),
        "files": FILES,
        "candidate": forms.record({"backend": forms.text}),
        "golden": forms.record({"tolerance": forms.number(0)}),
        "measured": forms.record({}, {"test": DROP}),
        "signature": forms.record({"inputs": TENSORS, "outputs": TENSORS}),
        "preprocess": forms.record(
            {
                "input_layout": forms.one_of("nhwc", "nchw", "as-is"),
                "scale": forms.number(-1e15),
                "mean": NUMBERS,
                "std": NUMBERS,
                "resize": PIXELS,
                "crop": PIXELS,
            }
        ),
    },
    {"vocabularies": forms.table(forms.whole(1, 1 << 40))},
)
"""A bundle of one artifact, as far as it is read on a board."""

LIMIT = forms.maybe(forms.number(0))
SEVERAL = forms.record(
    {
        "target": forms.text,
        "threads": THREADS,
        "files": FILES,
        "budget": forms.record(
            {
                "percentile": forms.one_of("p50", "p90", "p99"),
                "fastest": forms.truth,
                "max_latency_ms": LIMIT,
                "max_drop": LIMIT,
                "max_size_bytes": LIMIT,
                "max_memory_bytes": LIMIT,
            },
            {"max_energy_mj": LIMIT},
        ),
        "identity": forms.record(
            {
                "architecture": forms.text,
                "accelerator": forms.text,
                "models": forms.list_of(forms.text),
                "cpus": forms.list_of(forms.text),
                "all_of": forms.list_of(forms.text),
                "any_of": forms.list_of(forms.text),
                "none_of": forms.list_of(forms.text),
            }
        ),
        "candidates": forms.list_of(
            forms.record(
                {
                    "id": forms.text,
                    "folder": forms.text,
                    "variant": forms.text,
                    "precision": forms.text,
                    "size_bytes": forms.whole(0),
                    "drop": forms.maybe(forms.number(-1e15)),
                }
            ),
            1,
        ),
    }
)
"""A bundle of several candidates, as far as it is read on a board."""


class ManifestError(ValueError):
    """A manifest that is none or that was changed; the message is one line."""


def manifest_digest(content: Mapping[str, Any]) -> str:
    """The manifest's `digest`: SHA-256 over all its other keys, as JSON with sorted keys and no spaces."""
    import hashlib

    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read_manifest(folder: str) -> Dict[str, Any]:
    """The manifest of the bundle in a folder, without its digest, which fits; all that is read of it has its form.

    Raises ManifestError.
    """
    path = os.path.join(folder, MANIFEST)
    if os.path.islink(path) or not os.path.isfile(path):
        raise ManifestError("%s is missing or no plain file" % path)
    if os.path.getsize(path) > LARGEST_BYTES:
        raise ManifestError("%s has more than %d bytes" % (path, LARGEST_BYTES))
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError("%s cannot be read: it was changed" % path) from error
    if not isinstance(content, dict) or content.pop("digest", None) != manifest_digest(content):
        raise ManifestError("%s was changed: its digest does not match" % path)
    if content.get("schema") != SCHEMA:
        raise ManifestError(
            "%s has schema %s; allowed: %d" % (folder, forms.one_line(content.get("schema"), 60), SCHEMA)
        )
    try:
        (SEVERAL if content.get("kind") == "candidates" else ONE)(content, "manifest.json")
    except ValueError as error:
        raise ManifestError("%s cannot be used: %s" % (folder, error)) from error
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
