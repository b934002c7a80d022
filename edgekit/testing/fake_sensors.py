"""A fake tree of /sys and /proc with values as boards tell them, for code that reads sensors below a root folder.

Nothing here was recorded by us. Layouts and values follow public sources: Raspberry Pi documentation ("vcgencmd
get_throttled", "Frequency management and thermal control": a Pi 4 runs at 600 to 1500 or 1800 MHz, a Pi 5 at 1500 to
2400 MHz, throttled above 80 to 85 degrees; a Pi 5 tells the flags by vcgencmd alone); NVIDIA Jetson Linux Developer
Guide r36, "Jetson Orin Nano Series …" (zones cpu-thermal to tj-thermal, *-throttle-alert, oc events of `soctherm_oc`,
INA3221 with VDD_IN, VDD_CPU_GPU_CV and VDD_SOC, nvpmodel's 15W and 7W with 1510.4 MHz); the device tree of
p3768-0000+p3767-0005 in Linux for the rails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FAKE_BOARDS", "UNREADABLE", "FakeSensors"]

CPUFREQ = "sys/devices/system/cpu/cpu{}/cpufreq/{}"
ORIN_MODES = """
< PM_CONFIG DEFAULT=0 >
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=7W >
CPU_ONLINE CORE_0 1
"""


@dataclass(frozen=True)
class FakeBoardTree:
    """What a board's tree holds. Clocks in kHz, temperatures in thousandths of a degree."""

    model: str
    compatible: str
    cpus: int
    idle_khz: int
    highest_khz: int
    governor: str
    driver: str
    zones: Mapping[str, int]
    coolers: Mapping[str, int]
    files: Mapping[str, str]


VCGENCMD = "usr/bin/vcgencmd"
PI_FLAGS = "sys/devices/platform/soc/soc:firmware/get_throttled"
OC = "sys/class/hwmon/hwmon3"
INA = "sys/class/hwmon/hwmon1"

FAKE_BOARDS: Mapping[str, FakeBoardTree] = {
    "raspberry-pi-4": FakeBoardTree(
        "Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b\0brcm,bcm2711", 4, 600000, 1800000,
        "ondemand", "cpufreq-dt", {"cpu-thermal": 52582}, {"rpi-poe-fan": 2}, {PI_FLAGS: "0"},
    ),
    "raspberry-pi-5": FakeBoardTree(
        "Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b\0brcm,bcm2712", 4, 1500000, 2400000,
        "ondemand", "cpufreq-dt", {"cpu-thermal": 49350}, {"pwm-fan": 1},
        {VCGENCMD: '#!/bin/sh\ncat "$(dirname "$0")/throttled"\n', "usr/bin/throttled": "throttled=0x0"},
    ),
    "jetson-orin-nano": FakeBoardTree(
        "NVIDIA Jetson Orin Nano Developer Kit", "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234", 6, 729600,
        1510400, "schedutil", "tegra194-cpufreq",
        {"cpu-thermal": 47250, "gpu-thermal": 46000, "soc0-thermal": 44812, "tj-thermal": 47250,
         "cv0-thermal": -256000},
        {"pwm-fan": 1, "cpu-throttle-alert": 0, "gpu-throttle-alert": 0, "soc0-throttle-alert": 0},
        {
            "etc/nvpmodel.conf": ORIN_MODES, "var/lib/nvpmodel/status": "pmode:0000",
            OC + "/name": "soctherm_oc", OC + "/oc1_event_cnt": "0", OC + "/oc2_event_cnt": "0",
            OC + "/oc3_event_cnt": "0",
            INA + "/name": "ina3221", INA + "/in1_label": "VDD_IN", INA + "/in1_input": "4984",
            INA + "/curr1_input": "1000", INA + "/in2_label": "VDD_CPU_GPU_CV", INA + "/in2_input": "4976",
            INA + "/curr2_input": "320", INA + "/in3_label": "VDD_SOC", INA + "/in3_input": "4976",
            INA + "/curr3_input": "296", INA + "/in7_label": "sum of shunt voltages",
            INA + "/in7_input": "8",
            "sys/class/devfreq/17000000.gpu/cur_freq": "306000000",
        },
    ),
}  # fmt: skip


