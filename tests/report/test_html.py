from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import OutputError
from edgekit.report import render_html, write_report
from edgekit.result import NOTED_HERE, Result
from edgekit.testing.results import example_result
from edgekit.types import SensorReading, Verdict
from tests.report.pages import read_page


@functools.cache
def example_page(verdict: Verdict = "MEETS", candidates: int = 9, emulated: int = 0) -> str:
    return render_html(example_result(verdict, candidates=candidates, emulated=emulated))


EVIL = "<script>alert(1)</script><a href='http://x.example'>&amp;\"</a>"
VERDICTS: tuple[Verdict, ...] = ("MEETS", "MISSES", "INFEASIBLE")


def poisoned(result: Result) -> Result:
    """Every text that a user can choose, replaced by markup that must not come through."""
    candidates = tuple(
        replace(each, id=EVIL + each.id, variant=EVIL, recipe=EVIL, why=EVIL, notes=(EVIL,), ran_as=EVIL)
        for each in result.candidates
    )
    candidates = tuple(
        replace(each, accuracy=replace(each.accuracy, metric=EVIL)) if each.accuracy else each
        for each in candidates
    )
    return replace(
        result,
        explanation=EVIL,
        winner=EVIL + (result.winner or ""),
        target=replace(result.target, name=EVIL, title=EVIL),
        candidates=candidates,
        variants=tuple(replace(each, description=EVIL, history=(EVIL,)) for each in result.variants),
        rejected=tuple(replace(each, what=EVIL, reason=EVIL, instead=EVIL) for each in result.rejected),
        failures=tuple(replace(each, cause=EVIL, remedy=EVIL) for each in result.failures),
        warnings=(EVIL,),
        run=replace(result.run, model=EVIL, data=EVIL, command=EVIL, classes=(EVIL, "</style>")),
        environment=replace(result.environment, machine=EVIL, cpu=EVIL, notes=(EVIL,)),
    )


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_page_is_balanced_html_with_distinct_ids(verdict: Verdict) -> None:
    page = read_page(example_page(verdict))
    assert page.unbalanced == []
    assert len(page.ids()) == len(set(page.ids()))


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_verdict_stands_before_everything_else(verdict: Verdict) -> None:
    html = example_page(verdict)
    page = read_page(html)
    sections = [name for name in page.ids() if name in SECTIONS]
    assert sections == SECTIONS
    assert html.index(f'class="badge">{verdict}<') < html.index("<h1>") < html.index('id="tradeoff"')


SECTIONS = [
    "verdict",
    "tradeoff",
    "candidates",
    "distributions",
    "accuracy",
    "waterfall",
    "variants",
    "rejected",
    "failures",
    "warnings",
    "environment",
    "method",
    "reproduce",
]


def test_the_page_of_a_winner_tells_its_figures_its_gain_and_the_command() -> None:
    result = example_result("MEETS")
    text = read_page(example_page("MEETS")).text
    assert "pruned-45-ov-int8-mse meets the budget on Made-up board" in text
    for part in ("budget 0.35 ms", "91.02 %", "0.66 points", "drop ≤ 1.00 points", "184 kB", "limit 500 kB"):
        assert part in text
    assert re.search(
        r"4\.\d\d times faster \(4\.\d\d to 4\.\d\d\) and 5\.95 times smaller than the original float network",
        text,
    )
    assert result.run.command in text


def test_a_missed_budget_shows_the_nearest_and_by_how_much_it_misses() -> None:
    text = read_page(example_page("MISSES")).text
    assert "No candidate meets the budget" in text
    assert "nearest is pruned-45-ov-int8-mse" in text
    assert "over the limit by" in text


def test_an_infeasible_budget_is_explained_without_any_candidate() -> None:
    result = example_result("INFEASIBLE", candidates=0)
    html = example_page("INFEASIBLE", candidates=0)
    page = read_page(html)
    assert page.unbalanced == []
    assert result.explanation in page.text
    assert "No candidate was measured" in page.text
    assert "<svg" not in html


@pytest.mark.parametrize("count", [6, 20])
def test_all_candidates_stand_in_the_table_with_their_reason(count: int) -> None:
    result = example_result(candidates=count, emulated=0)
    page = read_page(example_page(candidates=count))
    for candidate in result.candidates:
        assert candidate.id in page.text
        assert candidate.why in page.text


def test_a_precision_that_ran_other_than_asked_is_shown() -> None:
    assert "fp32 ran as bf16" in read_page(example_page()).text


def test_rejections_failures_warnings_and_history_are_told() -> None:
    result = example_result()
    text = read_page(example_page()).text
    assert all(part in text for item in result.rejected for part in (item.what, item.reason, item.instead))
    assert all(part in text for item in result.failures for part in (item.stage, item.cause, item.remedy))
    assert all(line in text for variant in result.variants for line in variant.history)
    assert result.warnings[0] in text


