"""What an INT8 build decided, in words."""

from __future__ import annotations

from dataclasses import replace

from edgekit.report.html import render_html
from edgekit.report.quantization import quantization_texts
from edgekit.testing.results import example_result
from edgekit.types import FloatLayer, QuantizationSummary

SUMMARY = QuantizationSummary(
    activation="uint8",
    weight="int8",
    weight_bits=7,
    granularity="per-channel",
    symmetric=False,
    observer="mse",
    ranges=31,
    shared_scales=1,
    in_float=(),
    bias_correction="fast",
    corrected_biases=22,
)


def test_each_decision_is_told() -> None:
    assert quantization_texts(SUMMARY) == {
        "integers": "uint8 activations, any zero point; int8 weights of 7 bits per channel",
        "ranges": "31 tensors, observer mse",
        "shared scales": "1 group",
        "in float": "none",
        "corrected biases": "22 (fast)",
    }


def test_what_the_runtime_decides_is_said_to_be_its_own() -> None:
    left = replace(SUMMARY, ranges=None, shared_scales=None, corrected_biases=None)
    texts = quantization_texts(left)
    for heading in ("ranges", "shared scales", "corrected biases"):
        assert texts[heading].startswith("left to the runtime's quantizer")


def test_without_correction_no_bias_is_corrected() -> None:
    none = replace(SUMMARY, bias_correction="none", corrected_biases=0)
    assert quantization_texts(none)["corrected biases"] == "none"


def test_layers_in_float_are_named_by_their_reason_the_first_few() -> None:
    many = [FloatLayer(f"softmax{number}", "runtime") for number in range(8)]
    kept = (*many, FloatLayer("head", "recipe"), FloatLayer("stem", "sensitive"))
    text = quantization_texts(replace(SUMMARY, in_float=kept))["in float"]
    assert text.startswith("stem (most sensitive); head (named by the recipe); softmax0, ")
    assert text.endswith("softmax5 and 2 more (no integer kernel that gains)")


def test_what_a_layer_in_float_costs_and_gives_is_told_where_it_was_chosen_by_that() -> None:
    kept = (FloatLayer("stem", "sensitive", 0.0125, 0.4), FloatLayer("add", "between", -0.002, 0.0))
    text = quantization_texts(replace(SUMMARY, in_float=kept))["in float"]
    assert text.startswith(
        "stem +12.5 us for 0.4 of the noise (most sensitive); add -2 us for 0 of the noise (beside"
    )


def test_the_page_has_a_row_for_every_int8_candidate() -> None:
    result = example_result()
    planned = [candidate for candidate in result.candidates if candidate.quantization is not None]
    assert planned
    page = render_html(result)
    table = page.split("What became INT8")[1].split("</table>")[0]
    assert table.count("<tr>") == 1 + len(planned)
    assert all(f'<td class="text">{candidate.id}</td>' in table for candidate in planned)


def test_the_page_of_float_candidates_has_no_such_table() -> None:
    result = example_result()
    floats = tuple(replace(candidate, quantization=None) for candidate in result.candidates)
    assert "What became INT8" not in render_html(replace(result, candidates=floats))


def test_repairs_are_told_where_there_were_any() -> None:
    assert "repaired before" not in quantization_texts(SUMMARY)
    told = quantization_texts(replace(SUMMARY, repairs=("channels equalized", "weights rounded")))
    assert told["repaired before"] == "channels equalized; weights rounded"


def test_tables_whose_rows_are_integers_are_named() -> None:
    assert "tables" not in quantization_texts(SUMMARY)
    told = quantization_texts(replace(SUMMARY, tables=("words", "kinds")))
    assert told["tables"] == "words, kinds: rows in int8, a scale each"