SHARED = (
    ("temperature", "sys/class/thermal/thermal_zone*/temp"),
    ("clock", "sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"),
    ("highest clock", "sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq"),
    ("governor", "sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"),
    ("other load", "proc/stat"),
    ("memory", "proc/meminfo"),
)
OWN = {
    "raspberry-pi-4": (("throttling flags", "sys/devices/platform/soc/*/get_throttled"),),
    "raspberry-pi-5": (("throttling flags", "usr/bin/vcgencmd"),),
    "jetson-orin-nano": (
        ("throttling flags", "sys/class/thermal/cooling_device*/cur_state"),
        ("power mode", "var/lib/nvpmodel/status"),
    ),
}
UNREADABLE = [(board, *row) for board, own in OWN.items() for row in (*SHARED, *own)]
"""(board, sensor, pattern of files below the root)."""


class FakeSensors:
    """The tree of one of FAKE_BOARDS below `root`, idle; each method changes what it tells from then on."""

    def __init__(self, root: Path, board: str) -> None:
        self.root = root
        self.board = FAKE_BOARDS[board]
        tree = self.board
        self.write("proc/device-tree/model", tree.model + "\0")
        self.write("proc/device-tree/compatible", tree.compatible + "\0")
        self.write("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 6500000 kB\nSwapTotal: 0 kB\n")
        self.write("proc/vmstat", "pswpin 0\npswpout 0\n")
        self.write("proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
        self.write("proc/stat", "cpu  1000 0 500 90000 100 0 50 0 0 0\ncpu0 250 0 125 22500 25 0 12 0 0 0\n")
        for name, text in tree.files.items():
            self.write(name, text)
        if VCGENCMD in tree.files:
            (root / VCGENCMD).chmod(0o755)
        for place, (kind, value) in enumerate(tree.zones.items()):
            self.write(f"sys/class/thermal/thermal_zone{place}/type", kind)
            self.write(f"sys/class/thermal/thermal_zone{place}/temp", str(value))
        for place, (kind, state) in enumerate(tree.coolers.items()):
            self.write(f"sys/class/thermal/cooling_device{place}/type", kind)
            self.write(f"sys/class/thermal/cooling_device{place}/cur_state", str(state))
        for cpu in range(tree.cpus):
            for name, text in {"scaling_governor": tree.governor, "scaling_driver": tree.driver}.items():
                self.write(CPUFREQ.format(cpu, name), text)
            self.write(CPUFREQ.format(cpu, "scaling_min_freq"), str(tree.idle_khz))
            self.write(CPUFREQ.format(cpu, "scaling_available_governors"), "ondemand powersave performance")
        self.allow(tree.highest_khz)
        self.clock(tree.idle_khz)

    def write(self, name: str, text: str) -> None:
        """A file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def remove(self, name: str) -> None:
        """Files by a pattern below the root: a sensor that does not tell."""
        paths = list(self.root.glob(name))
        assert paths, name
        for path in paths:
            path.unlink()

    def clock(self, khz: int) -> None:
        """The clock of each CPU now."""
        for cpu in range(self.board.cpus):
            self.write(CPUFREQ.format(cpu, "scaling_cur_freq"), str(khz))

    def load(self) -> None:
        """The clock that the governor gives under load."""
        self.clock(self.board.highest_khz)

    def allow(self, khz: int) -> None:
        """The highest clock that the kernel allows."""
        for cpu in range(self.board.cpus):
            self.write(CPUFREQ.format(cpu, "scaling_max_freq"), str(khz))

    def heat(self, thousandths: int) -> None:
        """The temperature of the first zone."""
        self.write("sys/class/thermal/thermal_zone0/temp", str(thousandths))

    def flags(self, value: int) -> None:
        """What a Raspberry Pi's firmware tells."""
        if PI_FLAGS in self.board.files:
            self.write(PI_FLAGS, f"{value:x}")
        else:
            self.write("usr/bin/throttled", f"throttled=0x{value:x}")

    def limit(self, kind: str, state: int) -> None:
        """The state of a cooling device, which is made where it was not there."""
        places = sorted(self.root.glob("sys/class/thermal/cooling_device*"))
        named = [place for place in places if (place / "type").read_text() == kind]
        folder = named[0].name if named else f"cooling_device{len(places)}"
        self.write(f"sys/class/thermal/{folder}/type", kind)
        self.write(f"sys/class/thermal/{folder}/cur_state", str(state))
