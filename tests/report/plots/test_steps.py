"""The accuracy waterfall in the report."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from edgekit.report import render_html
from edgekit.report.plots.figures import WIDE
from edgekit.report.plots.steps import waterfall_plot
from edgekit.report.terminal import print_summary
from edgekit.result import LayerLoss, WaterfallStep
from edgekit.testing.results import example_result
from tests.report.pages import read_page

STEPS = example_result().waterfall


def axes_of(steps: tuple[WaterfallStep, ...]) -> Any:
    plot = waterfall_plot(steps, "top-1")
    assert plot is not None
    return plot.draw(WIDE).axes[0]


def test_bars_reach_from_the_level_before_to_the_level_after_each_step() -> None:
    bars = axes_of(STEPS).patches
    starts = [bar.get_y() for bar in bars]
    ends = [bar.get_y() + bar.get_height() for bar in bars]
    assert ends == pytest.approx([100 * step.accuracy for step in STEPS])
    assert starts[1:] == pytest.approx(ends[:-1])


def test_losses_and_gains_are_told_apart_by_sign_and_by_colour() -> None:
    axes = axes_of(STEPS)
    assert [label.get_text() for label in axes.texts][:3] == ["91.68 %", "−1.78", "+1.32"]
    assert axes.patches[1].get_facecolor() != axes.patches[2].get_facecolor()


def test_intervals_stand_where_they_were_paired_alone() -> None:
    assert len(axes_of(STEPS).containers) - len(STEPS) == sum(step.low is not None for step in STEPS)


def test_one_step_alone_is_no_waterfall() -> None:
    assert waterfall_plot(STEPS[:1], "top-1") is None


def test_the_page_names_the_layers_to_blame_with_what_to_try() -> None:
    page = read_page(render_html(example_result()))
    assert "Where accuracy went" in page.text
    assert (
        "/layer3/layer3.2/Relu_output_0: SQNR 14.2 dB, of its inputs 27.5 dB; 0.61% of its values"
        in page.text
    )
    assert "−0.14" in page.text


def test_a_layer_s_name_cannot_bring_markup_into_the_page() -> None:
    evil = replace(
        STEPS[-1], layers=(LayerLoss("<script>alert(1)</script>", 1.0, None),), note="<b onload=x>"
    )
    html = render_html(replace(example_result(), waterfall=(*STEPS[:-1], evil)))
    assert "<script>alert" not in html
    assert "<b onload" not in html


def test_a_result_without_a_waterfall_says_so() -> None:
    assert (
        "No candidate's way was measured"
        in read_page(render_html(replace(example_result(), waterfall=()))).text
    )


def test_the_terminal_tells_the_way_in_one_sentence() -> None:
    stream = io.StringIO()
    print_summary(example_result(), Console(file=stream, width=100))
    text = " ".join(stream.getvalue().split())
    assert "original 91.68 % (validation): pruned −1.78, fine-tuned +1.32, exported 0.00" in text
