"""Power modes are tried and put back, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.board.powermodes import PowerError, PowerModes, held, record_path, restore_left, told
from edgekit.testing.fake_sensors import FakeSensors
from tests.board.test_coordinator import entry, run
from tests.devices.models import write_classifier

GOVERNOR = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
FAKE_NVPMODEL = """#!/bin/sh
root="$(dirname "$0")/../.."
[ "$1" = -m ] || exit 1
printf 'pmode:%04d' "$2" > "$root/var/lib/nvpmodel/status"
"""


def fake_jetson(root: Path, program: str = FAKE_NVPMODEL) -> FakeSensors:
    board = FakeSensors(root, "jetson-orin-nano")
    board.write("usr/sbin/nvpmodel", program)
    (root / "usr/sbin/nvpmodel").chmod(0o755)
    return board


def governors(root: Path, cpus: int = 4) -> set[str]:
    return {(root / GOVERNOR.format(cpu)).read_text() for cpu in range(cpus)}


def test_a_jetsons_modes_are_set_and_put_back(tmp_path: Path) -> None:
    fake_jetson(tmp_path)
    status = tmp_path / "var/lib/nvpmodel/status"
    assert told(str(tmp_path)) == {"kind": "nvpmodel", "names": ["15W", "7W"], "why_not": "", "set": 0}
    with held("7W", str(tmp_path)):
        assert status.read_text() == "pmode:0001"
        assert Path(record_path(str(tmp_path))).exists()
    assert status.read_text() == "pmode:0000"
    assert not Path(record_path(str(tmp_path))).exists()


def test_governors_are_set_on_every_cpu_and_put_back_each(tmp_path: Path) -> None:
    board = FakeSensors(tmp_path, "raspberry-pi-4")
    board.write(GOVERNOR.format(3), "performance")
    with held("powersave", str(tmp_path)):
        assert governors(tmp_path) == {"powersave"}
    assert (tmp_path / GOVERNOR.format(0)).read_text() == "ondemand"
    assert (tmp_path / GOVERNOR.format(3)).read_text() == "performance"


def test_an_error_inside_puts_back(tmp_path: Path) -> None:
    FakeSensors(tmp_path, "raspberry-pi-4")
    with pytest.raises(RuntimeError), held("powersave", str(tmp_path)):
        raise RuntimeError
    assert governors(tmp_path) == {"ondemand"}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_ended_while_it_holds_a_mode_leaves_the_board_as_it_was(
    tmp_path: Path, how: signal.Signals
) -> None:
    FakeSensors(tmp_path, "raspberry-pi-4")
    code = (
        "import sys, time\nfrom edgekit.board.powermodes import held\n"
        f"with held('powersave', {str(tmp_path)!r}):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert governors(tmp_path) == {"powersave"}
        os.kill(holder.pid, how)
    deadline = time.monotonic() + 15
    while Path(record_path(str(tmp_path))).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert governors(tmp_path) == {"ondemand"}


def test_what_even_the_guard_could_not_put_back_is_put_back_by_the_next(tmp_path: Path) -> None:
    board = FakeSensors(tmp_path, "raspberry-pi-4")
    path = Path(record_path(str(tmp_path)))
    path.parent.mkdir(parents=True)
    files = {str(tmp_path / GOVERNOR.format(cpu)): "ondemand" for cpu in range(4)}
    path.write_text(json.dumps({"kind": "governor", "governors": files}))
    board.write(GOVERNOR.format(0), "powersave")
    assert restore_left(str(tmp_path))
    assert governors(tmp_path) == {"ondemand"}
    assert not restore_left(str(tmp_path))


def test_a_record_that_names_another_file_writes_nothing_there(tmp_path: Path) -> None:
    FakeSensors(tmp_path, "raspberry-pi-4")
    other = tmp_path / "other"
    other.write_text("mine")
    path = Path(record_path(str(tmp_path)))
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"kind": "governor", "governors": {str(other): "x"}}))
    with pytest.raises(PowerError, match="no governor"):
        restore_left(str(tmp_path))
    assert other.read_text() == "mine"


def test_a_board_without_modes_says_so_and_is_left_alone(tmp_path: Path) -> None:
    board = FakeSensors(tmp_path, "raspberry-pi-4")
    board.remove("sys/devices/system/cpu/cpu*/cpufreq/scaling_available_governors")
    assert "no power modes" in PowerModes(str(tmp_path)).why_not()
    with pytest.raises(PowerError, match="no power modes"), held("performance", str(tmp_path)):
        pass
    assert not Path(record_path(str(tmp_path))).exists()


def test_a_mode_that_there_is_not_is_refused_with_those_that_are(tmp_path: Path) -> None:
    fake_jetson(tmp_path)
    with pytest.raises(PowerError, match="allowed: 15W, 7W"), held("MAXN", str(tmp_path)):
        pass


def test_a_mode_that_asks_for_a_reboot_is_told(tmp_path: Path) -> None:
    fake_jetson(tmp_path, "#!/bin/sh\necho NVPM WARN: Reboot required for changing to this power mode\n")
    with pytest.raises(PowerError, match="Reboot required"), held("7W", str(tmp_path)):
        pass
    assert (tmp_path / "var/lib/nvpmodel/status").read_text() == "pmode:0000"


def test_a_job_runs_in_its_mode(tmp_path: Path) -> None:
    FakeSensors(tmp_path / "root", "raspberry-pi-4")
    seen: set[str] = set()

    def look(stage: str, _entry: str, _done: int, _total: int) -> None:
        if stage == "time":
            seen.update(governors(tmp_path / "root"))

    net = write_classifier(tmp_path / "net.onnx")
    run(
        tmp_path / "work",
        [entry(net)],
        look,
        root=str(tmp_path / "root"),
        power_mode="powersave",
        seconds=0.5,
    )
    assert seen <= {"powersave", "ondemand"}
    assert "powersave" in seen
    assert governors(tmp_path / "root") == {"ondemand"}
