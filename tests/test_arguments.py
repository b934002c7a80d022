"""What a Python caller gives is read as the command line reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.arguments import (
    read_function,
    read_names,
    read_preprocessing,
    read_quantity,
    read_training,
    refuse_unknown,
)
from edgekit.building.request import TrainOptions
from edgekit.errors import BudgetError, DataError, UserError
from edgekit.reference import load_function, locate_reference
from edgekit.types import Preprocess


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("max_latency", "25ms", 25.0),
        ("max_latency", "800us", 0.8),
        ("max_latency", 2, 2.0),
        ("max_latency", 0.5, 0.5),
        ("max_latency", 1e-5, 1e-5),
        ("max_latency", "auto", None),
        ("max_size", "2MB", 2_000_000),
        ("max_size", 2e6, 2_000_000),
        ("max_memory", None, None),
        ("time_limit", "30m", 1800.0),
        ("time_limit", 90, 90.0),
    ],
)
def test_quantities_are_texts_or_numbers_in_the_base_unit(name: str, given: Any, value: float | None) -> None:
    assert read_quantity(name, given) == pytest.approx(value)


@pytest.mark.parametrize(
    "given", [True, -1, 0, float("nan"), float("inf"), "soon", "2 parsecs", [2], "auto "]
)
def test_what_is_no_quantity_is_told(given: Any) -> None:
    with pytest.raises(BudgetError, match="allowed"):
        read_quantity("max_latency", given)


def test_names_come_as_a_text_or_a_sequence() -> None:
    assert read_names("precision", "int8, FP32") == ("int8", "fp32")
    assert read_names("runtime", ["litert"]) == ("litert",)
    assert read_names("runtime", None) is None
    for kind, given in (("runtime", "tflow"), ("precision", "int3"), ("precision", ())):
        with pytest.raises(UserError, match="allowed: "):
            read_names(kind, given)


def test_a_function_stands_by_name_and_content() -> None:
    def score(outputs: Any, labels: Any) -> Any:
        return outputs["scores"]

    spec = read_function("metric", score)
    assert spec is not None
    assert spec.startswith("score@")
    assert load_function(spec, UserError) is score
    first = locate_reference(spec, UserError).digest

    def other() -> str | None:
        def score(outputs: Any, labels: Any) -> Any:
            return 2 * outputs["scores"]

        return read_function("metric", score)

    second = other()
    assert second is not None
    assert second != spec
    assert locate_reference(second, UserError).digest != first
    assert read_function("metric", "top5") == "top5"
    with pytest.raises(UserError, match=r"metric is a int; allowed: a function, or file.py:function"):
        read_function("metric", 3)  # type: ignore[arg-type]


def test_training_is_a_dict_of_its_options() -> None:
    options = read_training({"epochs": 3, "learning_rate": 0.1}, step="net.py:step")
    assert (options.epochs, options.learning_rate, options.step) == (3, 0.1, "net.py:step")
    assert read_training(TrainOptions(alpha=0.5)).alpha == 0.5
    held = read_training({"loss": lambda outputs, labels, guide: outputs.sum()}).loss
    assert held is not None
    assert held.startswith("<lambda>@")
    with pytest.raises(UserError, match=r"train has no 'epoch'; allowed: epochs, .*did you mean 'epochs'"):
        read_training({"epoch": 3})
    with pytest.raises(UserError, match="train is a int"):
        read_training(3)  # type: ignore[arg-type]


def test_preprocessing_is_a_dict_or_a_file(tmp_path: Path) -> None:
    how = Preprocess("nhwc", 255.0, (0.5,), (0.25, 0.5, 0.25))
    given = {"input_layout": "nhwc", "scale": 255, "mean": 0.5, "std": [0.25, 0.5, 0.25]}
    assert read_preprocessing(given) == how
    (tmp_path / "p.toml").write_text(
        'input_layout = "nhwc"\nscale = 255\nmean = 0.5\nstd = [0.25, 0.5, 0.25]\n'
    )
    assert read_preprocessing(tmp_path / "p.toml") == how
    for wrong in ({"layout": "nhwc"}, {"input_layout": "hwc"}, {"scale": "much"}, 3):
        with pytest.raises((UserError, DataError)):
            read_preprocessing(wrong)  # type: ignore[arg-type]


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(UserError, match=r"no argument 'max_latncy'; allowed: .*did you mean 'max_latency'"):
        refuse_unknown("no argument", ["max_latncy"], ["max_latency", "max_drop"])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("latency", "did you mean 'max_latency'"),
        ("dataset", "did you mean 'data'"),
        ("epochs", r"it belongs into train, as train=\{'epochs': "),
        ("lr", r"it belongs into train, as train=\{'learning_rate': "),
        ("scale", r"it belongs into preprocess, as preprocess=\{'scale': "),
        ("no_prune", "did you mean 'prune'"),
    ],
)
def test_what_others_call_an_argument_is_understood(name: str, hint: str) -> None:
    offered = ["data", "max_latency", "prune", "train", "preprocess"]
    with pytest.raises(UserError, match=hint):
        refuse_unknown("no argument", [name], [*offered, "max_latency_ms"], shown=offered)
    with pytest.raises(UserError, match=r"train has no 'lr'; .*did you mean 'learning_rate'"):
        read_training({"lr": 0.1})
