"""Power where a board tells it, and the energy of an inference beyond the idle board's: absent, never zero."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.board.energy import (
    CommandMeter,
    HwmonMeter,
    Meter,
    MeterError,
    RaplMeter,
    Recorder,
    energy_mj,
    find_meter,
    mean_watts,
    told,
)
from edgekit.testing.fake_sensors import FakeSensors
from tests.board.test_coordinator import entry, run
from tests.devices.models import write_classifier

INA = "sys/class/hwmon/hwmon1/"
RAPL = "sys/class/powercap/intel-rapl:0/"


def fake_rapl(root: Path, counted: int, span: int = 262143328850) -> FakeSensors:
    board = FakeSensors(root, "raspberry-pi-4")
    board.write(RAPL + "name", "package-0")
    board.write(RAPL + "energy_uj", str(counted))
    board.write(RAPL + "max_energy_range_uj", str(span))
    return board


def test_a_jetsons_input_rail_is_the_whole_modules_power(tmp_path: Path) -> None:
    FakeSensors(tmp_path, "jetson-orin-nano")
    meter = find_meter(str(tmp_path))
    assert meter.source == "hwmon, VDD_IN"
    assert meter.watts() == pytest.approx(4.984)


def test_without_an_input_rail_all_rails_count_but_not_the_sum_of_shunts(tmp_path: Path) -> None:
    board = FakeSensors(tmp_path, "jetson-orin-nano")
    board.remove(INA + "in1_*")
    meter = HwmonMeter(str(tmp_path))
    assert meter.source == "hwmon, VDD_CPU_GPU_CV + VDD_SOC"
    assert meter.watts() == pytest.approx(4.976 * (0.320 + 0.296))


def test_a_power_that_a_monitor_gives_itself_is_taken(tmp_path: Path) -> None:
    board = FakeSensors(tmp_path, "raspberry-pi-4")
    board.write(INA + "name", "ina226")
    board.write(INA + "power1_input", "3250000")
    assert HwmonMeter(str(tmp_path)).watts() == 3.25


def test_a_rail_that_falls_silent_tells_no_power(tmp_path: Path) -> None:
    board = FakeSensors(tmp_path, "jetson-orin-nano")
    meter = find_meter(str(tmp_path))
    board.write(INA + "curr1_input", "")
    assert meter.watts() is None


def test_a_counter_that_wraps_around_goes_on(tmp_path: Path) -> None:
    board = fake_rapl(tmp_path, counted=262143000000)
    meter = RaplMeter(str(tmp_path))
    assert meter.joules() == 0
    board.write(RAPL + "energy_uj", "671150")
    assert meter.joules() == pytest.approx(1.0)


def test_a_counter_for_root_alone_is_no_meter(tmp_path: Path) -> None:
    fake_rapl(tmp_path, counted=0).write(RAPL + "energy_uj", "")
    with pytest.raises(MeterError, match="root alone"):
        RaplMeter(str(tmp_path))


def test_a_board_that_tells_no_power_says_so(tmp_path: Path) -> None:
    FakeSensors(tmp_path, "raspberry-pi-4")
    with pytest.raises(MeterError, match=r"no power monitor.*; no RAPL"):
        find_meter(str(tmp_path))


@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("print('hot')", "no number"),
        ("print('nan')", "no number"),
        ("print(-3)", "no number"),
        ("pass", "no number"),
        ("raise SystemExit(3)", "exit code 3"),
    ],
)
def test_a_users_meter_that_prints_no_watts_is_refused(code: str, match: str) -> None:
    with pytest.raises(MeterError, match=match):
        CommandMeter([sys.executable, "-c", code])


def test_a_users_meter_that_is_not_there_is_refused() -> None:
    with pytest.raises(MeterError, match="cannot be run"):
        CommandMeter(["no-such-meter"])


def test_a_users_meter_comes_before_the_boards(tmp_path: Path) -> None:
    FakeSensors(tmp_path, "jetson-orin-nano")
    meter = find_meter(str(tmp_path), [sys.executable, "-c", "print('7.5 W')"])
    assert meter.watts() == 7.5


def test_uneven_samples_count_by_their_length() -> None:
    assert mean_watts([(0.0, 2.0), (3.0, 2.0), (4.0, 6.0)]) == pytest.approx((3 * 2.0 + 1 * 4.0) / 4)


class FakeMeter(Meter):
    """Tells what it is given."""

    source = "a fake meter"

    def __init__(self, watts: float | None) -> None:
        self.value = watts

    def watts(self) -> float | None:
        return self.value


def test_a_recorder_gives_joules_and_ends_its_thread() -> None:
    threads = threading.active_count()
    recorder = Recorder(FakeMeter(4.0), rate_hz=200.0)
    time.sleep(0.1)
    passed_s, joules = recorder.stop()
    assert joules == pytest.approx(4.0 * passed_s)
    assert threading.active_count() == threads


def test_a_meter_that_fails_gives_no_joules() -> None:
    recorder = Recorder(FakeMeter(None), rate_hz=200.0)
    time.sleep(0.05)
    assert recorder.stop()[1] is None


def test_idle_power_is_subtracted_and_said() -> None:
    row = told([(1.0, 6.0, 100), (1.0, 6.2, 100), (1.0, 6.1, 100)], (2.0, 4.0), "x")
    assert row["value_mj"] == pytest.approx(41.0)
    assert row["idle_watts"] == 2.0
    assert row["low_mj"] < 41.0 < row["high_mj"]


@pytest.mark.parametrize(
    ("rounds", "idle"),
    [
        ([(1.0, 2.0, 100), (1.0, 2.01, 100)], (1.0, 2.0)),
        ([(1.0, None, 100), (1.0, 6.0, 100)], (1.0, 2.0)),
        ([(1.0, 6.0, 100)], (1.0, None)),
        ([], (1.0, 2.0)),
    ],
)
def test_what_is_not_known_is_absent_with_its_reason(rounds: Any, idle: Any) -> None:
    assert set(told(rounds, idle, "x")) == {"reason"}


rounds_of = st.lists(
    st.tuples(st.floats(0.1, 10), st.floats(0, 1000), st.integers(1, 10000)), min_size=1, max_size=12
)


@given(rounds_of, st.floats(0, 50))
def test_an_energy_is_above_zero_within_its_interval_or_absent(rounds: Any, idle_watts: float) -> None:
    energy = energy_mj(rounds, idle_watts)
    if energy is not None:
        assert 0 < energy.low <= energy.value <= energy.high


@given(rounds_of, st.floats(0, 5), st.floats(0.1, 5))
def test_a_higher_idle_power_never_gives_more_energy(rounds: Any, idle_watts: float, more: float) -> None:
    first, second = energy_mj(rounds, idle_watts), energy_mj(rounds, idle_watts + more)
    if first is not None and second is not None:
        assert second.value < first.value


def test_a_job_tells_why_there_is_no_energy(tmp_path: Path) -> None:
    net = write_classifier(tmp_path / "net.onnx")
    FakeSensors(tmp_path / "pi", "raspberry-pi-4")
    short = {"seconds": 0.6, "rounds": 2, "idle_s": 0.3}
    silent = run(tmp_path / "work", [entry(net)], root=str(tmp_path / "pi"), energy=short)["entries"]["a"]
    assert "no power monitor" in silent["energy"]["reason"]
    command = {**short, "meter": ["echo", "5"]}
    steady = run(tmp_path / "work", [entry(net)], root=str(tmp_path / "pi"), energy=command)["entries"]["a"]
    assert "cannot be told from the idle board's 5 W" in steady["energy"]["reason"]


def test_a_job_gives_the_energy_beyond_that_of_the_idle_board(tmp_path: Path) -> None:
    net, watts = write_classifier(tmp_path / "net.onnx"), tmp_path / "watts"
    watts.write_text("2")
    told: list[str] = []

    def act(stage: str, _entry: str, _done: int, _total: int) -> None:
        told.extend([stage] * (stage == "energy"))
        if len(told) == 2:  # the idle board has been measured
            watts.write_text("9")

    asked = {"seconds": 3.0, "rounds": 3, "idle_s": 0.4, "meter": ["cat", str(watts)]}
    energy = run(tmp_path / "work", [entry(net)], act, energy=asked)["entries"]["a"]["energy"]
    assert energy["idle_watts"] == pytest.approx(2.0)
    assert 0 < energy["low_mj"] <= energy["value_mj"] <= energy["high_mj"]
    assert energy["source"] == "the command cat"


def test_a_job_without_energy_reads_no_meter(tmp_path: Path) -> None:
    assert (
        "energy"
        not in run(tmp_path / "work", [entry(write_classifier(tmp_path / "net.onnx"))])["entries"]["a"]
    )
