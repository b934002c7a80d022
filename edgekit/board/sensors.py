"""What a board tells of its own state: temperatures, clocks, throttling, power mode, other load, memory.

Everything is read below a root folder, "/" on a board. What cannot be read is absent from a reading and named in its
`unreadable`; it is never 0. Sources: Linux Documentation/admin-guide/pm/cpufreq.rst, driver-api/thermal/sysfs-api.rst,
accounting/psi.rst, ABI/testing/sysfs-devices-system-cpu; Raspberry Pi documentation, "vcgencmd get_throttled"; NVIDIA
Jetson Linux Developer Guide, "Platform Power and Performance" (throttle alerts, over-current events, nvpmodel).
"""

import os
import re
import subprocess
import sys
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence

from .files import read_text

THROTTLED_FILE = "sys/devices/platform/soc/soc:firmware/get_throttled"  # a Pi 5 has it in vcgencmd alone
PI_NOW = {
    0: "the supply voltage is too low",
    1: "the firmware caps the clock of the CPU",
    2: "the firmware throttles",
    3: "the soft temperature limit is reached",
}
"""Bit of get_throttled -> what is so now; 16 bits higher stands that it was so at some time since boot."""

LIMITERS = re.compile(r"^(cpufreq|thermal-cpufreq|thermal-devfreq|devfreq|Processor$)|-throttle-alert$")
COUNTERS = re.compile(r"^oc\d+_event_cnt$|^curr\d+_crit_alarm$")
VCGENCMD = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")
POWER_NAME = re.compile(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)")
TICKS_S = 0.01  # of /proc/stat, where the system does not tell
SENSORS = (
    "temperature", "clock", "highest clock", "governor", "throttling flags", "power mode", "other load", "memory",
)  # fmt: skip
"""Without any of them a run cannot be called clean. The power mode is a Jetson's alone."""


def _number(text: str) -> Optional[float]:
    """A whole number of a file of /sys; None for anything else."""
    return float(text) if re.match(r"^-?\d+$", text) else None


def _names(path: str) -> List[str]:
    """What lies in a folder, numbers in their order; nothing where it cannot be read."""
    try:
        return sorted(os.listdir(path), key=lambda name: [part.zfill(8) for part in re.split(r"(\d+)", name)])
    except OSError:
        return []


