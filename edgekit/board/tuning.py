"""What each runtime offers that costs nothing, and whether it is worth keeping: settings beside an artifact's own.

A setting is kept only when the high end of its latency's interval lies below the low end of the default's, measured in
interleaved rounds, and its golden outputs match. Threads come first; options are tried with the threads that were kept.
"""

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

Options = Mapping[str, str]


class RuntimeSetting(NamedTuple):
    """`options`: all that the runtime is opened with, the artifact's own ones included. `name`: what it changes."""

    name: str
    options: Dict[str, str]
    threads: int


class SettingOffer(NamedTuple):
    """One change of options. `threads`: the fewest with which it means anything; `from_threads`: threads -> options."""

    name: str
    options: Dict[str, str]
    threads: int = 1
    from_threads: Optional[Callable[[int], Dict[str, str]]] = None


OFFERS: Dict[str, Tuple[SettingOffer, ...]] = {
    "onnxruntime": (
        SettingOffer("extended graph optimizations", {"graph_optimization_level": "ORT_ENABLE_EXTENDED"}),
        SettingOffer("basic graph optimizations", {"graph_optimization_level": "ORT_ENABLE_BASIC"}),
        SettingOffer("spinning threads", {"session.intra_op.allow_spinning": "1"}, 2),
        SettingOffer("smaller blocks", {"session.dynamic_block_base": "4"}, 2),
        SettingOffer(
            "branches in parallel",
            {"execution_mode": "ORT_PARALLEL"},
            2,
            lambda threads: {"inter_op_num_threads": str(threads)},
        ),
    ),
    "openvino": (
        SettingOffer("hint of throughput", {"PERFORMANCE_HINT": "THROUGHPUT"}),
        SettingOffer("a stream for each thread", {}, 2, lambda threads: {"NUM_STREAMS": str(threads)}),
        SettingOffer("no hyper-threading", {"ENABLE_HYPER_THREADING": "NO"}, 2),
    ),
    "litert": (
        SettingOffer("without XNNPACK", {"delegate": "none"}),
        SettingOffer("XNNPACK's latest operations", {"delegate": "latest"}),
        SettingOffer("XNNPACK in pieces", {"delegate": "unclustered"}),
    ),
    "tensorrt": (
        SettingOffer("builder level 4", {"builder_level": "4"}),
        SettingOffer("builder level 5", {"builder_level": "5"}),
    ),
}
"""By runtime. ONNX Runtime: session options and configuration entries; OpenVINO: properties of the CPU; LiteRT: its
default delegate; TensorRT: its builder's optimization level (8.6 on; 3 is the default), with the timing cache of the
artifact's own folder.

Not offered: denormals as zero. That is a state of the calling thread, so a service that opens the model would compute
otherwise in its own code, too.
"""

THREADED = ("onnxruntime", "openvino", "litert")  # TensorRT's engines run on the GPU
CPU_ALONE = ("openvino",)  # whose offers and threads are the CPU's; its option DEVICE may name another


def offered_keys(runtime: str) -> Tuple[str, ...]:
    """The options that settings of a runtime may change; all else of a tuned.json is refused."""
    keys: Set[str] = set()
    for offer in OFFERS.get(runtime, ()):
        keys.update(offer.options)
        keys.update(offer.from_threads(2) if offer.from_threads else ())
    return tuple(sorted(keys))


def thread_settings(runtime: str, options: Options, threads: int, most: int) -> List[RuntimeSetting]:
    """Other numbers of threads than the default: 1, 2, 4, … and `most`."""
    if runtime not in THREADED or not _is_tunable(runtime, options):
        return []
    counts = {most}
    count = 1
    while count < most:
        counts.add(count)
        count *= 2
    return [
        RuntimeSetting("%d thread%s" % (number, "" if number == 1 else "s"), dict(options), number)
        for number in sorted(counts)
        if number != threads
    ]


def option_settings(runtime: str, options: Options, threads: int) -> List[RuntimeSetting]:
    """Each offer of the runtime that changes something, with so many threads."""
    made = []
    for offer in OFFERS.get(runtime, ()) if _is_tunable(runtime, options) else ():
        changed = dict(options, **offer.options)
        if offer.from_threads:
            changed.update(offer.from_threads(threads))
        if threads >= offer.threads and changed != dict(options):
            made.append(RuntimeSetting(offer.name, changed, threads))
    return made


def _is_tunable(runtime: str, options: Options) -> bool:
    return runtime not in CPU_ALONE or options.get("DEVICE", "CPU") == "CPU"


class Trial(NamedTuple):
    """What was measured of a setting. `latency_ms`: at, low and high; `against`: why it is none, or ""."""

    latency_ms: Optional[Mapping[str, float]]
    peak_memory_bytes: int = 0
    against: str = ""


def is_better(trial: Trial, default: Trial, most_memory_bytes: Optional[int] = None) -> bool:
    """Whether a setting is kept instead of the default: surely faster, right, and within the memory that is allowed."""
    if trial.against or trial.latency_ms is None or default.latency_ms is None or default.against:
        return False
    if most_memory_bytes is not None and trial.peak_memory_bytes > max(
        most_memory_bytes, default.peak_memory_bytes
    ):
        return False
    return trial.latency_ms["high"] < default.latency_ms["low"]


def best_setting(
    trials: Mapping[str, Trial], default: Trial, most_memory_bytes: Optional[int] = None
) -> Optional[str]:
    """The fastest of those that are better than the default, by name; None where none is."""
    better = [
        (trial.latency_ms["at"], name)
        for name, trial in trials.items()
        if trial.latency_ms is not None and is_better(trial, default, most_memory_bytes)
    ]
    return min(better)[1] if better else None


def told(setting: RuntimeSetting, options: Options, threads: int) -> str:
    """What a setting changes, in words."""
    changed = ["%s=%s" % (key, setting.options[key]) for key in sorted(setting.options)
               if setting.options[key] != options.get(key)]  # fmt: skip
    if setting.threads != threads:
        changed.insert(0, "%d threads instead of %d" % (setting.threads, threads))
    return ", ".join(changed) or "nothing"


def trial_of(entry: Mapping[str, Any], latency_ms: Callable[[Any], Mapping[str, float]], off: bool) -> Trial:
    """A job's entry as a trial. `off`: its golden outputs do not match."""
    if entry["status"] != "ok":
        return Trial(None, 0, "failed at %s: %s" % (entry["stage"], entry["cause"]))
    times = latency_ms(entry["rounds_ms"]) if entry.get("rounds_ms") else None
    return Trial(times, entry["peak_memory_bytes"], "golden outputs do not match" if off else "")
