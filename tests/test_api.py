"""The front door in Python: a network, a data set and functions as objects; a result and a bundle that one can use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit import api
from edgekit.errors import BudgetError, BundleError, Interrupted, MissingExtraError, UserError
from edgekit.progress import SilentReporter
from edgekit.report.progress import RichReporter

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("PIL")

CLASSES = ("dark", "light", "red")


class Colours(torch.utils.data.Dataset):
    """Noisy images of 8 x 8, uint8 [H, W, 3], of one of three colours."""

    def __init__(self, count: int = 240) -> None:
        chance = np.random.default_rng(0)
        self.labels = chance.integers(0, 3, count)
        base = np.array([[40, 40, 40], [200, 200, 200], [200, 40, 40]])[self.labels]
        noise = chance.integers(-30, 31, (count, 8, 8, 3))
        self.labels[::20] = (self.labels[::20] + 1) % 3  # no network is right about all of them
        self.images = np.clip(base[:, None, None] + noise, 0, 255).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.images[index], int(self.labels[index])


class Net(torch.nn.Module):
    """Nearest of the three colours."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = torch.nn.AdaptiveAvgPool2d(1)
        self.head = torch.nn.Linear(3, 3)
        centres = torch.tensor([[40.0, 40, 40], [200, 200, 200], [200, 40, 40]]) / 255
        with torch.no_grad():
            self.head.weight.copy_(2 * centres)
            self.head.bias.copy_(-(centres**2).sum(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(image).flatten(1))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


def call(work: Path, **options: Any) -> edgekit.result.Result:
    given: dict[str, Any] = {
        "target": "generic-cpu",
        "model": Net(),
        "data": Colours(),
        "preprocess": {"input_layout": "nhwc", "scale": 255},
        "classes": CLASSES,
        "max_latency": "50ms",
        "max_drop": "5%",
        "runtime": "onnxruntime",
        "precision": "fp32",
        "prune": False,
        "timed_s": 0.3,
        "repeat": False,
        "out": work / "out",
        "store": work / "store",
    }
    return edgekit.build(**{**given, **options})


@pytest.fixture(scope="module")
def result(work: Path) -> edgekit.result.Result:
    """A build from a data set and a metric of its own."""
    share = 2.0

    def doubled(outputs: Any, labels: Any) -> Any:
        return share * (outputs["output"].argmax(1) == labels)

    return call(work, metric=doubled)


def test_a_live_network_a_data_set_and_a_function_are_built(result: edgekit.result.Result) -> None:
    assert (result.verdict, result.winner) == ("MEETS", "original-ort-fp32")
    assert result.claim is not None
    assert result.claim.metric.startswith("doubled@")
    assert 1.6 < result.claim.value < 2.0


def test_another_function_of_the_same_name_scores_anew(work: Path, result: edgekit.result.Result) -> None:
    def doubled(outputs: Any, labels: Any) -> Any:
        return 3.0 * (outputs["output"].argmax(1) == labels)

    again = call(work, metric=doubled, out=work / "again")
    assert again.claim is not None
    assert result.claim is not None
    assert again.claim.value == pytest.approx(1.5 * result.claim.value)


def test_a_result_is_read_at_a_glance(work: Path, result: edgekit.result.Result) -> None:
    lines = repr(result).splitlines()
    assert lines[0] == "edgekit: MEETS on generic-cpu"
    assert len(lines) <= 10
    assert f"bundle    {work / 'out' / 'bundle'}" in lines
    shown = result._repr_html_()
    assert "MEETS on generic-cpu" in shown
    assert len(shown) < 20_000
    table = result.table()
    assert list(table["id"]) == ["original-ort-fp32"]
    assert list(table["chosen"]) == [True]


def test_a_table_needs_no_pandas(result: edgekit.result.Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.result.find_spec", lambda name: None)
    (row,) = result.table()
    assert (row["id"], row["runtime"], row["chosen"]) == ("original-ort-fp32", "onnxruntime", True)


@pytest.mark.parametrize("where", ["out", "out/result.json"])
def test_a_result_is_loaded_by_a_text(work: Path, result: edgekit.result.Result, where: str) -> None:
    loaded = edgekit.load_result(str(work / where))
    assert loaded == result
    assert loaded.bundle == work / "out" / "bundle"


@pytest.mark.parametrize("kind", ["result", "out", "bundle"])
def test_a_bundle_answers_what_the_build_was_fed(
    work: Path, result: edgekit.result.Result, kind: str
) -> None:
    from PIL import Image

    data = Colours()
    given = {"result": result, "out": str(work / "out"), "bundle": work / "out" / "bundle"}[kind]
    with edgekit.load(given) as model:
        batch = model.predict(data.images[:6])["output"]
        Image.fromarray(data.images[0]).save(work / "first.png")
        single = model.predict(work / "first.png")["output"]
        assert model.labels == list(CLASSES)
    np.testing.assert_array_equal(batch.argmax(1)[1:], data.labels[1:6])
    np.testing.assert_array_equal(single, batch[0])


def test_what_is_no_bundle_is_told(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match=r"manifest.json is missing"):
        edgekit.load(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="onnxruntime"):
        edgekit.load(work / "out")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_latncy": "2ms"}, UserError, "build.. has no argument 'max_latncy'; .*did you mean 'max_latency"),
        ({"latency": "2ms"}, UserError, "allowed: max_latency, max_drop, .*did you mean 'max_latency'"),
        ({"epochs": 3}, UserError, "no argument 'epochs'; .*it belongs into train, as train={'epochs': "),
        ({"device": "cuda"}, UserError, 'where networks are trained is .*train={"device": "cuda"}'),
        ({"reporter": "line"}, UserError, "reporter is 'line'; allowed: \"lines\""),
        ({"model": Net}, UserError, "model is the class Net"),
        ({"loss": torch.nn.CrossEntropyLoss}, UserError, "is a class"),
        ({"max_latency": "2 parsecs"}, BudgetError, "'2 parsecs' is not a latency; allowed: a number above 0"),
        ({"max_latency": "2ms", "max_latency_ms": 2.0}, BudgetError, "max_latency and max_latency_ms are both given"),
        ({"max_drop": 1}, BudgetError, "can be read as 1% or as 100%"),
        ({"percentile": "p95"}, BudgetError, "percentile"),
        ({"precision": "int3"}, UserError, "'int3' is not a precision; allowed: "),
        ({"runtime": "tflow"}, UserError, "'tflow' is not a runtime; allowed: "),
        ({"train": {"epoch": 1}}, UserError, "train has no 'epoch'"),
        ({"train": {"epochs": -1}}, UserError, "epochs is -1"),
        ({"preprocess": {"scale": 0}}, UserError, "scale is 0"),
        ({"metric": "top3"}, UserError, "top3"),
        ({"metric": 5}, UserError, "metric is a int"),
        ({"data": 5}, UserError, "gave a int"),
        ({"threads": 0}, UserError, "threads is 0"),
        ({"time_limit": "0s"}, BudgetError, "is not a duration"),
        ({"target": "raspberry-pi"}, UserError, "raspberry-pi"),
        ({"model": 5}, UserError, "int"),
        ({"weights": "w.pt"}, UserError, "weights are given beside a live"),
        ({"weights_prefix": "model."}, UserError, "weights are given beside a live"),
        ({"model": "net.py:make", "weights_prefix": 5}, UserError, "weights_prefix is a int; allowed: a text"),
        ({"model": "net.py:make", "weights_key": "ema"}, UserError, "--weights-key ema without --weights"),
    ],
)  # fmt: skip
def test_every_argument_is_checked_before_any_work(
    tmp_path: Path, options: dict[str, Any], error: type[UserError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        call(tmp_path, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_progress_is_drawn_where_somebody_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(api._default_reporter(quiet=False), SilentReporter)  # a pipe
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(api._default_reporter(quiet=False), RichReporter)
    assert isinstance(api._default_reporter(quiet=True), SilentReporter)


def test_a_preview_says_the_plan_in_words_and_writes_no_build(work: Path) -> None:
    plan = edgekit.preview(
        target="raspberry-pi-4",
        model=Net(),
        data=Colours(),
        preprocess={"input_layout": "nhwc", "scale": 255},
        max_latency="2",
        runtime="onnxruntime",
        prune=False,
        out=work / "planned",
        store=work / "store",
    )
    told = repr(plan)
    assert told.startswith("PLAN  raspberry-pi-4")
    assert "p90 latency ≤ 2 ms" in told
    assert f"top1 {plan.original.value:.2%}" in told
    assert not (work / "planned").exists()


def test_the_arguments_of_a_preview_are_those_of_a_build() -> None:
    with pytest.raises(TypeError, match="'target'"):
        edgekit.preview(model=Net(), data=Colours())
    with pytest.raises(UserError, match=r"build\(\) has no argument 'plan'; edgekit\.preview"):
        call(Path(), plan=True)


@pytest.mark.parametrize("bundle", [3, None, ["out"]])
def test_what_is_no_bundle_at_all_is_told_in_one_line(bundle: Any) -> None:
    with pytest.raises(
        BundleError, match=r"^load.. is given a (int|NoneType|list); allowed: .* output folder"
    ) as caught:
        edgekit.load(bundle)
    assert "\n" not in str(caught.value)


def test_an_interrupted_build_ends_without_what_was_interrupted(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgekit.building.run.opened", stop)
    with pytest.raises(Interrupted, match="the same command goes on from there") as caught:
        call(work)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
