"""What page and terminal say of a build's plans."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from edgekit.report import print_summary, render_html
from edgekit.report.planning import planning_section, planning_text
from edgekit.result import Result, load_result, save_result
from edgekit.testing.results import example_result
from edgekit.types import LayerStaircase, Origin, PlanningResult, PlanResult
from tests.report.pages import read_page
from tests.report.planned import example_planning, planned

PLANNING = example_planning()
EVIL = "<script>alert(1)</script>\x1b[31m\n\ud800$x_1$&amp;"


def printed(result: Result, width: int = 80) -> list[str]:
    stream = StringIO()
    print_summary(result, Console(file=stream, width=width))
    return stream.getvalue().splitlines()


def of_plans(lines: list[str]) -> list[str]:
    """The lines that tell of plans: up to the empty one."""
    start = next(place for place, line in enumerate(lines) if line.startswith("  plans: "))
    return lines[start : lines.index("", start)]


def page_of(planning: PlanningResult | None) -> str:
    """A page of plans alone: no candidate is drawn."""
    return render_html(replace(example_result("INFEASIBLE", candidates=0), planning=planning))


def section(planning: PlanningResult) -> str:
    """The page's own words on plans, its drawings left out; layers are not drawn at all."""
    page = page_of(replace(planning, staircases=()))
    html = re.search(r'<section id="plans">.*?</section>', page, re.DOTALL)
    assert html is not None
    return read_page(html[0]).text


def estimated(planning: PlanningResult) -> PlanningResult:
    plans = tuple(replace(plan, latency_ms=plan.predicted_ms) for plan in planning.plans)
    return replace(planning, origin="estimated", plans=plans, reason="2 of 6 plans keep within 0.12 ms")


def none_within() -> PlanningResult:
    plans = tuple(
        replace(plan, variant="", scores=(), untrained=None, why="too slow") for plan in PLANNING.plans
    )
    return replace(PLANNING, plans=plans, limit_ms=0.05, reason="none of 6 plans keeps within 0.05 ms")


def poisoned() -> PlanningResult:
    plans = tuple(
        replace(plan, id=EVIL + plan.id, dropped=(EVIL,), widths={EVIL: (8, 16)}, why=EVIL)
        for plan in PLANNING.plans
    )
    plans = tuple(replace(plan, variant=plan.variant and EVIL) for plan in plans)
    return replace(
        PLANNING,
        plans=plans,
        table=EVIL,
        reason=EVIL,
        kept={EVIL: EVIL},
        notes=(EVIL,),
        staircases=tuple(replace(each, layer=EVIL) for each in PLANNING.staircases),
    )


def test_a_build_without_plans_has_no_section_and_no_line() -> None:
    html = page_of(None)
    assert 'id="plans"' not in html
    assert 'href="#plans"' not in html
    assert planning_section(example_result()) is None
    assert planning_text(example_result()) == ""
    assert not any("plans" in line for line in printed(example_result()))


def test_the_section_stands_in_the_page_and_its_contents() -> None:
    html = render_html(planned(PLANNING))
    page = read_page(html)
    assert page.unbalanced == []
    assert len(page.ids()) == len(set(page.ids()))
    assert html.index('id="waterfall"') < html.index('<section id="plans"') < html.index('id="variants"')
    assert ("a", {"href": "#plans"}) in page.elements
    assert html.count("<table") == html.count("<caption>")
    for name in ("plans-plot", "staircases-plot"):
        assert len(page.figures(name)) == 2


def test_the_section_tells_how_the_search_ended_and_where_times_come_from() -> None:
    text = section(PLANNING)
    for part in (
        "2 of 6 plans keep within 0.12 ms; measured times were 1.16 of the predicted ones.",
        "a table of single layers' times in int8, measured on this machine, onnxruntime 1.31.1, 1 thread.",
        "the network as it is takes 0.203 ms; the budget is 0.12 ms at p90",
        "Plans were measured on the board itself",
        "All layers have one precision",
    ):
        assert part in text


def test_each_plan_has_its_times_its_changes_its_scores_and_what_became_of_it() -> None:
    text = section(PLANNING)
    became = "Became planned-43: 0.81 points lost and 0.117 ms once trained."
    assert f"plan-2 trained 0.101 0.117 43.4 % 61.40 % 88.30 %, 90.20 % {became}" in text
    assert "Dropped: 2.1, 3.1. 14 groups narrowedlayer1.0.conv0 16 of 32" in text
    assert "plan-5 0.0987 – 40.2 % – – No runtime could run it." in text
    assert "Another plan learnt better: 87.1% after 1 short training." in text


def test_layers_kept_whole_for_one_reason_are_told_together_and_without_their_name_in_it() -> None:
    text = section(PLANNING)
    assert "3 layers kept whole" in text
    assert "conv1: makes what is added to the network's input" in text
    assert "fc, head.project: makes an output of the network" in text


@pytest.mark.parametrize(
    ("origin", "heading", "words"),
    [
        ("device", "measured p90, ms", "measured on the board itself"),
        ("host", "measured here p90, ms", "measured on this machine, which is not the board"),
        ("emulated", "emulated p90, ms", "run in an emulator, whose latency says nothing about the board"),
    ],
)
def test_the_origin_of_the_plans_times_is_told(origin: Origin, heading: str, words: str) -> None:
    text = section(replace(PLANNING, origin=origin))
    assert heading in text
    assert words in text


