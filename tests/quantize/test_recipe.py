from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import RecipeError
from edgekit.quantize import all_recipes, at_share, find_recipe, ladder, load_recipe_file

PLAIN = 'name = "mine"\ntitle = "T"\nbackends = ["onnxruntime"]\nobserver = "mse"\n'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither the user's config folder nor the current folder holds recipes."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path, text: str, name: str = "mine") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_every_shipped_recipe_loads_and_its_ladder_ends() -> None:
    recipes = all_recipes()
    assert {"int8-minmax", "int8-mse", "int8-percentile", "int8-entropy", "int8-mixed", "int8-nncf"} <= {
        recipe.name for recipe in recipes
    }
    for recipe in recipes:
        assert ladder(recipe.name)[-1].next == ""


def test_a_ladder_stays_with_the_backends_of_its_first_step() -> None:
    for recipe in all_recipes():
        assert all(set(recipe.backends) <= set(step.backends) for step in ladder(recipe.name))


def test_the_ladder_ends_with_layers_in_float() -> None:
    assert ladder("int8-minmax")[-1].keep_float > 0
    assert ladder("int8-nncf")[-1].keep_float > 0


def test_a_recipe_in_the_project_folder_is_found(tmp_path: Path) -> None:
    written(tmp_path / "project" / "calibration", PLAIN)
    assert find_recipe("mine", tmp_path / "project").observer == "mse"


def test_a_project_overrides_a_shipped_recipe(tmp_path: Path) -> None:
    written(tmp_path / "calibration", PLAIN.replace("mine", "int8-minmax"), "int8-minmax")
    assert find_recipe("int8-minmax", tmp_path).observer == "mse"


def test_an_unknown_recipe_gets_the_nearest_names() -> None:
    with pytest.raises(RecipeError, match="did you mean int8-mse"):
        find_recipe("int8-msee")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN + "colour = 1\n", r"mine\.toml.*colour.*allowed: name, title"),
        (PLAIN.replace('"mse"', '"mean"'), r"observer.*allowed: minmax, percentile"),
        (PLAIN + 'granularity = "per-row"\n', r"granularity.*allowed: per-channel, per-tensor"),
        (PLAIN + 'bias_correction = "some"\n', r"bias_correction.*allowed: none, fast, full"),
        (PLAIN.replace('"onnxruntime"', '"caffe"'), r"backends.*allowed: onnxruntime"),
        (
            PLAIN.replace('"onnxruntime"', '"openvin"'),
            r'backends names "openvin"; .*; did you mean openvino\?',
        ),
        (PLAIN.replace('"onnxruntime"', "3"), r"backends"),
        (PLAIN.replace('["onnxruntime"]', "[]"), r"backends is empty"),
        (PLAIN + "samples = 3\n", r"samples is 3; allowed: at least 16"),
        (PLAIN + 'samples = "many"\n', r"samples"),
        (PLAIN + "percentile = 10.0\n", r"percentile is 10; allowed"),
        (PLAIN + "keep_float = -1.0\n", r"keep_float is -1; allowed"),
        (PLAIN + "keep_float = 2.5\n", r"keep_float is 2\.5; allowed"),
        (
            PLAIN + "keep_float = 0.1\nfloat_time = -0.5\n",
            r"float_time is -0\.5; allowed: 0, or a share of the time",
        ),
        (
            PLAIN + "float_time = 0.1\n",
            r"float_time is 0\.1 beside keep_float = 0; allowed: keep_float above 0",
        ),
        (
            PLAIN + "keep_float = 0.1\nmost_float_time = 0.5\n",
            r"most_float_time is 0\.5 beside float_time = 0; allowed: 0, or a share from float_time on",
        ),
        (
            PLAIN + "keep_float = 0.1\nfloat_time = 0.3\nmost_float_time = 0.2\n",
            r"most_float_time is 0\.2 beside float_time = 0\.3",
        ),
        (PLAIN + 'float_as = "fp8"\n', "allowed: fp32, fp16, bf16"),
        (PLAIN + "smooth = 1.5\n", r"smooth is 1\.5; allowed: 0 for none, or a share up to 1"),
        (PLAIN + 'rounding = "up"\n', r"rounding.*allowed: nearest, adaptive"),
        (PLAIN + "equalise = true\n", r"equalise.*allowed: name, title"),
        (
            PLAIN + 'affine = true\ngranularity = "per-tensor"\n',
            r"affine is true; allowed: false, or granularity",
        ),
        (
            PLAIN.replace('"mse"', '"trained"') + "equalize = true\n",
            r"a repair \(equalize, smooth, rounding, affine\); allowed: none with observer = .trained.",
        ),
        (PLAIN + 'next = "mine"\n', r"next is .mine."),
        (PLAIN.replace('"mine"', '"other"'), r"name is .other."),
        (PLAIN.replace('title = "T"\n', ""), r"title"),
        ("name = ", r"not TOML"),
    ],
)
def test_a_recipe_that_breaks_the_schema_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe_file(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe_file(tmp_path / "none.toml")


def test_a_ladder_in_a_circle_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "calibration", PLAIN + 'next = "yours"\n')
    written(tmp_path / "calibration", PLAIN.replace("mine", "yours") + 'next = "mine"\n', "yours")
    with pytest.raises(RecipeError, match="circle"):
        ladder("mine", tmp_path)


@pytest.mark.parametrize(("keep", "layers"), [("0.0", 0), ("0.1", 2), ("0.01", 1), ("3.0", 3), ("99.0", 20)])
def test_layers_in_float_are_a_share_or_a_count(tmp_path: Path, keep: str, layers: int) -> None:
    recipe = load_recipe_file(written(tmp_path, PLAIN + f"keep_float = {keep}\n"))
    assert recipe.layers_in_float(20) == layers


def test_a_recipe_at_a_share_of_the_time_is_named_by_it(tmp_path: Path) -> None:
    recipe = find_recipe("int8-mixed-at-12")
    base = find_recipe("int8-mixed")
    assert (recipe.name, recipe.float_time, recipe.most_float_time, recipe.next) == (
        "int8-mixed-at-12",
        0.12,
        0.0,
        "",
    )
    assert (recipe.observer, recipe.keep_float) == (base.observer, base.keep_float)
    assert recipe == at_share(base, 12)
    written(tmp_path / "calibration", PLAIN.replace('"mine"', '"int8-mixed-at-12"'), "int8-mixed-at-12")
    assert find_recipe("int8-mixed-at-12", tmp_path).title == "T", "a file of that name comes first"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("int8-mixed-at-0", "allowed: int8-mixed-at-1 to int8-mixed-at-100"),
        ("int8-mixed-at-101", "allowed: int8-mixed-at-1 to"),
        ("int8-mixed-at-2.5", "allowed: int8-mixed-at-1 to"),
        ("int8-mixed-at-\u0663", "allowed: int8-mixed-at-1 to"),
        ("int8-mse-at-12", "int8-mse leaves no layers in float; did you mean int8-mse"),
        ("nothing-at-12", 'no recipe "nothing-at-12"'),
    ],
)
def test_a_share_that_there_is_not_is_refused(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        find_recipe(name)