def test_another_origin_has_a_table_of_its_own_and_stays_out_of_the_plots() -> None:
    result = example_result(candidates=9, emulated=2)
    html = example_page(candidates=9, emulated=2)
    page = read_page(html)
    assert page.text.count("Not ranked.") == 1
    emulated = [candidate.id for candidate in result.candidates if candidate.origin == "emulated"]
    for plot in ("pareto", "latencies", "accuracies"):
        assert len(page.figures(plot)) == 2
        assert not any(name in drawn for drawn in page.figures(plot) for name in emulated)


def test_names_cannot_bring_markup_into_the_page() -> None:
    html = render_html(poisoned(example_result(candidates=9, emulated=1)))
    page = read_page(html)
    assert page.unbalanced == []
    assert "<script>alert" not in html
    assert "alert(1)" in page.text
    assert not [
        attributes for tag, attributes in page.elements if "x.example" in (attributes.get("href") or "")
    ]
    expected = len(read_page(example_page(candidates=9, emulated=1)).scripts)
    assert len(page.scripts) == expected


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_page_loads_nothing_from_anywhere(verdict: Verdict) -> None:
    html = example_page(verdict)
    assert not re.search(
        r"(src|href)\s*=\s*[\"']?\s*(https?:)?//|@import|url\((?!#)|fetch\(|XMLHttpRequest|https?://", html
    )
    page = read_page(html)
    assert not [tag for tag, _ in page.elements if tag in ("link", "img", "iframe", "object", "embed")]
    links = [attributes["href"] or "" for tag, attributes in page.elements if tag == "a"]
    assert all(link.startswith("#") and link[1:] in page.ids() for link in links)


def test_the_same_result_renders_to_the_same_page() -> None:
    assert render_html(example_result("MISSES", candidates=1)) == render_html(
        example_result("MISSES", candidates=1)
    )


def test_candidates_without_latency_or_accuracy_keep_their_row() -> None:
    result = example_result()
    first, second, *others = result.candidates
    bare = (replace(first, latency_ms=None), replace(second, accuracy=None), *others)
    page = read_page(render_html(replace(result, candidates=bare)))
    assert page.unbalanced == []
    assert first.id in page.text
    assert second.id in page.text


def test_nothing_measured_of_any_candidate_leaves_out_the_plots() -> None:
    result = example_result("MISSES", candidates=1)
    bare = tuple(replace(each, latency_ms=None, accuracy=None) for each in result.candidates)
    text = read_page(render_html(replace(result, candidates=bare))).text
    assert "No candidate has both a latency and an accuracy" in text


def test_a_claim_over_the_limit_is_owned_up_to() -> None:
    result = example_result()
    assert result.claim is not None
    claim = replace(result.claim, drop=0.0123)
    text = read_page(render_html(replace(result, claim=claim))).text
    assert "On the test split the drop is 1.23, over the limit of 1.00 points" in text


