"""The certificate of steadiness: whether a board was throttled while it was measured, as far as its sensors tell.

Sensors are read before, after each round of an entry while nothing runs, and after. Clocks are read by the worker
right after its timed runs, before it sleeps: a clock that had been low before the load says nothing, one that is low
under it does. States: "clean", "throttled" (a sensor says so), "unknown" (a sensor was not readable, the rounds went
somewhere and no sensor says why, or others disturbed the run). A run is clean only if all was read and nothing found.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from .intervals import drift
from .sensors import flags_now, flags_once

LEAST_SHARE = 0.97  # of the clock that a CPU should have under load; a firmware's steps are wider
LEAST_LOAD_S = (
    0.1  # of timed runs: governors that sample every few milliseconds have raised the clock by then
)
OTHER_SHARE = 0.1  # of all CPUs' time that other processes may take
STALL_SHARE = 0.05  # of the time that some process may wait for memory
SWAPPED_PAGES = 256
COOLED_C = 3.0  # above the temperature before the run: cool enough to repeat it
RAISING = ("performance", "schedutil", "ondemand", "interactive")
BOOSTING = ("intel_pstate", "intel_cpufreq", "amd-pstate", "amd-pstate-epp", "amd_pstate", "amd_pstate_epp")
"""Drivers whose highest clock is that of a short boost: what a CPU holds is its base clock."""

Reading = Mapping[str, Any]


class Round(NamedTuple):
    """One entry's timed runs in one round, and what was read at their end.

    `clock_mhz`: by CPU, under load; `timed_s`: how long the load had lasted.
    """

    entry: str
    median_ms: float
    timed_s: float
    clock_mhz: Mapping[str, float]
    reading: Reading


class WatchedRounds(NamedTuple):
    """All readings of one attempt. `own_s`: CPU seconds that the measurement itself used meanwhile."""

    before: Reading
    rounds: Sequence[Round]
    after: Reading
    own_s: float


def certify(watched: WatchedRounds, entry: str, attempts: int = 1) -> Dict[str, Any]:
    """The certificate of one entry: {state, reasons, notes, drift, attempts, timeline}.

    `reasons` (sentences) say why it is not clean; `notes` what else is worth knowing. `drift`: see intervals.drift.
    `timeline`: of the entry's rounds, {t_s since the beginning, median_ms, clock_mhz (the fastest CPU),
    temperature_c (the hottest zone)}; what was not read is absent.
    """
    mine = [item for item in watched.rounds if item.entry == entry]
    throttled = _flagged(watched) + _slowed(watched.before, mine)
    moved = drift([item.median_ms for item in mine])
    unsure = _unreadable(watched) + _unjudged(watched.before, mine) + _disturbed(watched)
    if moved:
        way = "rose" if moved > 0 else "fell"
        unsure.insert(0, "the rounds %s by %.1f %% from the first to the last" % (way, 100 * abs(moved)))
    return {
        "state": "throttled" if throttled else "unknown" if unsure or not mine else "clean",
        "reasons": throttled + unsure,
        "notes": _notes(watched.before),
        "drift": moved,
        "attempts": attempts,
        "timeline": [_moment(watched.before, item) for item in mine],
    }


def is_unsteady(certificate: Mapping[str, Any]) -> bool:
    """Whether the run is worth repeating, and is refused where only steady ones are wanted."""
    return certificate["state"] == "throttled" or bool(certificate["drift"])


def has_cooled(before: Reading, now: Reading) -> bool:
    """Whether the board is about as cool as before, and nothing limits it; True where it tells no temperature."""
    hottest, was = _hottest(now), _hottest(before)
    warm = hottest is not None and was is not None and hottest > was + COOLED_C
    return not warm and not flags_now(now.get("pi_flags", 0)) and not any(now["limiters"].values())


# ---- what speaks for throttling -----------------------------------------------------------------------------


def _flagged(watched: WatchedRounds) -> List[str]:
    """Throttling of the whole board, by its own flags, limiters and counters, and by the clock that it allows."""
    told = []  # type: List[str]
    before, during = watched.before, [item.reading for item in watched.rounds]
    now = {text for reading in during for text in flags_now(reading.get("pi_flags", 0))}
    if "pi_flags" in before and "pi_flags" in watched.after:
        was = set(flags_once(before["pi_flags"])) | set(flags_now(before["pi_flags"]))
        now |= set(flags_once(watched.after["pi_flags"])) - was
    told += ["the firmware told: %s" % text for text in sorted(now)]
    active = {name for reading in during for name, state in reading["limiters"].items() if state > 0}
    told += ["%s was active" % name for name in sorted(active)]
    for name, count in sorted(watched.after["events"].items()):
        risen = count - before["events"].get(name, count)
        if risen > 0:
            told.append("%s rose by %d" % (name, risen))
    lowest = {}  # type: Dict[str, float]
    for reading in during:
        for cpu, mhz in reading["highest_clock_mhz"].items():
            lowest[cpu] = min(mhz, lowest.get(cpu, mhz))
    for cpu, mhz in sorted(lowest.items()):
        allowed = before["highest_clock_mhz"].get(cpu, mhz)
        if mhz < LEAST_SHARE * allowed:
            told.append("the clock that CPU %s may have fell from %.0f to %.0f MHz" % (cpu, allowed, mhz))
    return told


def _slowed(before: Reading, rounds: Sequence[Round]) -> List[str]:
    """A clock that stayed below what the load should have raised it to."""
    expected = _expected_mhz(before)
    worst = None  # type: Optional[Round]
    least = LEAST_SHARE
    for item in rounds:
        share = _share(item.clock_mhz, expected)
        if share is not None and share < least and item.timed_s >= LEAST_LOAD_S:
            worst, least = item, share
    if worst is None:
        return []
    return ["the clock fell to %.0f %% of what it should be under load: %s"
            % (100 * least, _mhz_text(worst.clock_mhz, expected))]  # fmt: skip


def _mhz_text(clocks: Mapping[str, float], expected: Mapping[str, float]) -> str:
    return ", ".join(
        "CPU %s at %.0f of %.0f MHz" % (cpu, mhz, expected[cpu])
        for cpu, mhz in sorted(clocks.items())
        if cpu in expected
    )


def _expected_mhz(before: Reading) -> Dict[str, float]:
    """By CPU the clock that it should have under load; CPUs of which that is not known are left out.

    A governor that raises clocks gives the highest allowed one, of drivers that boost at least the base clock. The
    plain governor powersave holds the lowest.
    """
    expected = {}  # type: Dict[str, float]
    for cpu, governor in before["governor"].items():
        if before["driver"].get(cpu) in BOOSTING:
            mhz = before["base_clock_mhz"].get(cpu)
        elif governor == "powersave":
            mhz = before["least_clock_mhz"].get(cpu)
        else:
            mhz = before["highest_clock_mhz"].get(cpu) if governor in RAISING else None
        if mhz is not None:
            expected[cpu] = mhz
    return expected


def _share(clocks: Mapping[str, float], expected: Mapping[str, float]) -> Optional[float]:
    """Of the CPU that comes nearest to what it should have: others may sleep already."""
    shares = [mhz / expected[cpu] for cpu, mhz in clocks.items() if cpu in expected]
    return max(shares) if shares else None


# ---- why a run cannot be called clean -----------------------------------------------------------------------


def _unreadable(watched: WatchedRounds) -> List[str]:
    """Sensors that did not tell, at the beginning or later on."""
    missing = list(watched.before["unreadable"])
    readings = [item.reading for item in watched.rounds] + [watched.after]
    lost = [name for reading in readings for name in reading["unreadable"] if name not in missing]
    if any(not item.clock_mhz for item in watched.rounds) and "clock" not in missing:
        lost.append("clock under load")
    told = ["this machine does not tell its %s" % ", ".join(missing)] if missing else []
    return told + ["the %s could not be read all the time" % name for name in sorted(set(lost))]


def _unjudged(before: Reading, rounds: Sequence[Round]) -> List[str]:
    """Clocks that were read, of which it cannot be said what they should have been."""
    told, expected = [], _expected_mhz(before)
    clocks = [item.clock_mhz for item in rounds if item.clock_mhz]
    if clocks and not all(_share(mhz, expected) is not None for mhz in clocks):
        boosting = {name for name in before["driver"].values() if name in BOOSTING}
        if boosting and not before["base_clock_mhz"]:
            told.append("the driver %s does not tell the base clock" % ", ".join(sorted(boosting)))
        else:
            fastest = [max(mhz.values()) for mhz in clocks]
            if min(fastest) < LEAST_SHARE * max(fastest):
                governors = ", ".join(sorted(set(before["governor"].values())))
                said = (governors or "of this machine", min(fastest), max(fastest))
                told.append("the governor %s changed the clock under load, from %.0f to %.0f MHz" % said)
    short = [
        item
        for item in rounds
        if item.timed_s < LEAST_LOAD_S and (_share(item.clock_mhz, expected) or 1.0) < LEAST_SHARE
    ]
    if short:
        told.append(
            "rounds of %.0f ms are too short to judge a clock that was low" % (1e3 * short[0].timed_s)
        )
    return told


def _disturbed(watched: WatchedRounds) -> List[str]:
    """Others that worked meanwhile, and want of memory."""
    told, before, after = [], watched.before, watched.after
    if "ticks" in before and "ticks" in after:
        passed_s = after["ticks"]["all_s"] - before["ticks"]["all_s"]
        others_s = after["ticks"]["busy_s"] - before["ticks"]["busy_s"] - watched.own_s
        if passed_s > 0 and others_s > OTHER_SHARE * passed_s:
            told.append("other processes took %.0f %% of the CPUs' time" % (100 * others_s / passed_s))
    swapped = after.get("swapped_in_pages", 0) - before.get("swapped_in_pages", 0)
    if "swapped_in_pages" in before and swapped > SWAPPED_PAGES:
        told.append("%d pages were read back from swap" % swapped)
    if "stalled_us" in before and "stalled_us" in after:
        passed_us = 1e6 * (after["time_s"] - before["time_s"])
        stalled_us = after["stalled_us"] - before["stalled_us"]
        if stalled_us > STALL_SHARE * passed_us > 0:
            told.append("processes waited for memory %.0f %% of the time" % (100 * stalled_us / passed_us))
    return told


# ---- what else is told --------------------------------------------------------------------------------------


def _notes(before: Reading) -> List[str]:
    """What limits the board without being throttling of this run."""
    told = []
    if before.get("pi_flags", 0) >> 16:
        once = "; ".join(flags_once(before["pi_flags"]))
        told.append("since it was started this board had told before: %s" % once)
    held = {cpu for cpu, governor in before["governor"].items() if governor == "powersave"}
    held -= {cpu for cpu, driver in before["driver"].items() if driver in BOOSTING}
    if held:
        lows = {before["least_clock_mhz"][cpu] for cpu in held if cpu in before["least_clock_mhz"]}
        told.append(
            "the governor powersave holds the clock at %s MHz"
            % ", ".join("%.0f" % low for low in sorted(lows))
        )
    if "power_mode" in before:
        told.append("power mode %s" % before["power_mode"])
    return told


def _moment(before: Reading, item: Round) -> Dict[str, float]:
    moment = {"t_s": round(item.reading["time_s"] - before["time_s"], 3), "median_ms": item.median_ms}
    if item.clock_mhz:
        moment["clock_mhz"] = max(item.clock_mhz.values())
    hottest = _hottest(item.reading)
    if hottest is not None:
        moment["temperature_c"] = hottest
    return moment


def _hottest(reading: Reading) -> Optional[float]:
    return max(reading["temperature_c"].values()) if reading["temperature_c"] else None
