"""A bundle of several candidates for a board that is not here: each a whole bundle, and the program that settles."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.bundle.manifest import (
    BUNDLE_SCHEMA,
    MANIFEST,
    BoardIdentity,
    CandidateFacts,
    CandidatesManifest,
    encode_manifest,
    hash_file,
)
from edgekit.bundle.placing import replacing
from edgekit.bundle.write import TEMPLATES, copy_board, now, write_bundle

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
        files = sorted(path for path in partial.rglob("*") if path.is_file())
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
            files=tuple(hash_file(path, path.relative_to(partial).as_posix()) for path in files),
        )
        (partial / MANIFEST).write_bytes(encode_manifest(manifest))
    return manifest
