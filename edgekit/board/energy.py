"""Power of the board while it infers, where the board tells it, and the energy of one inference.

Meters: a user's command that prints watts; hwmon (a Jetson's INA3221: Linux Documentation/hwmon/ina3221.rst, NVIDIA
Jetson Linux Developer Guide, "Software-Based Power Consumption Modeling"); RAPL (Documentation/power/powercap). None of
them: no energy, with the reason; never 0. Measured in rounds of their own, so that no latency is timed beside a meter.
"""

import math
import os
import re
import subprocess
import threading
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .files import read_text
from .intervals import STUDENT

RATE_HZ = 20.0
TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Labels of a rail that feeds the whole module: with one of them the others are part of it."""
SUPPLY = re.compile(r"^ina\d+|^tegra.*power|^pac19")
COMMAND_S = 5.0


class MeterError(Exception):
    """A meter that tells nothing; the text says why."""


class Meter(object):
    """Something that tells power. `source`: what it is, for people; `whole`: that it is the whole board's power.

    A meter either counts joules (`joules`) or tells `watts` at a moment; the other gives None.
    """

    source = ""

    def watts(self) -> Optional[float]:
        return None

    def joules(self) -> Optional[float]:
        """Counted since some moment in the past, wrap-arounds included."""
        return None


def _microunits(path: str) -> Optional[float]:
    text = read_text(path)
    return float(text) if re.match(r"^-?\d+$", text) else None


class HwmonMeter(Meter):
    """Rails of power monitors below /sys/class/hwmon: power*_input in µW, or in*_input (mV) times curr*_input (mA)."""

    def __init__(self, root: str) -> None:
        rails = {}  # type: Dict[str, List[str]]
        folder = os.path.join(root, "sys/class/hwmon")
        for device in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if SUPPLY.match(read_text(os.path.join(folder, device, "name"))):
                rails.update(_rails(os.path.join(folder, device)))
        total = next((name for name in TOTAL_RAILS if name in rails), None)
        self.rails = {total: rails[total]} if total else rails
        if not rails:
            raise MeterError("no power monitor below /sys/class/hwmon")
        self.source = "hwmon, %s" % " + ".join(sorted(self.rails))
        if self.watts() is None:
            raise MeterError("the power monitor below /sys/class/hwmon cannot be read")

    def watts(self) -> Optional[float]:
        """Of all rails together; None where one of them does not tell."""
        powers = []
        for paths in self.rails.values():
            values = [_microunits(path) for path in paths]
            if any(value is None for value in values):
                return None
            product = 1.0
            for value in values:
                product *= value or 0.0
            powers.append(product / 1e6)
        return math.fsum(powers)


def _rails(device: str) -> Dict[str, List[str]]:
    """Label (or file name) -> the files whose product is its power in µW."""
    rails = {}
    for name in sorted(os.listdir(device)):
        match = re.match(r"^(power|in)(\d+)_input$", name)
        if not match:
            continue
        kind, number = match.groups()
        label = read_text(os.path.join(device, "%s%s_label" % (kind, number)))
        label = label or read_text(os.path.join(device, "in%s_label" % number))
        current = os.path.join(device, "curr%s_input" % number)
        if "shunt" in label:  # the sum of the drops over all shunts, no rail
            continue
        if kind == "power":
            rails[label or "power%s" % number] = [os.path.join(device, name)]
        elif os.path.exists(current):
            rails.setdefault(label or "in%s" % number, [os.path.join(device, name), current])
    return rails


class RaplMeter(Meter):
    """Intel's and AMD's running average power limit: the energy counters of all packages, which wrap around."""

    def __init__(self, root: str) -> None:
        folder = os.path.join(root, "sys/class/powercap")
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        zones = [os.path.join(folder, name) for name in names if re.match(r"^intel-rapl:\d+$", name)]
        self.zones = [zone for zone in zones if read_text(zone + "/name").startswith("package")]
        if not self.zones:
            raise MeterError("no RAPL below /sys/class/powercap")
        if any(_microunits(zone + "/energy_uj") is None for zone in self.zones):
            raise MeterError("RAPL's energy_uj is readable by root alone here")
        self.last = {}  # type: Dict[str, float]
        self.counted_uj = 0.0
        self.source = "RAPL, %d package%s (the CPU alone)" % (len(self.zones), "s"[: len(self.zones) - 1])

    def joules(self) -> Optional[float]:
        for zone in self.zones:
            now = _microunits(zone + "/energy_uj")
            if now is None:
                return None
            passed = now - self.last.get(zone, now)
            if passed < 0:
                span = _microunits(zone + "/max_energy_range_uj")
                if span is None:
                    return None
                passed += span
            self.last[zone] = now
            self.counted_uj += passed
        return self.counted_uj / 1e6


class CommandMeter(Meter):
    """A user's own meter: a command, word by word, that prints watts."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.source = "the command %s" % self.words[0]
        self.problem = ""
        if self.watts() is None:
            raise MeterError("the meter %s %s" % (self.words[0], self.problem))

    def watts(self) -> Optional[float]:
        try:
            done = subprocess.run(
                self.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                timeout=COMMAND_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as problem:
            self.problem = "cannot be run: %s" % problem
            return None
        told = done.stdout.decode("utf-8", "replace").split()
        self.problem = "ended with exit code %d" % done.returncode if done.returncode else (
            "printed %r, no number of watts" % " ".join(told)[:60]
        )  # fmt: skip
        try:
            watts = float(told[0]) if told and not done.returncode else float("nan")
        except ValueError:
            return None
        return watts if math.isfinite(watts) and watts >= 0 else None


def find_meter(root: str = "/", command: Sequence[str] = ()) -> Meter:
    """The user's meter, else what the board has. Raises MeterError where nothing tells power."""
    if command:
        return CommandMeter(command)
    problems = []
    for kind in (HwmonMeter, RaplMeter):
        try:
            return kind(root)
        except (MeterError, OSError) as problem:
            problems.append(str(problem))
    raise MeterError("; ".join(problems))


class Recorder(object):
    """Reads a meter's watts in a thread, RATE_HZ times a second, between start and stop; counters need no thread."""

    def __init__(self, meter: Meter, rate_hz: float = RATE_HZ) -> None:
        self.meter = meter
        self.pause_s = 1.0 / rate_hz
        self.samples = []  # type: List[Tuple[float, float]]
        self.lost = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._record, daemon=True)
        self.begin_j = meter.joules()
        self.begin_s = time.monotonic()
        if self.begin_j is None:
            self.thread.start()

    def _record(self) -> None:
        while not self.stopped.is_set():
            watts = self.meter.watts()
            if watts is None:
                self.lost += 1
            else:
                self.samples.append((time.monotonic(), watts))
            self.stopped.wait(self.pause_s)

    def stop(self) -> Tuple[float, Optional[float]]:
        """Seconds, and joules in them; None where the meter failed or told too little."""
        end_j = self.meter.joules() if self.begin_j is not None else None
        passed_s = time.monotonic() - self.begin_s
        self.stopped.set()
        if self.begin_j is not None:
            return passed_s, None if end_j is None else end_j - self.begin_j
        self.thread.join()
        if self.lost or len(self.samples) < 2:
            return passed_s, None
        return passed_s, mean_watts(self.samples) * passed_s


