"""What a board tells of its state, on fake trees: what is read, what is not there, and that neither is ever 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.board.sensors import SENSORS, Sensors, flags_now, flags_once, power_modes, used_s
from edgekit.testing.fake_sensors import FAKE_BOARDS, UNREADABLE, FakeSensors

every_board = pytest.mark.parametrize("board", FAKE_BOARDS)


@every_board
def test_a_whole_board_leaves_nothing_unreadable(tmp_path: Path, board: str) -> None:
    FakeSensors(tmp_path, board)
    reading = Sensors(str(tmp_path)).read()
    assert reading["unreadable"] == []
    assert reading["available_bytes"] == 6_500_000 * 1024
    assert set(reading["clock_mhz"]) == {str(cpu) for cpu in range(FAKE_BOARDS[board].cpus)}


def test_an_empty_root_tells_nothing_and_says_so(tmp_path: Path) -> None:
    reading = Sensors(str(tmp_path)).read()
    assert reading["unreadable"] == [name for name in SENSORS if name != "power mode"]
    assert reading["temperature_c"] == reading["clock_mhz"] == {}
    assert not {"available_bytes", "ticks", "pi_flags"} & set(reading)


@pytest.mark.parametrize(("board", "sensor", "pattern"), UNREADABLE)
def test_a_sensor_that_does_not_tell_is_named(tmp_path: Path, board: str, sensor: str, pattern: str) -> None:
    FakeSensors(tmp_path, board).remove(pattern)
    assert Sensors(str(tmp_path)).read()["unreadable"] == [sensor]


@pytest.mark.parametrize("text", ["", "none", "12.5 C", "nan"])
def test_a_temperature_that_is_no_number_is_absent(tmp_path: Path, text: str) -> None:
    FakeSensors(tmp_path, "raspberry-pi-4").write("sys/class/thermal/thermal_zone0/temp", text)
    reading = Sensors(str(tmp_path)).read()
    assert reading["temperature_c"] == {}
    assert reading["unreadable"] == ["temperature"]


def test_zones_of_one_type_are_all_told(tmp_path: Path) -> None:
    board = FakeSensors(tmp_path, "raspberry-pi-4")
    for zone, (kind, value) in enumerate([("cpu-thermal", "41000"), ("cpu-thermal", "43500"), ("", "-2000")]):
        board.write(f"sys/class/thermal/thermal_zone{zone}/type", kind)
        board.write(f"sys/class/thermal/thermal_zone{zone}/temp", value)
    assert Sensors(str(tmp_path)).temperatures() == {
        "cpu-thermal": 41.0,
        "cpu-thermal (thermal_zone1)": 43.5,
        "thermal_zone2": -2.0,
    }


def test_a_zone_that_is_switched_off_has_no_temperature(tmp_path: Path) -> None:
    FakeSensors(tmp_path, "jetson-orin-nano")
    assert "cv0-thermal" not in Sensors(str(tmp_path)).temperatures()


def test_the_flags_of_a_pi_now_and_once(tmp_path: Path) -> None:
    assert flags_now(0x50000) == []
    assert flags_once(0x50000) == ["the supply voltage is too low", "the firmware throttles"]
    for board in ("raspberry-pi-4", "raspberry-pi-5"):
        FakeSensors(tmp_path / board, board).flags(0xE0008)
        flags = Sensors(str(tmp_path / board)).pi_flags()
        assert flags == 0xE0008
        assert flags_now(flags) == ["the soft temperature limit is reached"]


def test_a_program_that_fails_tells_no_flags(tmp_path: Path) -> None:
    FakeSensors(tmp_path, "raspberry-pi-5").write("usr/bin/vcgencmd", "#!/bin/sh\nexit 255\n")
    assert Sensors(str(tmp_path)).pi_flags() is None


def test_fans_limit_nothing_but_throttle_alerts_do(tmp_path: Path) -> None:
    board = FakeSensors(tmp_path, "jetson-orin-nano")
    board.limit("gpu-throttle-alert", 1)
    assert Sensors(str(tmp_path)).limiters() == {
        "cpu-throttle-alert": 0.0,
        "gpu-throttle-alert": 1.0,
        "soc0-throttle-alert": 0.0,
    }


def test_a_jetson_names_its_power_mode(tmp_path: Path) -> None:
    board = FakeSensors(tmp_path, "jetson-orin-nano")
    board.write("var/lib/nvpmodel/status", "pmode:0001")
    assert Sensors(str(tmp_path)).power_mode() == "7W"
    board.write("var/lib/nvpmodel/status", "pmode:0009")
    assert Sensors(str(tmp_path)).power_mode() == "9"
    assert power_modes("nothing of that kind") == {}


def test_only_the_cpus_that_work_are_asked_for_their_clock(tmp_path: Path) -> None:
    FakeSensors(tmp_path, "raspberry-pi-4").load()
    assert Sensors(str(tmp_path), [2, 3]).under_load() == {"2": 1800.0, "3": 1800.0}


def test_own_time_of_a_process_that_is_gone_is_none() -> None:
    assert used_s(2**22 + 1) == 0.0
