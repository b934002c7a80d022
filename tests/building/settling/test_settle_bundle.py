"""Settling a bundle on a device from here: on this machine for real, on fake boards for what goes wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.board.settled import read_settled
from edgekit.building.settling.run import SettleRequest, settle_bundle, take_settled
from edgekit.bundle import BoardIdentity, verify_bundle
from edgekit.devices import Device, make_device
from edgekit.devices.base import JobProgress
from edgekit.errors import BundleError, DeviceError, EdgekitError
from edgekit.progress import SilentReporter
from edgekit.report import write_report
from edgekit.result import Result, load_result
from edgekit.testing.fake_board import FakeBoardDevice
from edgekit.types import Budget, Origin
from tests.board.test_settle import EASY
from tests.settling import built, right_answer

QUICK = 0.1


class FakeFitBoard(FakeBoardDevice):
    """A fake board that is the target and counts its jobs; `breaks_at`: the job at which the link is lost."""

    fits: Mapping[str, Any] = {}
    breaks_at = 0
    breaks_with: type[BaseException] = DeviceError
    jobs = 0

    def describe(self) -> Mapping[str, Any]:
        return {**super().describe(), "arch": "x86_64", "features": ["avx2"], **self.fits}

    @property
    def origin(self) -> Origin:
        return "device"

    def run(
        self, job: Mapping[str, Any], *, timeout_s: float, progress: JobProgress | None = None
    ) -> Mapping[str, Any]:
        self.jobs += 1
        if self.jobs == self.breaks_at:
            raise self.breaks_with("the link was lost")
        made = dict(super().run(job, timeout_s=timeout_s, progress=progress))
        told: Mapping[str, Any] = json.loads(json.dumps({**made, "facts": self.describe()}))
        return told


class FakeEmulatedBoard(FakeFitBoard):
    """The same under emulation."""

    @property
    def origin(self) -> Origin:
        return "emulated"


def board(
    tmp_path: Path, kind: type[FakeFitBoard] = FakeFitBoard, **options: Any
) -> Callable[[str, Path], Device]:
    """What makes the one fake board of a test; it says that it has both runtimes."""
    given = {"runtimes": ("onnxruntime", "openvino"), "answer": right_answer, **options}
    made = kind(tmp_path / "board", **given)
    return lambda _name, _work: made


def fake_built(tmp_path: Path, budget: Budget = EASY) -> Path:
    identity = BoardIdentity("x86_64")
    return built(tmp_path / "out", identity=identity, budget=budget)


def request(out: Path, tmp_path: Path, **changes: Any) -> SettleRequest:
    made = SettleRequest(
        out / "bundle", out, "fake-board", tmp_path / "store", seconds=QUICK, most_threads=1, tune=False
    )
    return replace(made, **changes)


def settle(out: Path, tmp_path: Path, device_of: Any, **changes: Any) -> Result:
    settled = settle_bundle(request(out, tmp_path, **changes), SilentReporter(), device_of)
    assert settled.result is not None
    return settled.result


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_this_machine_settles_what_was_built_for_it(tmp_path: Path) -> None:
    out = built(tmp_path / "out")
    result = settle(out, tmp_path, make_device, device="local")
    assert (result.verdict, result.winner, result.settled_in) == (
        "MEETS", "onnxruntime", "candidates/onnxruntime",
    )  # fmt: skip
    assert {row.origin for row in result.candidates} == {"device"}
    assert result.established is True
    assert result.confirmed is not None
    assert load_result(out).verdict == "MEETS"
    page = write_report(result, out / "report.html").read_text(encoding="utf-8")
    assert "bundle/candidates/onnxruntime/infer.py" in page
    assert verify_bundle(out / "bundle").ok


def test_settling_again_takes_what_is_finished_and_changes_nothing(tmp_path: Path) -> None:
    out, device_of = fake_built(tmp_path), board(tmp_path)
    settle(out, tmp_path, device_of)
    before, device = contents(out), device_of("", tmp_path)
    assert device.jobs > 0  # type: ignore[attr-defined]
    jobs = device.jobs  # type: ignore[attr-defined]
    settle(out, tmp_path, device_of)
    assert device.jobs == jobs  # type: ignore[attr-defined]
    assert contents(out) == before


@pytest.mark.parametrize("how", [DeviceError, KeyboardInterrupt])
def test_what_was_finished_before_the_link_was_lost_is_not_measured_again(
    tmp_path: Path, how: type[BaseException]
) -> None:
    out, device_of = fake_built(tmp_path), board(tmp_path)
    device: Any = device_of("", tmp_path)
    device.breaks_at, device.breaks_with = 2, how  # the first job is that over all candidates
    before = contents(out)
    with pytest.raises(how):
        settle(out, tmp_path, device_of)
    assert contents(out) == before
    assert settle(out, tmp_path, device_of).verdict == "MEETS"
    assert device.jobs == 3


def test_a_budget_that_none_meets_is_a_miss_with_the_nearest(tmp_path: Path) -> None:
    out = fake_built(tmp_path, Budget(max_latency_ms=1.0))
    times = {"onnxruntime": 3.0, "openvino": 2.0}
    result = settle(out, tmp_path, board(tmp_path, latency_ms=times))
    assert (result.verdict, result.winner, result.nearest) == ("MISSES", None, "openvino")
    assert "slower than the budget" in result.explanation


def test_an_emulated_board_settles_nothing_and_says_so(tmp_path: Path) -> None:
    out = fake_built(tmp_path)
    result = settle(out, tmp_path, board(tmp_path, FakeEmulatedBoard))
    assert result.verdict == "PROVISIONAL"
    assert "only emulated" in result.explanation
    assert {row.origin for row in result.candidates} == {"emulated"}
    assert not list(out.rglob("tuned.json"))


def test_a_candidate_that_fails_on_the_board_is_a_failure_and_the_other_wins(tmp_path: Path) -> None:
    out = fake_built(tmp_path)
    result = settle(out, tmp_path, board(tmp_path, failing=["onnxruntime"]))
    assert result.winner == "openvino"
    (failure,) = result.failures
    assert (failure.candidate, failure.stage, failure.cause) == (
        "onnxruntime",
        "settle (load)",
        "said to fail",
    )
    assert next(row for row in result.candidates if row.id == "onnxruntime").latency_ms is None


def test_a_candidate_that_answers_otherwise_there_does_not_win(tmp_path: Path) -> None:
    out = fake_built(tmp_path)

    def answer(path: Path, feeds: Any) -> Any:
        right = right_answer(path, feeds)["scores"]
        return {"scores": right + (1.0 if path.suffix == ".onnx" else 0.0)}

    result = settle(out, tmp_path, board(tmp_path, answer=answer))
    assert result.winner == "openvino"
    assert result.failures[0].stage == "settle (golden)"


def test_without_the_runtimes_nothing_is_written(tmp_path: Path) -> None:
    out = fake_built(tmp_path)
    before = contents(out)
    with pytest.raises(DeviceError, match="nothing was measured: onnxruntime is not installed"):
        settle(out, tmp_path, board(tmp_path, runtimes=(), failing=["onnxruntime", "openvino"]))
    assert contents(out) == before


def test_a_machine_that_is_not_the_board_is_refused(tmp_path: Path) -> None:
    pi = BoardIdentity("aarch64", models=("Raspberry Pi 4",))
    out = built(tmp_path / "out", target="raspberry-pi-4", identity=pi)
    before = contents(out)
    for device_of, name in ((make_device, "local"), (board(tmp_path), "fake-board")):
        with pytest.raises(DeviceError, match=f"{name} is no raspberry-pi-4"):
            settle(out, tmp_path, device_of, device=name)
    assert contents(out) == before


@pytest.mark.parametrize(
    "name", ["bundle/candidates/openvino/model/model.xml", "bundle/settle.py", "bundle/board/verdict.py"]
)
def test_a_changed_bundle_is_refused_before_the_board_is_asked(tmp_path: Path, name: str) -> None:
    out = fake_built(tmp_path)
    with (out / name).open("ab") as file:
        file.write(b"\n")
    device_of = board(tmp_path)
    with pytest.raises(BundleError, match="was changed"):
        settle(out, tmp_path, device_of)
    assert device_of("", tmp_path).jobs == 0  # type: ignore[attr-defined]


def test_a_bundle_of_one_artifact_has_nothing_to_settle(tmp_path: Path) -> None:
    out = fake_built(tmp_path)
    with pytest.raises(BundleError, match="nothing to settle"):
        settle(out, tmp_path, board(tmp_path), bundle=out / "bundle/candidates/openvino")


def test_a_result_of_another_build_is_refused(tmp_path: Path) -> None:
    out = fake_built(tmp_path)
    other = built(tmp_path / "other", budget=Budget(max_latency_ms=2.0))
    shutil.copy(other / "result.json", out / "result.json")
    before = contents(out)
    with pytest.raises(BundleError, match="not of the build"):
        settle(out, tmp_path, board(tmp_path))
    assert contents(out) == before


def test_a_bundle_alone_is_settled_without_a_result(tmp_path: Path) -> None:
    out = fake_built(tmp_path)
    (out / "result.json").unlink()
    alone = replace(request(out, tmp_path), out=None)
    settled = settle_bundle(alone, SilentReporter(), board(tmp_path))
    assert settled.result is None
    assert settled.answer["verdict"] == "MEETS"
    assert (out / "bundle/settled.json").is_file()


# ---- tuning on a device ------------------------------------------------------------------------------------

SLOW = {
    name: 2.0
    for one in ("onnxruntime", "openvino")
    for name in (one, *(f"{one}+{place}" for place in range(4)))
}


def test_a_setting_that_is_surely_faster_is_kept_and_recorded(tmp_path: Path) -> None:
    out = fake_built(tmp_path)
    times = {**SLOW, "onnxruntime+1": 1.0, "onnxruntime+tuned": 1.0}
    result = settle(out, tmp_path, board(tmp_path, latency_ms=times), tune=True)
    row = next(row for row in result.candidates if row.id == "onnxruntime")
    assert row.latency_ms is not None
    assert row.latency_ms.p50 < 1.1
    assert "It runs tuned: graph_optimization_level=ORT_ENABLE_BASIC." in result.explanation
    tuned = json.loads((out / "bundle/candidates/onnxruntime/tuned.json").read_text())
    assert tuned["options"] == {"graph_optimization_level": "ORT_ENABLE_BASIC"}
    assert not (out / "bundle/candidates/openvino/tuned.json").exists()
    assert verify_bundle(out / "bundle", run=False).ok


def test_a_setting_that_seemed_faster_by_chance_is_given_up(tmp_path: Path) -> None:
    out = fake_built(tmp_path)
    times = {**SLOW, "onnxruntime+1": 1.0, "onnxruntime+tuned": 2.0}
    result = settle(out, tmp_path, board(tmp_path, latency_ms=times), tune=True)
    assert "tuned" not in result.explanation
    assert not list(out.rglob("tuned.json"))


# ---- what a board wrote by itself --------------------------------------------------------------------------


def test_what_a_board_wrote_is_taken_over(tmp_path: Path) -> None:
    out = fake_built(tmp_path)
    as_built = (out / "result.json").read_bytes()
    there = settle(out, tmp_path, board(tmp_path))
    (out / "result.json").write_bytes(as_built)
    carried = tmp_path / "settled.json"
    (out / "bundle/settled.json").rename(carried)
    assert take_settled(out, out / "bundle", carried) == there
    assert take_settled(out, out / "bundle", carried) == there


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"winner": "openvino"}, "digest does not match"),
        ({"verdict": "MISSES"}, "digest does not match"),
    ],
)
def test_a_settled_json_that_was_changed_is_refused(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    out = fake_built(tmp_path)
    settle(out, tmp_path, board(tmp_path))
    path = out / "bundle/settled.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    before = (out / "result.json").read_bytes()
    with pytest.raises(BundleError, match=told):
        take_settled(out, out / "bundle", path)
    assert (out / "result.json").read_bytes() == before


def test_an_old_settled_json_is_read_and_holds_too_little_for_a_report(tmp_path: Path) -> None:
    out = fake_built(tmp_path)
    old = {
        "schema": 1, "target": "generic-cpu", "verdict": "MEETS", "winner": "openvino", "not_the_board": [],
        "not_installed": {}, "candidates": [], "facts": {}, "notes": [], "established": True,
    }  # fmt: skip
    path = tmp_path / "settled.json"
    path.write_text(json.dumps(old))
    facts = json.loads((out / "bundle/manifest.json").read_text())
    facts.pop("digest")
    assert read_settled(str(path), facts)["winner"] == "openvino"
    with pytest.raises(BundleError, match="of an older edgekit"):
        take_settled(out, out / "bundle", path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 10_000, '{"schema": 1, "verdict": "MEETS"}'])
def test_what_is_no_settled_json_is_one_line(tmp_path: Path, content: str) -> None:
    out = fake_built(tmp_path)
    path = tmp_path / "settled.json"
    path.write_text(content)
    with pytest.raises(EdgekitError) as refused:
        take_settled(out, out / "bundle", path)
    assert "\n" not in str(refused.value)
