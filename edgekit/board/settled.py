"""settled.json: what settling found of a bundle, and the candidate that a settled bundle stands for."""

import os
from typing import Any, Dict, Mapping

from . import forms
from .candidates import folder_of, is_answer
from .files import is_safe, read_json, write_json
from .manifest import ManifestError, changed_file, manifest_digest, read_manifest

SETTLED = "settled.json"
MEND = "settle again: python3 settle.py"
VERDICTS = ("MEETS", "MISSES", "INFEASIBLE", "PROVISIONAL")

FORM = forms.record(
    {"schema": forms.whole(1, 1), "verdict": forms.one_of(*VERDICTS), "winner": forms.maybe(forms.text)},
    {
        "bundle": forms.text,
        "target": forms.text,
        "not_the_board": forms.list_of(forms.text),
        "entries": forms.table(forms.record({"status": forms.one_of("ok", "failed")})),
        "refuted": forms.list_of(forms.list_of(forms.text, 2)),
        "threads": forms.whole(1, 4096),
    },
)


def write_settled(here: str, answer: Mapping[str, Any]) -> None:
    """Write settled.json into a bundle, with a digest as manifests have."""
    write_json(os.path.join(here, SETTLED), dict(answer, digest=manifest_digest(answer)))


def read_settled(path: str, facts: Mapping[str, Any]) -> Dict[str, Any]:
    """A settled.json of the bundle whose manifest says `facts`. Old files have no digest. Raises ManifestError."""
    if not is_answer(path):
        raise ManifestError("%s is missing, or is not what settling wrote: %s" % (path, MEND))
    content: Dict[str, Any] = read_json(path)
    if "bundle" in content and content.pop("digest", None) != manifest_digest(content):
        raise ManifestError("%s was changed: its digest does not match; %s" % (path, MEND))
    try:
        FORM(content, SETTLED)
    except ValueError as error:
        raise ManifestError("%s cannot be used: %s; %s" % (path, error, MEND)) from error
    if content.get("bundle", manifest_digest(facts)) != manifest_digest(facts):
        raise ManifestError("%s is of another bundle: %s" % (path, MEND))
    names = [candidate["id"] for candidate in facts["candidates"]]
    if content["winner"] is not None and content["winner"] not in names:
        raise ManifestError("%s names a winner that is no candidate: %s" % (path, MEND))
    return content


def one_artifact(bundle: str) -> str:
    """The folder of the one artifact that a bundle is, or that won where it was settled. Raises ManifestError."""
    manifest = read_manifest(bundle)
    if manifest.get("kind") != "candidates":
        return bundle
    first = os.path.join(bundle, manifest["candidates"][0]["folder"])
    if not os.path.lexists(os.path.join(bundle, SETTLED)):
        raise ManifestError("%s holds several candidates; give one of them, such as %s" % (bundle, first))
    settled = read_settled(os.path.join(bundle, SETTLED), manifest)
    if settled["verdict"] != "MEETS" or settled["winner"] is None:
        raise ManifestError(
            "%s holds several candidates, of which none has won (%s); give one of them, such as %s"
            % (bundle, settled["verdict"], first)
        )
    won = next(candidate for candidate in manifest["candidates"] if candidate["id"] == settled["winner"])
    if not is_safe(won["folder"]):
        raise ManifestError("the candidate %r leads out of the bundle" % won["folder"])
    changed = changed_file(bundle, manifest)
    if changed:
        raise ManifestError("%s: %s was changed or is missing; copy the bundle again" % (bundle, changed))
    return folder_of(bundle, won)


def read_artifact(folder: str) -> Dict[str, Any]:
    """The manifest of a bundle of one artifact, every file of which is as it was written. Raises ManifestError."""
    manifest = read_manifest(folder)
    if manifest.get("kind") == "candidates":
        raise ManifestError("the candidate %s is a bundle of several itself" % folder)
    changed = changed_file(folder, manifest)
    if changed:
        raise ManifestError("%s: %s was changed or is missing; copy the bundle again" % (folder, changed))
    return manifest