class Sensors(object):
    """Reads a board's sensors below `root`. `cpus`: those that the measured processes run on; None: all."""

    def __init__(self, root: str = "/", cpus: Optional[Sequence[int]] = None) -> None:
        self.root = root
        self.cpus = list(cpus) if cpus else self._all_cpus()
        tree = self.text("proc/device-tree/model") + "\0" + self.text("proc/device-tree/compatible")
        self.is_pi = "raspberrypi," in tree or "Raspberry Pi" in tree
        self.is_jetson = "nvidia,tegra" in tree
        self.vcgencmd = next(filter(os.path.exists, (self.at(path) for path in VCGENCMD)), "")

    def at(self, path: str) -> str:
        return os.path.join(self.root, path)

    def text(self, path: str) -> str:
        return read_text(self.at(path))

    def number(self, path: str) -> Optional[float]:
        return _number(self.text(path))

    def _all_cpus(self) -> List[int]:
        names = _names(self.at("sys/devices/system/cpu"))
        return [int(name[3:]) for name in names if re.match(r"^cpu\d+$", name)]

    def read(self) -> Dict[str, Any]:
        """One reading: {time_s (monotonic), what could be read, unreadable: [names of SENSORS]}."""
        reading = {
            "time_s": time.monotonic(),
            "temperature_c": self.temperatures(),
            "clock_mhz": self.clocks("scaling_cur_freq"),
            "highest_clock_mhz": self.clocks("scaling_max_freq"),
            "base_clock_mhz": self.clocks("base_frequency"),
            "least_clock_mhz": self.clocks("scaling_min_freq"),
            "governor": self.by_cpu("scaling_governor"),
            "driver": self.by_cpu("scaling_driver"),
            "device_mhz": self.devices_mhz(),
            "limiters": self.limiters(),
            "events": self.events(),
        }  # type: Dict[str, Any]
        optional = {
            "pi_flags": self.pi_flags(),
            "power_mode": self.power_mode(),
            "ticks": self.ticks(),
            "available_bytes": self.available_bytes(),
            "swapped_in_pages": self.swapped_in(),
            "stalled_us": self.stalled_us(),
        }
        reading.update((name, value) for name, value in optional.items() if value is not None)
        reading["unreadable"] = self.unreadable(reading)
        return reading

    def under_load(self) -> Dict[str, float]:
        """Clocks in MHz by CPU, of the CPUs that work. Cheap: for a process that has just ended its timed runs."""
        return self.clocks("scaling_cur_freq")

    def by_cpu(self, name: str) -> Dict[str, str]:
        """A file of cpufreq, by CPU, where it is there."""
        told = {
            str(cpu): self.text("sys/devices/system/cpu/cpu%d/cpufreq/%s" % (cpu, name)) for cpu in self.cpus
        }
        return {cpu: text for cpu, text in told.items() if text}

    def clocks(self, name: str) -> Dict[str, float]:
        """Such a file that holds kHz, in MHz; a clock of 0 is none."""
        numbers = {cpu: _number(text) for cpu, text in self.by_cpu(name).items()}
        return {cpu: khz / 1000.0 for cpu, khz in numbers.items() if khz is not None and khz > 0}

    def temperatures(self) -> Dict[str, float]:
        """Degrees Celsius by thermal zone; zones of one type are told apart by their number."""
        degrees = {}  # type: Dict[str, float]
        for zone in _names(self.at("sys/class/thermal")):
            value = self.number("sys/class/thermal/%s/temp" % zone)
            # A zone of a part that is switched off reads -256 degrees on a Jetson.
            if zone.startswith("thermal_zone") and value is not None and value > -100000:
                kind = self.text("sys/class/thermal/%s/type" % zone) or zone
                degrees["%s (%s)" % (kind, zone) if kind in degrees else kind] = value / 1000.0
        return degrees

    def limiters(self) -> Dict[str, float]:
        """Cooling devices that slow something down, by type, with their state: 0 is off. Fans are none of them."""
        states = {}  # type: Dict[str, float]
        for device in _names(self.at("sys/class/thermal")):
            kind = self.text("sys/class/thermal/%s/type" % device)
            state = self.number("sys/class/thermal/%s/cur_state" % device)
            if device.startswith("cooling_device") and state is not None and LIMITERS.search(kind):
                states[kind] = max(state, states.get(kind, 0.0))
        return states

    def events(self) -> Dict[str, float]:
        """Counters of throttling that only rise: a Jetson's over-current events, an Intel CPU's by core and package."""
        counts = {}  # type: Dict[str, float]
        for device in _names(self.at("sys/class/hwmon")):
            folder = "sys/class/hwmon/%s" % device
            for name in _names(self.at(folder)):
                value = self.number("%s/%s" % (folder, name)) if COUNTERS.match(name) else None
                if value is not None:
                    counts["%s/%s" % (self.text(folder + "/name") or device, name)] = value
        for cpu in self.cpus:
            for name in ("core_throttle_count", "package_throttle_count"):
                value = self.number("sys/devices/system/cpu/cpu%d/thermal_throttle/%s" % (cpu, name))
                if value is not None:
                    counts["cpu%d/%s" % (cpu, name)] = value
        return counts

    def devices_mhz(self) -> Dict[str, float]:
        """Clocks of devfreq in MHz by device: the GPU and the memory, where the board names them there."""
        clocks = {}
        for device in _names(self.at("sys/class/devfreq")):
            hertz = self.number("sys/class/devfreq/%s/cur_freq" % device)
            if hertz:
                clocks[device] = hertz / 1e6
        return clocks

    def pi_flags(self) -> Optional[int]:
        """A Raspberry Pi's get_throttled, by /sys or vcgencmd; None where neither tells it."""
        told = self.text(THROTTLED_FILE)
        if not told and self.vcgencmd:
            told = _said([self.vcgencmd, "get_throttled"])
        match = re.match(r"^(?:throttled=)?(?:0x)?([0-9a-fA-F]+)$", told.strip())
        return int(match.group(1), 16) if match else None

    def power_mode(self) -> Optional[str]:
        """A Jetson's, by nvpmodel's own files: its name, or its number where the name is not told."""
        status = re.match(r"^pmode:(\d+)", self.text("var/lib/nvpmodel/status"))
        if not status:
            return None
        number = int(status.group(1))
        return power_modes(self.text("etc/nvpmodel.conf")).get(number, str(number))

    def ticks(self) -> Optional[Dict[str, float]]:
        """Seconds that all CPUs together were busy, and that passed on them, since boot."""
        fields = self.text("proc/stat").partition("\n")[0].split()
        if len(fields) < 5 or fields[0] != "cpu" or not all(field.isdigit() for field in fields[1:]):
            return None
        counts = [int(field) for field in fields[1:9]]  # guest time is part of user time
        idle = counts[3] + (counts[4] if len(counts) > 4 else 0)
        return {"busy_s": (sum(counts) - idle) * tick_s(), "all_s": sum(counts) * tick_s()}

    def available_bytes(self) -> Optional[int]:
        """What /proc/meminfo says new processes may take without swapping."""
        match = re.search(r"^MemAvailable:\s+(\d+) kB", self.text("proc/meminfo"), re.MULTILINE)
        return int(match.group(1)) * 1024 if match else None

    def swapped_in(self) -> Optional[int]:
        """Pages read back from swap since boot."""
        match = re.search(r"^pswpin (\d+)", self.text("proc/vmstat"), re.MULTILINE)
        return int(match.group(1)) if match else None

    def stalled_us(self) -> Optional[int]:
        """How long some process waited for memory since boot (PSI), on kernels that tell it."""
        match = re.search(r"^some .*\btotal=(\d+)", self.text("proc/pressure/memory"), re.MULTILINE)
        return int(match.group(1)) if match else None

    def unreadable(self, reading: Mapping[str, Any]) -> List[str]:
        """Those of SENSORS that this board should tell and does not."""
        flags = {
            self.is_pi: "pi_flags" in reading,
            self.is_jetson: any(name.endswith("-throttle-alert") for name in reading["limiters"]),
        }.get(True)
        there = {
            "temperature": bool(reading["temperature_c"]),
            "clock": _all(reading["clock_mhz"], self.cpus),
            "highest clock": _all(reading["highest_clock_mhz"], self.cpus),
            "governor": _all(reading["governor"], self.cpus),
            "throttling flags": bool(reading["limiters"] or reading["events"]) if flags is None else flags,
            "power mode": "power_mode" in reading or not self.is_jetson,
            "other load": "ticks" in reading,
            "memory": "available_bytes" in reading,
        }
        return [name for name in SENSORS if not there[name]]


