"""Drawings that are kept from page to page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.report.drawings import UNDRAWN, drawn_now, stored_drawings
from edgekit.report.html import render_html
from edgekit.result import Result
from edgekit.testing.results import example_result


class FakeArtist:
    """Counts what it draws."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self) -> Mapping[str, str]:
        self.drawn += 1
        return {"pareto": f"<svg>{self.drawn}</svg>"}


def other_run(result: Result) -> Result:
    environment = replace(result.environment, load_1m=9.0) if result.environment else None
    run = replace(result.run, id="another", duration_s=1.0, started="later")
    return replace(result, run=run, environment=environment, warnings=("it was busy",))


def test_the_same_figures_are_drawn_once_whatever_the_run(tmp_path: Path) -> None:
    artist, result = FakeArtist(), example_result()
    for shown in (result, other_run(result)):
        assert stored_drawings(tmp_path / "store")(shown, artist) == {"pareto": "<svg>1</svg>"}
    assert artist.drawn == 1


def test_other_figures_are_drawn_anew(tmp_path: Path) -> None:
    artist, result = FakeArtist(), example_result()
    keep = stored_drawings(tmp_path / "store")
    keep(result, artist)
    keep(replace(result, candidates=result.candidates[:-1]), artist)
    keep(replace(result, budget=replace(result.budget, max_latency_ms=0.123)), artist)
    assert artist.drawn == 3


def test_without_a_store_they_are_drawn_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert stored_drawings(tmp_path / "file")(example_result(), FakeArtist()) == {"pareto": "<svg>1</svg>"}


def test_what_is_left_out_of_the_key_is_shown_by_no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    result = example_result()
    assert all(getattr(other_run(result), name) != getattr(result, name) for name in UNDRAWN)
    drawn: list[Mapping[str, str]] = []

    def keep(_: Result, draw: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
        drawn.append(draw())
        return drawn[-1]

    for shown in (result, other_run(result)):
        render_html(shown, keep)
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) >= {"pareto", "latencies"}


def test_a_page_of_kept_drawings_is_the_page_of_new_ones(tmp_path: Path) -> None:
    result = example_result()
    keep = stored_drawings(tmp_path / "store")
    assert render_html(result, keep) == render_html(result, keep) == render_html(result, drawn_now)
