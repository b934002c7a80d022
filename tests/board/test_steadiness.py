"""The certificate of steadiness, on fake boards: throttled is never clean, idle is never throttled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.board.sensors import Sensors
from edgekit.board.steadiness import Round, WatchedRounds, certify, has_cooled, is_unsteady
from edgekit.testing.fake_sensors import FAKE_BOARDS, UNREADABLE, FakeSensors

ROUNDS = 8
Act = Callable[[FakeSensors, int], None]
every_board = pytest.mark.parametrize("board", FAKE_BOARDS)


def nothing(_board: FakeSensors, _index: int) -> None:
    pass


def watch(
    root: Path, board: str, act: Act = nothing, *, timed_s: float = 0.4, slope: float = 0.0, **more: Any
) -> dict[str, Any]:
    """The certificate of a run on a fake board: idle, then rounds under load, then idle. `act` runs in each round."""
    fake = more.pop("fake", None) or FakeSensors(root, board)
    sensors = Sensors(str(root))
    before, rounds = sensors.read(), []
    for index in range(ROUNDS):
        fake.load()
        act(fake, index)
        clocks = sensors.under_load()
        if more.get("idle_between", True):
            fake.clock(fake.board.idle_khz)
        median_ms = 2.0 * (1 + slope * index) + 0.001 * (index % 3)
        rounds.append(Round("a", median_ms, timed_s, clocks, sensors.read()))
    return certify(WatchedRounds(before, rounds, sensors.read(), more.get("own_s", 0.0)), "a")


@every_board
def test_a_quiet_board_that_tells_all_is_clean(tmp_path: Path, board: str) -> None:
    certificate = watch(tmp_path, board)
    assert certificate["state"] == "clean"
    assert certificate["reasons"] == []
    assert len(certificate["timeline"]) == ROUNDS
    assert certificate["timeline"][0]["clock_mhz"] == FAKE_BOARDS[board].highest_khz / 1000


@pytest.mark.parametrize(("board", "sensor", "pattern"), UNREADABLE)
def test_each_unreadable_sensor_leaves_it_unknown(
    tmp_path: Path, board: str, sensor: str, pattern: str
) -> None:
    fake = FakeSensors(tmp_path, board)
    writes = fake.write
    fake.remove(pattern)
    if sensor == "clock":
        fake.write = lambda name, text: None if name.endswith("scaling_cur_freq") else writes(name, text)  # type: ignore[method-assign]
    certificate = watch(tmp_path, board, fake=fake)
    assert certificate["state"] == "unknown"
    assert sensor in certificate["reasons"][0]


@every_board
def test_a_sensor_that_is_lost_on_the_way_leaves_it_unknown(tmp_path: Path, board: str) -> None:
    def lose(fake: FakeSensors, index: int) -> None:
        if index == 4:
            fake.remove("sys/class/thermal/thermal_zone*/temp")

    certificate = watch(tmp_path, board, lose)
    assert certificate["state"] == "unknown"
    assert "temperature could not be read all the time" in certificate["reasons"][0]


def in_round(place: int, act: Callable[[FakeSensors], None]) -> Act:
    return lambda fake, index: act(fake) if index == place else None


THROTTLING: dict[str, tuple[str, Act]] = {
    "a flag of a Pi 4": ("raspberry-pi-4", in_round(3, lambda fake: fake.flags(0x4))),
    "a flag of a Pi 5": ("raspberry-pi-5", in_round(3, lambda fake: fake.flags(0x8))),
    "too low a voltage": ("raspberry-pi-4", in_round(0, lambda fake: fake.flags(0x1))),
    "between two readings": ("raspberry-pi-4", in_round(7, lambda fake: fake.flags(0x40000))),
    "a throttle alert": ("jetson-orin-nano", in_round(5, lambda fake: fake.limit("cpu-throttle-alert", 1))),
    "over-current": (
        "jetson-orin-nano", in_round(2, lambda fake: fake.write("sys/class/hwmon/hwmon3/oc3_event_cnt", "4"))
    ),
    "a lower limit of the kernel": ("raspberry-pi-4", in_round(6, lambda fake: fake.allow(1500000))),
    "a cooling device": ("raspberry-pi-4", in_round(6, lambda fake: fake.limit("cpufreq-cpu0", 2))),
    "a slower clock under load": ("raspberry-pi-5", in_round(6, lambda fake: fake.clock(1500000))),
}  # fmt: skip


@pytest.mark.parametrize("kind", THROTTLING)
def test_throttling_in_one_round_is_told(tmp_path: Path, kind: str) -> None:
    board, act = THROTTLING[kind]
    certificate = watch(tmp_path, board, act)
    assert certificate["state"] == "throttled"
    assert certificate["reasons"]
    assert is_unsteady(certificate)


def test_throttling_is_told_though_other_sensors_are_silent(tmp_path: Path) -> None:
    fake = FakeSensors(tmp_path, "raspberry-pi-4")
    fake.remove("proc/stat")
    certificate = watch(tmp_path, "raspberry-pi-4", in_round(1, lambda board: board.flags(0x2)), fake=fake)
    assert certificate["state"] == "throttled"


@every_board
def test_an_idle_clock_is_no_throttling(tmp_path: Path, board: str) -> None:
    assert watch(tmp_path, board, idle_between=True)["state"] == "clean"


def test_what_was_throttled_long_ago_is_a_note(tmp_path: Path) -> None:
    fake = FakeSensors(tmp_path, "raspberry-pi-4")
    fake.flags(0x50000)
    certificate = watch(tmp_path, "raspberry-pi-4", fake=fake)
    assert certificate["state"] == "clean"
    assert "had told before" in certificate["notes"][0]


def test_the_governor_powersave_holds_the_clock_low_and_that_is_no_throttling(tmp_path: Path) -> None:
    fake = FakeSensors(tmp_path, "raspberry-pi-4")
    for cpu in range(4):
        fake.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", "powersave")
    certificate = watch(tmp_path, "raspberry-pi-4", lambda board, _index: board.clock(600000), fake=fake)
    assert certificate["state"] == "clean"
    assert certificate["notes"] == ["the governor powersave holds the clock at 600 MHz"]


def test_a_governor_that_moves_the_clock_as_it_likes_leaves_it_unknown(tmp_path: Path) -> None:
    fake = FakeSensors(tmp_path, "raspberry-pi-4")
    for cpu in range(4):
        fake.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", "conservative")
    act = in_round(0, lambda board: board.clock(900000))
    certificate = watch(tmp_path, "raspberry-pi-4", act, fake=fake)
    assert certificate["state"] == "unknown"
    assert "conservative" in certificate["reasons"][0]


def test_a_boost_that_ends_is_no_throttling_below_the_base_clock_is(tmp_path: Path) -> None:
    for name, khz, state in (("boost", 2000000, "clean"), ("below", 1000000, "throttled")):
        fake = FakeSensors(tmp_path / name, "raspberry-pi-5")
        for cpu in range(4):
            fake.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_driver", "intel_pstate")
            fake.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/base_frequency", "1800000")
        act = in_round(4, lambda board, khz=khz: board.clock(khz))  # type: ignore[misc]
        assert watch(tmp_path / name, "raspberry-pi-5", act, fake=fake)["state"] == state


def test_a_low_clock_in_rounds_too_short_to_raise_it_is_unknown(tmp_path: Path) -> None:
    act = in_round(2, lambda board: board.clock(600000))
    certificate = watch(tmp_path, "raspberry-pi-4", act, timed_s=0.01)
    assert certificate["state"] == "unknown"
    assert "too short" in certificate["reasons"][0]


def test_rounds_that_rise_without_a_reason_are_unknown_and_repeated(tmp_path: Path) -> None:
    certificate = watch(tmp_path, "raspberry-pi-4", slope=0.02)
    assert certificate["state"] == "unknown"
    assert "rose by" in certificate["reasons"][0]
    assert is_unsteady(certificate)


def test_others_that_work_meanwhile_leave_it_unknown_but_own_work_does_not(tmp_path: Path) -> None:
    busy = in_round(7, lambda fake: fake.write("proc/stat", "cpu  3000 0 500 92000 100 0 50 0 0 0\n"))
    certificate = watch(tmp_path / "others", "raspberry-pi-4", busy)
    assert certificate["reasons"] == ["other processes took 50 % of the CPUs' time"]
    assert watch(tmp_path / "own", "raspberry-pi-4", busy, own_s=19.0)["state"] == "clean"


def test_swapping_leaves_it_unknown(tmp_path: Path) -> None:
    swap = in_round(7, lambda fake: fake.write("proc/vmstat", "pswpin 9000\n"))
    assert "swap" in watch(tmp_path, "raspberry-pi-4", swap)["reasons"][0]


def test_nothing_timed_is_never_clean(tmp_path: Path) -> None:
    FakeSensors(tmp_path, "raspberry-pi-4")
    reading = Sensors(str(tmp_path)).read()
    assert certify(WatchedRounds(reading, [], reading, 0.0), "a")["state"] == "unknown"


def test_a_board_has_cooled_when_it_is_as_cool_as_before_and_nothing_limits_it(tmp_path: Path) -> None:
    fake = FakeSensors(tmp_path, "raspberry-pi-4")
    sensors = Sensors(str(tmp_path))
    before = sensors.read()
    fake.heat(70000)
    assert not has_cooled(before, sensors.read())
    fake.heat(54000)
    assert has_cooled(before, sensors.read())
    fake.flags(0x8)
    assert not has_cooled(before, sensors.read())