def _all(values: Mapping[str, Any], cpus: Sequence[int]) -> bool:
    return bool(cpus) and all(str(cpu) in values for cpu in cpus)


def own_cpus() -> List[int]:
    """The CPUs that this process may run on; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


def power_modes(conf: str) -> Dict[int, str]:
    """A Jetson's power modes by /etc/nvpmodel.conf: number -> name."""
    return {int(number): name for number, name in POWER_NAME.findall(conf)}


def flags_now(flags: int) -> List[str]:
    """What a Raspberry Pi's get_throttled says is so now."""
    return [text for bit, text in sorted(PI_NOW.items()) if flags >> bit & 1]


def flags_once(flags: int) -> List[str]:
    """What it says was so at some time since boot."""
    return flags_now(flags >> 16)


def tick_s() -> float:
    """Seconds of one tick of /proc/stat."""
    try:
        return 1.0 / os.sysconf("SC_CLK_TCK")
    except (ValueError, OSError):
        return TICKS_S


def used_s(pid: int, root: str = "/") -> float:
    """CPU seconds that a process and its ended children used; 0.0 for one that is gone."""
    fields = read_text(os.path.join(root, "proc/%d/stat" % pid)).rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) * tick_s() if len(fields) > 15 else 0.0


def _said(command: List[str]) -> str:
    """What a program prints; "" where it fails or takes over two seconds."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=2,
            check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("ascii", "replace").strip()