def test_estimated_times_are_never_called_measured() -> None:
    planning = estimated(PLANNING)
    text = section(planning).replace("a table of single layers' times in int8, measured on", "")
    assert "measured" not in text
    assert "The board was not here, so no plan was timed: each time below is an estimate." in text
    assert "estimated, ms" in text
    assert "predicted, ms" not in text
    lines = planning_text(planned(planning))
    assert "(estimated 0.101 ms)" in lines
    assert "measured" not in lines


def test_an_estimate_that_is_not_the_tables_sum_stands_beside_it() -> None:
    plans = tuple(replace(plan, latency_ms=1.2 * plan.predicted_ms) for plan in PLANNING.plans)
    result = planned(replace(PLANNING, origin="estimated", plans=plans))
    assert planning_section(result).times == ("predicted, ms", "estimated, ms")  # type: ignore[union-attr]
    assert "(predicted 0.101, estimated 0.121 ms at p90)" in planning_text(result)


def test_the_terminal_tells_the_search_and_the_trained_plan_in_few_lines() -> None:
    lines = of_plans(printed(planned(PLANNING)))
    assert len(lines) == 3
    assert " ".join(" ".join(lines).split()) == (
        "plans: 2 of 6 plans keep within 0.12 ms; measured times were 1.16 of the predicted ones."
        " plan-2 was trained (predicted 0.101, measured 0.117 ms at p90): blocks 2.1, 3.1 dropped,"
        " 14 groups narrowed, 43.4 % of the MACs left."
    )


def test_none_within_the_budget_is_told_with_the_fastest() -> None:
    planning = none_within()
    assert "None was trained; the fastest is plan-4 (predicted 0.0934, measured 0.108 ms at p90)." in (
        planning_text(planned(planning))
    )
    text = section(planning)
    assert "None of 6 plans keeps within 0.05 ms." in text
    assert "Too slow." in text
    assert "Shaded: what was trained" not in page_of(planning)


def test_one_plan_alone_that_no_runtime_told_of() -> None:
    alone = PlanResult("plan-1", 0.1, None, 0.0, 1.0, widths={"a": (8, 16)}, why="no runtime could run it")
    planning = replace(PLANNING, plans=(alone,), staircases=(), kept={}, notes=())
    assert "the fastest is plan-1 (predicted 0.100 ms, not timed)" in planning_text(planned(planning))
    text = section(planning)
    assert "plan-1 0.100 – 100 % – – No runtime could run it. 1 group narroweda 8 of 16" in text
    assert "kept whole" not in text
    assert "How time depends" not in text


def test_a_search_that_proposed_nothing_makes_a_page_too() -> None:
    planning = replace(PLANNING, plans=(), staircases=(), reason="nothing was proposed")
    assert "plans: nothing was proposed. None was trained." in planning_text(planned(planning))
    assert "Nothing was proposed." in section(planning)
    assert read_page(page_of(planning)).unbalanced == []


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("planning", [PLANNING, none_within(), poisoned(), example_planning(groups=40)])
def test_no_line_is_wider_than_the_console(planning: PlanningResult, width: int) -> None:
    lines = printed(planned(planning), width)
    assert max(cell_len(line) for line in lines) <= width
    assert 2 <= len(of_plans(lines)) <= 12


def test_names_bring_no_markup_into_the_page_and_rule_no_terminal() -> None:
    html = page_of(poisoned())
    page = read_page(html)
    assert "<script>alert" not in html
    assert "\x1b" not in html
    assert page.unbalanced == []
    assert len(page.scripts) == len(read_page(page_of(None)).scripts)
    assert html.encode("utf-8")
    assert r"<script>alert(1)</script>\x1b[31m \ud800$x_1$&amp;" in page.text
    assert "\x1b" not in "".join(printed(planned(poisoned())))
    assert all("$x_1$" in text for text in page.figures("staircases-plot"))


def test_forty_groups_are_all_told() -> None:
    text = section(example_planning(groups=40))
    assert "40 groups narrowed" in text
    assert all(f".conv{place} 16 of 32" in text for place in range(40))


def test_the_page_stays_below_two_megabytes_however_many_plans_and_layers_there_are() -> None:
    name = "a_layer_whose_name_is_long." * 20
    widths = {f"{place}.{name}{place}": (8, 16) for place in range(1000)}
    dropped = tuple(widths)
    points = tuple((8 * place, 0.001 * place, 0.0009 * place, 0.0011 * place) for place in range(1, 500))
    planning = replace(
        PLANNING,
        plans=tuple(
            replace(PLANNING.plans[1], id=f"plan-{place}", widths=widths, dropped=dropped)
            for place in range(300)
        ),
        kept={f"{place}{name}": f"reason {place} {name}" for place in range(3000)},
        notes=tuple(f"{place} {name}" for place in range(1000)),
        staircases=tuple(LayerStaircase(f"{name}{place}", 64, points) for place in range(50)),
    )
    html = page_of(planning)
    assert len(html.encode()) < 2_000_000
    text = read_page(html).text
    assert "260 more plans in result.json" in text
    assert "920 more groups in result.json" in text
    assert "2,800 more reasons in result.json" in text
    assert "800 more notes in result.json" in text


def test_plans_come_back_as_they_were_written(tmp_path: Path) -> None:
    result = planned(PLANNING)
    save_result(result, tmp_path / "result.json")
    assert load_result(tmp_path / "result.json") == result
