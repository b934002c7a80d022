"""A build's plan in words: what `edgekit build --plan` prints, and what `edgekit.preview(...)` shows."""

from __future__ import annotations

from dataclasses import dataclass, fields

from edgekit.building.preview import Preview
from edgekit.report.wording import budget_text, rejection_lines

__all__ = ["ShownPreview", "preview_lines", "shown"]


@dataclass(frozen=True, repr=False)
class ShownPreview(Preview):
    """A preview that shows itself in words."""

    def __repr__(self) -> str:
        return "\n".join(preview_lines(self))


def shown(preview: Preview) -> ShownPreview:
    """The same, shown in words."""
    return ShownPreview(**{field.name: getattr(preview, field.name) for field in fields(preview)})


def preview_lines(preview: Preview) -> list[str]:
    """The original's score first: it tells whether weights and data were read rightly."""
    target = preview.target
    lines = [f"PLAN  {target.name} ({target.title}); nothing was trained, nothing is written but the store"]
    if preview.absent:
        lines.append(f"  the board is not here: {'; '.join(preview.absent)}; latency would be estimated")
    metric = preview.original.metric if preview.original else "accuracy"
    lines += ["", f"  budget      {budget_text(preview.budget, metric)}"]
    lines += ["", f"  original    {original_line(preview)}"]
    lines.append(f"              {preview.macs / 1e6:,.1f} M MACs, {preview.parameters:,} parameters")
    lines += ["", "  candidates  of the unpruned network"]
    for runtime in dict.fromkeys(candidate.backend for candidate in preview.candidates):
        of_it = [candidate for candidate in preview.candidates if candidate.backend == runtime]
        listed = [
            candidate.precision
            + (f" on {candidate.device}" if candidate.device else "")
            + (f" ({candidate.recipe})" if candidate.recipe else "")
            for candidate in of_it
        ]
        lines.append(f"    {runtime:<12} {', '.join(listed)}")
    if preview.structures:
        widest, narrowest = max(preview.structures), min(preview.structures)
        lines.append(
            f"  structures  {len(preview.structures)} widths from {widest:.0%} to {narrowest:.0%} of the MACs are "
            "probed before one is trained"
        )
    if preview.stages:
        lines.append("  pipeline    each stage on what the one before it gives, the original as the teacher")
        lines += [f"    {number}. {text}" for number, text in enumerate(preview.stages, 1)]
    lines += ["", "  time        estimated, from how long the original took"]
    for step in preview.steps:
        when = f"  ({step.sometimes})" if step.sometimes else ""
        lines.append(f"    {between(step.low_s, step.high_s):>18}  {step.what}{when}")
    lines.append(f"    {between(*preview.total_s):>18}  in all")
    for title, texts in (
        ("not tried", rejection_lines(preview.rejected)),
        ("warnings", list(preview.warnings)),
    ):
        if texts:
            lines += ["", f"  {title}", *(f"    {text}" for text in texts)]
    return lines


def original_line(preview: Preview) -> str:
    """The measured score of the original, with its interval."""
    score = preview.original
    if score is None:
        return "has no score of its own: the data has no labels"
    return (
        f"{score.metric} {score.value:.2%} [{score.low:.2%}, {score.high:.2%}] on {score.samples} validation samples, "
        f"in float, measured in {preview.reference}"
    )


def between(low_s: float, high_s: float) -> str:
    """ "2 min to 9 min"."""
    low, high = rounded(low_s), rounded(high_s)
    return low if low == high else f"{low} to {high}"


def rounded(seconds: float) -> str:
    """A time to the precision that an estimate has."""
    if seconds < 90:
        return f"{max(1.0, seconds):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
