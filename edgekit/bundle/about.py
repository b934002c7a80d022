"""What a bundle says of itself to people: its README and the packages that it runs with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.board.runtimes import RUNTIMES as KNOWN_TO_BOARDS
from edgekit.runtimes import RUNTIMES

if TYPE_CHECKING:
    from edgekit.bundle.manifest import CandidatesManifest, Manifest, MeasuredFacts
    from edgekit.types import BackendName, Estimate, TensorSpec

__all__ = ["readme", "requirements", "settling_readme"]

PLACES = {
    "device": "Measured on the board",
    "host": "Measured on another machine than the board",
    "emulated": "Measured under emulation",
    "estimated": "Latency is not measured: the board was not here",
}
ANY_THAT_ANSWERS = (
    "# As it was measured. Other versions will do where infer.py says that the golden outputs match."
)


def requirements(backends: Sequence[BackendName], versions: Mapping[str, str], *, images: bool) -> str:
    """requirements.txt: what the runtimes need, in the versions that were measured with.

    A runtime that no index has in a form for every board is named in a comment. `images`: image files can be answered.
    """
    lines = [ANY_THAT_ANSWERS, pinned("numpy", versions)]
    for backend in backends:
        row = KNOWN_TO_BOARDS.get(backend)
        if row is None:
            lines.append(f"# {backend}: what runs it comes with the board")
            continue
        simple = row.install.startswith("pip install ") and " " not in row.install[len("pip install ") :]
        lines.append(pinned(row.packages[0], versions) if simple else f"# {backend}: {row.install}")
    if images:
        lines.append(pinned("pillow", versions))
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


def pinned(package: str, versions: Mapping[str, str]) -> str:
    """`package==version`, or the package alone where its version was not seen."""
    return f"{package}=={versions[package]}" if package in versions else package


def readme(manifest: Manifest) -> str:
    """README.md of a bundle of one artifact."""
    candidate, title = manifest.candidate, RUNTIMES[manifest.candidate.backend].title
    takes = "; ".join(spec_text(spec) for spec in manifest.signature.inputs)
    gives = "; ".join(spec_text(spec) for spec in manifest.signature.outputs)
    maker = f"made by edgekit {manifest.edgekit}, {manifest.created}"
    return "\n".join(
        (
            f"# {candidate.id}",
            "",
            f"A network for {manifest.target}, run by {title}, {candidate.precision}; {maker}.",
            f"Takes {takes}; gives {gives}. preprocess.json says how stored samples become that.",
            "",
            "    pip install -r requirements.txt",
            "    python3 infer.py               # checks that it answers here as where it was made",
            "    python3 infer.py SAMPLE.npy    # answers a stored sample, or an image where it was made from images",
            "    python3 -m board bench         # measures it here",
            "",
            'In a program: `from infer import Model`, then `Model("this folder").predict(sample)` by output name.',
            measured_text(manifest.measured, manifest.threads),
            "",
        )
    )


def spec_text(spec: TensorSpec) -> str:
    """As `image float32 [1, 3, 32, 32]`."""
    return f"{spec.name} {spec.dtype} {list(spec.shape)}"


def measured_text(measured: MeasuredFacts, threads: int) -> str:
    """Latency, memory and accuracy in a line, with where they come from."""
    where = f"{PLACES[measured.origin]} ({measured.cpu or measured.machine}, threads: {threads})"
    facts = []
    if measured.origin != "estimated" and measured.p50_ms is not None and measured.p90_ms is not None:
        facts += [f"p50 {interval(measured.p50_ms)} ms", f"p90 {interval(measured.p90_ms)} ms"]
    if measured.peak_memory_bytes:
        facts.append(f"peak memory {measured.peak_memory_bytes / 1e6:.0f} MB")
    accuracy = measured.test or measured.validation
    if accuracy is not None:
        facts.append(
            f"{accuracy.metric} {interval(accuracy.value)}, less than the original by {interval(accuracy.drop)}, on "
            f"{accuracy.samples} samples ({accuracy.split})"
        )
    return f"{where}: {'; '.join(facts)}." if facts else f"{where}."


def interval(estimate: Estimate) -> str:
    """As `0.242 [0.24, 0.245]`: the value with its 95 % interval."""
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"


def settling_readme(manifest: CandidatesManifest) -> str:
    """README.md of a bundle of several candidates."""
    names = ", ".join(candidate.id for candidate in manifest.candidates)
    return "\n".join(
        (
            f"# {len(manifest.candidates)} candidates for {manifest.target}",
            "",
            f"Made by edgekit {manifest.edgekit}, {manifest.created}.",
            "The board was not here: nothing is measured on it yet.",
            f"Candidates, the likeliest by the estimates first: {names}.",
            "",
            "Copy this folder to the board; there (numpy and the board's runtime are all it needs):",
            "",
            "    pip install -r requirements.txt",
            "    python3 -m board selftest   # checks that every candidate answers here as where it was made",
            "    python3 settle.py           # measures every candidate and says which one meets the budget",
            "",
            "Each folder in candidates/ is a whole bundle by itself: the one that won can be moved anywhere.",
            "",
        )
    )
