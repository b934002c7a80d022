"""Targets and machines in the terminal, 80 columns wide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.hardware.sections import Fact

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgekit.cli.probing import NearTarget
    from edgekit.hardware import Machine, Runtime, Target
    from edgekit.plan import Plan
    from edgekit.types import BackendName, Precision

__all__ = ["print_list", "print_machine", "print_nearest", "print_target"]

GIB = 2**30


def print_list(targets: Sequence[Target]) -> None:
    """One line or two per target: name, board, runtimes, precisions, memory."""
    table = _table("target", "board", "runtimes", "precisions", "memory")
    for target in targets:
        table.add_row(
            target.name,
            target.title,
            "\n".join(runtime.name for runtime in target.runtimes),
            " ".join(target.precisions),
            _sizes(target),
        )
    _console().print(table)


def print_target(target: Target, plan: Plan, machine: Machine) -> None:
    """All facts with unit and source, then what a build would try and what not."""
    console = _console()
    console.print(f"{target.name}: {target.title}", style="bold")
    for note in target.notes:
        console.print(note)
    console.print()
    facts = _table("fact", "value", "source")
    for name, value, fact in _facts(target):
        facts.add_row(name, value, "\n".join(fact.source) + ("" if fact.verified else "\n(not verified)"))
    console.print(facts, "")
    tried = _table("a build tries", "")
    for candidate in plan.candidates:
        runtime = target.runtime(candidate.backend)
        tried.add_row(f"{candidate.backend} {candidate.precision}", _remark(runtime, candidate.precision))
    console.print(tried, "")
    refused = _table("it does not try", "because", "instead")
    for rejection in plan.rejections:
        refused.add_row(rejection.what, rejection.reason, rejection.instead)
    if plan.rejections:
        console.print(refused, "")
    sources = _table("source", "")
    for name, text in target.sources.items():
        sources.add_row(name, text)
    console.print(sources, "")
    misfits = target.misfits(machine)
    like = target.likeness(machine)
    if misfits:
        console.print(f"Not this machine: {'; '.join(misfits)}.")
    else:
        console.print(f"{like[:1].upper()}{like[1:]}." if like else "This machine is that board.")


def print_machine(
    machine: Machine,
    runtimes: Mapping[BackendName, str],
    fits: Mapping[str, tuple[str, ...]],
    free_disk_bytes: int | None = None,
    emulated: bool = False,
) -> None:
    """What the machine is, its runtimes, and for every target whether it fits."""
    from edgekit.report.wording import plural

    console = _console()
    facts = _table("this machine", "")
    facts.add_row("name", machine.name)
    facts.add_row("CPU", f"{machine.cpu} ({machine.arch}), {plural(machine.cores, 'core')}")
    facts.add_row(
        "features",
        " ".join(name for name in sorted(machine.features) if _telling(name)) or "none that matter",
    )
    facts.add_row("memory", f"{machine.memory_bytes / GIB:.1f} GiB")
    if free_disk_bytes is not None:
        facts.add_row("free disk", f"{free_disk_bytes / GIB:.1f} GiB")
    facts.add_row("system", machine.os)
    facts.add_row("emulated", "yes: its times say nothing of a board" if emulated else "no")
    facts.add_row("governor", machine.governor or "not told")
    for runtime, state in runtimes.items():
        facts.add_row(runtime, state)
    console.print(facts, "")
    table = _table("target", "fits", "why not")
    for name, misfits in sorted(fits.items(), key=lambda item: (bool(item[1]), item[0])):
        table.add_row(name, "no" if misfits else "yes", "; ".join(misfits))
    console.print(table)


def print_nearest(near: Sequence[NearTarget], *, emulated: bool) -> None:
    """The target that is proposed, and for each of the nearest what speaks against it, by file and key."""
    console = _console()
    proposed = next((target for target in near if target.fits), None)
    console.print()
    if proposed is not None:
        console.print(f"It is {proposed.name}: --target {proposed.name}", style="bold")
    elif emulated:
        console.print("Emulated, it can stand for any board of its architecture.", style="bold")
    else:
        console.print(
            "It is none of the targets: edgekit targets new NAME begins a description.", style="bold"
        )
    for target in near:
        owner = ", as devices.toml says," if target.named else ""
        what = "nothing speaks against it" if not target.contradictions else "contradicts its description"
        if target.contradictions or target.fits or target.named:
            console.print(f"{target.name}{owner}: {what}")
            console.print(f"  {target.file}")
        if target.likeness:
            console.print(f"  {target.likeness}")
        for contradiction in target.contradictions:
            console.print(f"  {contradiction.key}: {contradiction.told}")
        if target.fits or target.named:
            for reason in target.lacking.values():
                console.print(f"  lacking: {reason}")


def _telling(feature: str) -> bool:
    """Whether a CPU feature decides anything for inference."""
    return feature.startswith(("avx", "amx", "asimd", "sve")) or feature in {
        "fma",
        "sse4_2",
        "fphp",
        "i8mm",
        "bf16",
    }


def _facts(target: Target) -> list[tuple[str, str, Fact]]:
    """(what, value with unit, the section) in the order of the file."""
    identity, memory = target.identity, target.memory
    rows: list[tuple[str, str, Fact]] = [("recognised by", _identity(target), identity)]
    share = f"; one model may use {memory.model_share:.0%}"
    rows.append(("memory", (_sizes(target, all_sizes=True) or "depends on the machine") + share, memory))
    if target.bandwidth:
        rows.append(("bandwidth", f"{target.bandwidth.gb_s:g} GB/s peak", target.bandwidth))
    for item in target.accelerators:
        extras = [item.arch, item.sm, "2:4 sparsity" if item.sparsity_2_4 else "", *item.notes]
        rows.append((item.kind, f"{item.count} x {item.name}" + _listed(extras), item))
    for peak in target.peaks:
        rows.append((f"peak {peak.precision}", f"{peak.tera_ops:g} x 10^12 operations/s", peak))
    multiples = ", ".join(f"{name} {count}" for name, count in target.channels.multiples.items())
    rows.append(("channel multiples", multiples, target.channels))
    for runtime in target.runtimes:
        where = f"{runtime.package or runtime.name} {runtime.versions} on {runtime.device}"
        what = f"{where}: {' '.join(runtime.precisions)}; ONNX opset up to {runtime.opset_max}"
        rows.append((runtime.name, "\n".join((what, *runtime.notes)), runtime))
    for rule in target.int8:
        asks = _listed([*rule.all_of, " or ".join(rule.any_of)])
        pair = f"{rule.activation} activations x {rule.weight} weights of {rule.weight_bits} bits{asks}"
        rows.append(("int8", f"{pair}: {rule.why}", rule))
    return rows


def _identity(target: Target) -> str:
    identity = target.identity
    parts = [
        target.architecture,
        f"model with {' or '.join(identity.models)}" if identity.models else "",
        f"CPU named {' or '.join(identity.cpus)}" if identity.cpus else "",
        f"has {', '.join(identity.all_of)}" if identity.all_of else "",
        f"has {' or '.join(identity.any_of)}" if identity.any_of else "",
        f"has no {', no '.join(identity.none_of)}" if identity.none_of else "",
        f"accelerator {identity.accelerator}" if identity.accelerator else "",
    ]
    return "; ".join(part for part in parts if part)


def _remark(runtime: Runtime | None, precision: Precision) -> str:
    """What is special about this precision in this runtime."""
    if runtime is None:
        return ""
    stored, needs = runtime.runs_as.get(precision), runtime.requires.get(precision)
    remarks = [
        f"weights stored so, arithmetic in {stored}" if stored else "",
        f"where the CPU has {' or '.join(needs.any_of)}" if needs else "",
    ]
    return "; ".join(remark for remark in remarks if remark)


def _listed(parts: Sequence[str]) -> str:
    text = ", ".join(part for part in parts if part)
    return f" ({text})" if text else ""


def _sizes(target: Target, all_sizes: bool = False) -> str:
    sizes = target.memory.sizes_bytes
    if not sizes:
        return "" if all_sizes else "varies"
    texts = [f"{size / GIB:g}" for size in sizes]
    if all_sizes:
        return " or ".join(texts) + " GiB"
    return (f"{texts[0]}-{texts[-1]}" if len(texts) > 1 else texts[0]) + " GiB"


def _console() -> Console:
    from edgekit.console import make_console

    return make_console(highlight=False, markup=False, emoji=False)


def _table(*headings: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, no_wrap=index == 0, overflow="fold")
    return table
