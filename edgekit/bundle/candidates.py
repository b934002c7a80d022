"""A bundle of several candidates for a board that is not here: each a whole bundle, and the program that settles."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.bundle.about import requirements, settling_readme
from edgekit.bundle.manifest import (
    BUNDLE_SCHEMA,
    MANIFEST,
    BoardIdentity,
    CandidateFacts,
    CandidatesManifest,
    encode_manifest,
)
from edgekit.bundle.placing import replacing
from edgekit.bundle.write import TEMPLATES, copy_board, hashed_files, now, write_bundle

if TYPE_CHECKING:
    from edgekit.types import Budget

__all__ = ["Offer", "write_candidates"]


@dataclass(frozen=True)
class Offer:
    """One candidate: its facts, and what `write_bundle` takes for it."""

    facts: CandidateFacts
    bundle: dict[str, Any]


def write_candidates(
    folder: Path,
    offers: Sequence[Offer],
    *,
    target: str,
    identity: BoardIdentity,
    budget: Budget,
    threads: int,
    edgekit_version: str,
) -> CandidatesManifest:
    """Write `candidates/ID/` (a bundle each), board/, settle.py and the manifest, all of it or nothing.

    Raises OutputError when the folder cannot be written or holds something that is no bundle.
    """
    with replacing(folder) as partial:
        for offer in offers:
            write_bundle(partial / offer.facts.folder, **offer.bundle)
        copy_board(partial)
        shutil.copyfile(TEMPLATES / "settle.txt", partial / "settle.py")
        manifest = CandidatesManifest(
            schema=BUNDLE_SCHEMA,
            kind="candidates",
            edgekit=edgekit_version,
            created=now(),
            target=target,
            identity=identity,
            budget=budget,
            threads=threads,
            candidates=tuple(offer.facts for offer in offers),
            files=(),
        )
        (partial / "requirements.txt").write_text(_needed(offers), encoding="utf-8")
        (partial / "README.md").write_text(settling_readme(manifest), encoding="utf-8")
        manifest = replace(manifest, files=hashed_files(partial))
        (partial / MANIFEST).write_bytes(encode_manifest(manifest))
    return manifest


def _needed(offers: Sequence[Offer]) -> str:
    """requirements.txt: of all runtimes that the candidates need."""
    versions: dict[str, str] = {}
    for offer in offers:
        versions |= offer.bundle["artifact"].versions | offer.bundle["measurement"].environment.versions
    backends = [offer.facts.backend for offer in offers]
    images = any(offer.bundle["preprocess"].input_layout != "as-is" for offer in offers)
    return requirements(backends, versions, images=images)
