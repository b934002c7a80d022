"""The certificate of steadiness in the report: a word beside the latency, its reasons, and the timeline."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.report.cautions import cautions
from edgekit.report.checks import checks
from edgekit.report.html import render_html
from edgekit.report.plots.timeline import series_of, timeline_plot
from edgekit.report.table import THROTTLED, candidate_lines
from edgekit.report.verdict import best_candidate
from edgekit.result import Result
from edgekit.testing.results import example_result
from edgekit.types import Moment, Steadiness, SteadyState

TIMELINE = tuple(Moment(0.4 * place, 2.0 + 0.01 * place, 1800.0, 50.0 + place) for place in range(12))


def with_certificate(state: SteadyState, *reasons: str, timeline: tuple[Moment, ...] = TIMELINE) -> Result:
    """The example with this certificate on its best candidate, without a run of its own."""
    result = example_result()
    best = best_candidate(result)
    assert best is not None
    assert best.latency_ms is not None
    latency = replace(best.latency_ms, steadiness=Steadiness(state, reasons, timeline=timeline))
    candidates = [replace(row, latency_ms=latency) if row.id == best.id else row for row in result.candidates]
    return replace(result, candidates=tuple(candidates), confirmed=None)


@pytest.mark.parametrize(
    ("state", "word"), [("throttled", "throttled"), ("unknown", "steadiness unknown"), ("clean", "")]
)
def test_a_word_stands_beside_the_latency_where_it_is_not_clean(state: SteadyState, word: str) -> None:
    told = checks(with_certificate(state, "because"))[0].range
    assert word in told
    assert ("throttled" in told, "unknown" in told) == (state == "throttled", state == "unknown")


def test_the_reasons_are_a_caution_unless_it_is_clean() -> None:
    assert any("it got hot" in text for text in cautions(with_certificate("throttled", "it got hot")))
    assert not any("steady board" in text for text in cautions(with_certificate("clean")))


def test_a_throttled_candidate_is_marked_in_the_table() -> None:
    result = with_certificate("throttled", "it got hot")
    best = best_candidate(result)
    assert best is not None
    assert best.latency_ms is not None
    _head, (line,) = candidate_lines([best], best.origin, "p90", "top-1", 100)
    assert THROTTLED in line


def test_the_page_draws_the_timeline_wide_and_narrow() -> None:
    page = render_html(with_certificate("throttled", "it got hot"))
    assert 'id="timeline-wide"' in page
    assert 'id="timeline-narrow"' in page
    assert "it got hot" in page


def test_a_result_without_certificates_has_no_timeline() -> None:
    assert 'id="timeline-wide"' not in render_html(example_result())


def test_what_the_board_does_not_tell_has_no_panel_and_is_named() -> None:
    plain = tuple(Moment(float(place), 2.0) for place in range(3))
    assert [len(series.points) for series in series_of(plain)] == [3, 0, 0]
    best = best_candidate(with_certificate("unknown", timeline=plain))
    assert best is not None
    plot = timeline_plot(best.id, best.latency_ms)
    assert plot is not None
    assert "does not tell its clock and temperature" in plot.caption
    assert len(plot.draw(440).axes) == 1