def test_a_report_that_cannot_be_written_is_a_users_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(example_result("INFEASIBLE", candidates=0), tmp_path / "missing" / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_page_tells_what_the_machine_did_while_it_measured() -> None:
    result = example_result()
    text = read_page(example_page()).text
    assert "cpu-thermal 41.0 → 63.5 °C" in text
    assert "CPU 1 2000 → 1400 MHz" in text
    latency = result.candidates[0].latency_ms
    assert latency is not None
    turns = " ".join(str(turn) for turn in latency.turns)
    assert f"480{latency.preemptions}95.0{turns}" in text
    silent = replace(result.environment, sensors_before=SensorReading(), sensors_after=SensorReading())
    text = read_page(render_html(replace(result, environment=silent))).text
    assert "Temperaturenot told by this machine Clocknot told by this machine" in text


def test_a_result_of_an_older_edgekit_makes_a_page_too() -> None:
    result = example_result()
    older = tuple(
        replace(
            candidate,
            import_ms=None,
            latency_ms=candidate.latency_ms and replace(candidate.latency_ms, turns=(), preemptions=None),
        )
        for candidate in result.candidates
    )
    environment = replace(result.environment, sensors_before=None, sensors_after=None)
    text = read_page(render_html(replace(result, candidates=older, environment=environment))).text
    assert "Temperaturenot read Clocknot read" in text
    assert "480–––" in text


def test_a_page_that_is_not_ours_is_not_overwritten(tmp_path: Path) -> None:
    result = example_result("INFEASIBLE", candidates=0)
    path = write_report(result, tmp_path / "report.html")
    assert write_report(result, path) == path
    path.write_text("<html>mine</html>")
    with pytest.raises(OutputError, match="is there and is not of edgekit; move it away"):
        write_report(result, path)
    assert path.read_text() == "<html>mine</html>"


@pytest.mark.parametrize("copies", [1, 20])
def test_the_page_stays_below_two_megabytes_whatever_was_measured(copies: int) -> None:
    result = example_result(candidates=20)
    samples = tuple(tuple(0.3 + 0.0001 * number for number in range(2000)) for _ in range(12))
    many = tuple(
        replace(
            each,
            id=f"{each.id}-{copy}",
            latency_ms=each.latency_ms and replace(each.latency_ms, rounds_ms=samples[: 12 // copies]),
        )
        for copy in range(3 * copies)
        for each in result.candidates
    )
    html = render_html(replace(result, candidates=many, winner=many[5].id))
    assert len(html.encode()) < 2_000_000
    assert many[5].id in html
    if copies > 1:
        assert "The tables hold the 200 fastest; 1,000 more candidates in result.json" in read_page(html).text


def test_drawings_and_tables_say_what_they_are_to_a_screen_reader() -> None:
    html = example_page()
    page = read_page(html)
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(drawings) == 8
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert all(name in page.ids() for name in (attributes["aria-labelledby"] or "").split())
    assert all("pruned-45-ov-int8-mse: p90 0.313 ms" in text for text in page.figures("pareto"))
    assert html.count("<table") == html.count("<caption>")
    assert all("scope" in attributes for tag, attributes in page.elements if tag == "th")


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_first_screen_answers_what_to_ship_what_float_did_and_what_it_takes(verdict: Verdict) -> None:
    text = read_page(example_page(verdict)).text.split("Latency and accuracy")[0]
    assert "original-ort-fp32: p90 1.40 ms" in text
    wanted = {
        "MEETS": ("bundle/model/pruned-45-ov-int8-mse", "edgekit bundle verify bundle"),
        "MISSES": ("Nothing meets the budget. The nearest is", "--max-latency"),
        "INFEASIBLE": ("Nothing: no candidate could be judged", "The fastest that was measured"),
    }
    assert all(part in text for part in wanted[verdict])


def test_one_of_a_thing_is_told_in_the_singular() -> None:
    result = example_result("MISSES", candidates=1)
    text = read_page(render_html(replace(result, environment=replace(result.environment, cores=1)))).text
    assert "1 core," in text
    assert "1 cores" not in text
    assert "1 candidate, measured" in text


def test_an_estimate_shows_its_range_in_the_table() -> None:
    result = example_result("MISSES", candidates=2)
    ranges = tuple(
        replace(
            each,
            origin="estimated",
            latency_ms=each.latency_ms
            and replace(each.latency_ms, p90=6.95, low=3.45, high=24.8, rounds_ms=()),
        )
        for each in result.candidates
    )
    text = read_page(render_html(replace(result, verdict="PROVISIONAL", candidates=ranges))).text
    assert "3.45 to 24.8likely 6.95" in text
    assert "Origin estimated" not in text
    assert "Estimated by a roofline, not measured" in text or "estimated by a roofline, not measured" in text


def test_a_machine_that_only_fits_the_description_is_told() -> None:
    result = example_result("INFEASIBLE", candidates=0)
    like = (
        "this machine (AMD EPYC) fits the description of intel-cpu by its features; by its name it is not one"
    )
    text = read_page(render_html(replace(result, target=replace(result.target, likeness=like)))).text
    assert "This machine (AMD EPYC) fits the description of intel-cpu" in text


def test_that_notes_are_of_this_machine_is_said_once() -> None:
    result = example_result()
    noted = tuple(
        replace(each, notes=(f"{NOTED_HERE}layer {number} ran as float",))
        for number, each in enumerate(result.candidates)
    )
    text = read_page(render_html(replace(result, candidates=noted))).text
    assert text.count("this machine, not on the board") == 1
    assert NOTED_HERE not in text
    assert all(f"layer {number} ran as float" in text for number in range(len(noted)))
    assert "this machine, not on the board" not in read_page(example_page()).text


def test_what_int8_builds_decided_has_a_cell_under_each_heading() -> None:
    result = example_result(candidates=9)
    first = next(row for row in result.candidates if row.quantization is not None)
    assert first.quantization is not None
    repaired = replace(first, quantization=replace(first.quantization, repairs=("channels equalized",)))
    rows = [repaired if row is first else row for row in result.candidates]
    plain = [replace(first, id="another-int8"), *rows]
    for candidates in (plain, rows[::-1]):
        page = render_html(replace(result, candidates=tuple(candidates)))
        table = page[page.index("What each INT8 build decided") :]
        head, *body = table[: table.index("</table>")].split("<tr>")[1:]
        assert "Repaired before" in head
        assert {row.count("<td") for row in body} == {head.count("<th")}
