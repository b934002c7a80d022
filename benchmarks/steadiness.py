"""What the certificate of steadiness says of runs on fake boards: throttled ones, idle clocks, silent sensors.

usage: python benchmarks/steadiness.py [--runs 100] [--seed 0]

Each run is a board's fake tree of /sys and /proc (`edgekit/testing/fake_sensors.py`), read by the board's code, with
something that happens in random rounds. None of it is a measurement of a real board. Must hold: of the throttled runs
none is called clean, of the idle downclocks none is called throttled, and each unreadable sensor gives unknown.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edgekit.board.sensors import Sensors
from edgekit.board.steadiness import Round, WatchedRounds, certify
from edgekit.testing.fake_sensors import FAKE_BOARDS, UNREADABLE, FakeSensors

ROUNDS = 12
Act = Callable[[FakeSensors, random.Random], None]


def certificate(fake: FakeSensors, act: Act, rounds: set[int], chance: random.Random, *, lasts: bool) -> str:
    """The state of a run in which `act` happens in these rounds; it stays so, or is over before the next reading."""
    sensors = Sensors(str(fake.root))
    before, seen = sensors.read(), []
    for index in range(ROUNDS):
        fake.load()
        if index in rounds:
            act(fake, chance)
        clocks = sensors.under_load()
        reading = sensors.read()
        if not lasts:
            if not fake.board.model.startswith("NVIDIA"):
                fake.flags(0)
            fake.allow(fake.board.highest_khz)
        fake.clock(
            chance.choice([fake.board.idle_khz, fake.board.highest_khz])
        )  # the governor, between rounds
        seen.append(Round("a", 2.0 + 0.01 * chance.random(), 0.4, clocks, reading))
    state: str = certify(WatchedRounds(before, seen, sensors.read(), 0.0), "a")["state"]
    return state


def flag(fake: FakeSensors, chance: random.Random) -> None:
    fake.flags(chance.choice([0x1, 0x2, 0x4, 0x8, 0x50005, 0xE000E]))


def sticky(fake: FakeSensors, chance: random.Random) -> None:
    fake.flags(chance.choice([0x10000, 0x20000, 0x40000, 0x80000]))


def alert(fake: FakeSensors, chance: random.Random) -> None:
    fake.limit(chance.choice(["cpu-throttle-alert", "gpu-throttle-alert", "soc0-throttle-alert"]), 1)


def over_current(fake: FakeSensors, chance: random.Random) -> None:
    fake.write(f"sys/class/hwmon/hwmon3/oc{chance.choice([1, 2, 3])}_event_cnt", str(chance.randint(1, 99)))


def lower_limit(fake: FakeSensors, chance: random.Random) -> None:
    fake.allow(int(fake.board.highest_khz * chance.uniform(0.4, 0.95)))


def cooler(fake: FakeSensors, chance: random.Random) -> None:
    fake.limit("cpufreq-cpu0", chance.randint(1, 4))


def slow_clock(fake: FakeSensors, chance: random.Random) -> None:
    fake.clock(int(fake.board.highest_khz * chance.uniform(0.4, 0.95)))


def idle(fake: FakeSensors, chance: random.Random) -> None:
    """Nothing: the clock is low before and between the rounds alone."""


THROTTLING: dict[str, tuple[tuple[str, ...], Act, bool]] = {
    "firmware flags": (("raspberry-pi-4", "raspberry-pi-5"), flag, False),
    "flags that only remember": (("raspberry-pi-4", "raspberry-pi-5"), sticky, True),
    "throttle alerts": (("jetson-orin-nano",), alert, True),
    "over-current events": (("jetson-orin-nano",), over_current, True),
    "a lower limit of the clock": (tuple(FAKE_BOARDS), lower_limit, False),
    "a cooling device": (tuple(FAKE_BOARDS), cooler, True),
    "a low clock under load": (tuple(FAKE_BOARDS), slow_clock, False),
}


def run(kind: str, seed: int) -> str:
    """One throttled run, or one idle downclock, in a tree of its own."""
    chance = random.Random(f"{kind} {seed}")
    boards, act, lasts = THROTTLING.get(kind, (tuple(FAKE_BOARDS), idle, True))
    rounds = set(chance.sample(range(ROUNDS), chance.randint(1, 4)))
    with tempfile.TemporaryDirectory() as folder:
        fake = FakeSensors(Path(folder), chance.choice(boards))
        fake.clock(int(fake.board.highest_khz * chance.uniform(0.2, 1.0)))
        return certificate(fake, act, rounds, chance, lasts=lasts)


def unreadable(board: str, sensor: str, pattern: str) -> str:
    """A quiet run on a board of which one sensor does not tell."""
    with tempfile.TemporaryDirectory() as folder:
        fake = FakeSensors(Path(folder), board)
        if sensor == "clock":
            fake.clock = lambda khz: None  # type: ignore[method-assign]
        fake.remove(pattern)
        return certificate(fake, idle, set(), random.Random(0), lasts=True)


def main() -> int:
    """Print the table; 1 where something does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kinds = list(THROTTLING)
    throttled: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    for number in range(options.runs):
        kind = kinds[number % len(kinds)]
        throttled[kind][run(kind, options.seed + number)] += 1
    quiet = Counter(run("idle", options.seed + number) for number in range(options.runs))
    silent = Counter(unreadable(*row) for row in UNREADABLE)
    print("| runs | clean | throttled | unknown |\n|---|---|---|---|")
    rows = [(f"throttled by {kind}", counts) for kind, counts in throttled.items()]
    rows += [("throttled, all", sum(throttled.values(), Counter()))]
    rows += [("idle downclock", quiet), ("one unreadable sensor", silent)]
    for name, counts in rows:
        print(f"| {name} | {counts['clean']} | {counts['throttled']} | {counts['unknown']} |")
    held = not rows[-3][1]["clean"] and not quiet["throttled"] and set(silent) == {"unknown"}
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
