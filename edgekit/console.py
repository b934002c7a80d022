"""The terminal, in which names that users and strangers chose write nothing but letters."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.segment import Segment

from edgekit.errors import visible

__all__ = ["asked_on_terminal", "make_console"]


def make_console(**options: Any) -> Console:
    """rich's Console, with control characters in what it prints made visible (a class may be named with ESC)."""
    console = Console(**options)
    console.push_render_hook(_Hook())
    return console


def asked_on_terminal(question: str) -> bool:
    """What the user says to a question; no where nobody sits at a terminal, or he stops once more."""
    import click

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        return click.confirm(visible(question), default=False, err=True)
    except click.Abort:
        return False


class _Hook(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Visible(renderable) for renderable in renderables]


class _Visible:
    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._inner, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
