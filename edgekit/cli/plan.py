"""What `edgekit build --plan` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgekit.errors import visible

if TYPE_CHECKING:
    from edgekit.building.preview import Preview

__all__ = ["print_preview"]


def print_preview(preview: Preview, *, as_json: bool) -> None:
    """As JSON, or in words."""
    if as_json:
        click.echo(preview_json(preview))
        return
    from edgekit.plan_text import preview_lines

    for line in preview_lines(preview):
        click.echo(visible(line))


def preview_json(preview: Preview) -> str:
    """Every field, and the sum of the estimates."""
    import msgspec

    low_s, high_s = preview.total_s
    content = {**msgspec.to_builtins(preview), "estimated_s": {"low": low_s, "high": high_s}}
    return msgspec.json.format(msgspec.json.encode(content), indent=1).decode()
