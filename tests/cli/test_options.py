"""CPUs and preprocessing as people write them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from edgekit.cli.options import parse_cpus, preprocess_options, read_preprocess
from edgekit.errors import DataError, UserError
from edgekit.types import Preprocess

READ = click.command()(preprocess_options(lambda **given: read_preprocess(given)))


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", (0,)), ("0,2", (0, 2)), ("0-2", (0, 1, 2)), ("none", ()), ("2,0,0", (0, 2))]
)
def test_cpus(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpus(text, [0, 1, 2]) == cpus


@pytest.mark.parametrize("text", ["", "7", "a", "2-0", "-1", "0-99999999999"])
def test_cpus_that_are_not_there_are_told(text: str) -> None:
    with pytest.raises(UserError, match="of 0,1,2"):
        parse_cpus(text, [0, 1, 2])


def test_without_options_samples_stay_as_they_are() -> None:
    assert read_preprocess({}) == Preprocess()


def test_options_become_preprocessing() -> None:
    options = {
        "input_layout": "nhwc",
        "scale": "255",
        "mean": "0.5,0.4,0.3",
        "std": "0.2",
        "resize": 40,
        "crop": 32,
    }
    assert read_preprocess(options) == Preprocess("nhwc", 255.0, (0.5, 0.4, 0.3), (0.2,), 40, 32)


def test_an_option_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('input_layout = "nhwc"\nscale = 255.0\n')
    found = read_preprocess({"preprocess": tmp_path / "p.toml", "scale": "2"})
    assert (found.input_layout, found.scale) == ("nhwc", 2.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mean": "a,b"}, "--mean 'a,b'"),
        ({"mean": "1,,2"}, "--mean"),
        ({"std": "inf"}, "--std"),
        ({"std": "0.1,0"}, "divisor of 0"),
        ({"scale": "0"}, "divisor of 0"),
        ({"scale": "1,2"}, "one number"),
        ({"mean": "1,2,3", "std": "1,2"}, "3 values, --std 2"),
    ],
)
def test_options_that_make_no_preprocessing_are_told(options: dict[str, str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_preprocess(options)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--resize", "640x480", "--letterbox", "114"], {"resize": (640, 480), "letterbox": 114}),
        (["--resize", "640x480", "--letterbox"], {"resize": (640, 480), "letterbox": 114}),
        (
            ["--resize", "256", "--crop", "320x240", "--channels", "bgr"],
            {"resize": 256, "crop": (320, 240), "channels": "bgr"},
        ),
    ],
)
def test_preprocessing_of_detectors_is_read(options: list[str], wanted: dict[str, object]) -> None:
    preprocess = READ.main(options, standalone_mode=False)
    assert {name: getattr(preprocess, name) for name in wanted} == wanted


@pytest.mark.parametrize("size", ["0", "640x", "640*480", "x480", "-3"])
def test_a_size_that_is_none_is_told(size: str) -> None:
    with pytest.raises(click.BadParameter, match="allowed: pixels, as 224, or width x height, as 640x480"):
        READ.main(["--resize", size], standalone_mode=False)


@pytest.mark.parametrize("text", ["1/255", "255,255", "", "nan"])
def test_a_scale_that_is_none_is_told_with_what_it_does(text: str) -> None:
    with pytest.raises(DataError, match="one number that samples are divided by: 255 makes 0 to 1"):
        read_preprocess({"scale": text})


def test_layouts_and_channels_are_read_in_either_case() -> None:
    found = READ.main(["--input-layout", "NHWC", "--channels", "BGR"], standalone_mode=False)
    assert (found.input_layout, found.channels) == ("nhwc", "bgr")
