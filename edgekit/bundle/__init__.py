"""The folder that goes to the board: the artifact, what it expects and answers, and how to run it."""

from __future__ import annotations

from edgekit.bundle.candidates import Offer, write_candidates
from edgekit.bundle.manifest import (
    BUNDLE_SCHEMA,
    BoardIdentity,
    CandidateFacts,
    CandidatesManifest,
    GoldenFacts,
    Manifest,
    MeasuredFacts,
    read_any_manifest,
    read_manifest,
)
from edgekit.bundle.placing import check_replaceable
from edgekit.bundle.verify import Verification, verify_bundle
from edgekit.bundle.write import Golden, write_bundle

__all__ = [
    "BUNDLE_SCHEMA",
    "BoardIdentity",
    "CandidateFacts",
    "CandidatesManifest",
    "Golden",
    "GoldenFacts",
    "Manifest",
    "MeasuredFacts",
    "Offer",
    "Verification",
    "check_replaceable",
    "read_any_manifest",
    "read_manifest",
    "verify_bundle",
    "write_bundle",
    "write_candidates",
]