def mean_watts(samples: Sequence[Tuple[float, float]]) -> float:
    """Of at least two samples (second, watts): by trapezoids, so that uneven steps count by their length."""
    steps = [(b[0] - a[0], (a[1] + b[1]) / 2) for a, b in zip(samples, samples[1:])]
    passed_s = math.fsum(step for step, _watts in steps)
    if passed_s <= 0:
        return samples[0][1]
    return math.fsum(step * watts for step, watts in steps) / passed_s


class EnergyEstimate(NamedTuple):
    """Millijoules of one inference beyond those of the idle board, with a 95 % interval across rounds."""

    value: float
    low: float
    high: float


def energy_mj(rounds: Sequence[Tuple[float, float, int]], idle_watts: float) -> Optional[EnergyEstimate]:
    """Of rounds of (seconds, joules, inferences), with Student's t over them; None where it does not exceed idle.

    A value that cannot be told from idle is none: it is never 0. A single round has no width.
    """
    values = [1e3 * (joules - idle_watts * passed_s) / runs for passed_s, joules, runs in rounds if runs > 0]
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    half = 0.0
    if len(values) > 1:
        variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
        student = STUDENT[min(len(values) - 1, len(STUDENT)) - 1]
        half = student * math.sqrt(variance / len(values))
    if mean - half <= 0:
        return None
    return EnergyEstimate(mean, mean - half, mean + half)


def told(
    rounds: Sequence[Tuple[float, Optional[float], int]], idle: Tuple[float, Optional[float]], source: str
) -> Dict[str, Any]:
    """For the result: {value_mj, low_mj, high_mj, idle_watts, source, rounds}, or {reason} of its absence."""
    idle_s, idle_j = idle
    whole = [(passed_s, joules, runs) for passed_s, joules, runs in rounds if joules is not None]
    if idle_j is None or len(whole) < len(rounds) or not whole:
        return {"reason": "the meter (%s) did not tell power all the time" % source}
    idle_watts = idle_j / idle_s
    energy = energy_mj(whole, idle_watts)
    if energy is None:
        return {"reason": "its power cannot be told from the idle board's %.3g W (%s)" % (idle_watts, source)}
    return {
        "value_mj": energy.value, "low_mj": energy.low, "high_mj": energy.high, "idle_watts": idle_watts,
        "source": source, "rounds": len(whole),
    }  # fmt: skip
