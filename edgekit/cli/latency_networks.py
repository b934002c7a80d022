"""`edgekit latency measure`: the whole networks that a table is corrected by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.devices.base import Device, JobProgress
    from edgekit.hardware import Target
    from edgekit.latency import LatencyTable
    from edgekit.latency.measuring import TimingOptions
    from edgekit.types import Artifact

__all__ = ["corrected", "with_fewer_heads"]


def with_fewer_heads(options: Mapping[str, Any], scratch: Path) -> tuple[Path, ...]:
    """The network with each smaller number of heads that a child of it may have, as ONNX files in `scratch`.

    None of an ONNX file, which cannot be pruned, and none where no children are measured. Raises what exporting raises.
    """
    from edgekit.cli.network import example_inputs, located
    from edgekit.latency.wholes import fewer_heads
    from edgekit.model import export_onnx, load_module

    reference = located(options["model"], options)
    if reference.kind == "onnx" or not options["networks"]:
        return ()
    example = example_inputs(None, options["input_shapes"])
    paths = []
    for index, whole in enumerate(fewer_heads(load_module(reference), example)):
        paths.append(scratch / f"heads-{index}.onnx")
        export_onnx(whole, example, paths[-1])
    return tuple(paths)


def corrected(
    device: Device,
    table: LatencyTable,
    options: Mapping[str, Any],
    timing: TimingOptions,
    target: Target,
    scratch: Path,
    progress: JobProgress,
) -> tuple[LatencyTable, str]:
    """The table corrected by networks of random widths, and a sentence on it; the table as it is for an ONNX file.

    Raises what exporting and measuring raise.
    """
    from edgekit.cli.network import example_inputs, located
    from edgekit.latency.correcting import correct_table
    from edgekit.latency.wholes import build_whole, random_networks
    from edgekit.model import export_onnx, load_module

    reference = located(options["model"], options)
    if reference.kind == "onnx":
        return table, "not corrected: an ONNX file cannot be pruned; give the torch module"
    example = example_inputs(None, options["input_shapes"])
    networks: dict[str, tuple[Path, Artifact]] = {}
    children = random_networks(load_module(reference), example, options["networks"], options["seed"])
    for index, child in enumerate(children):
        progress("building networks", "", index, options["networks"])
        path, folder = scratch / f"{index}.onnx", scratch / f"network-{index}"
        folder.mkdir()
        export_onnx(child, example, path)
        features = frozenset(table.measured_on.features)
        built = build_whole(path, options["backend"], options["precision"], target, features, folder)
        networks[folder.name] = path, built
    table = correct_table(
        device, table, networks, network=options["model"].rpartition("/")[2], precision=options["precision"],
        threads=timing.threads, seed=timing.seed, progress=progress,
    )  # fmt: skip
    return table, f"corrected by {len(networks)} networks of random widths"
