"""`edgekit latency measure`: the whole networks that a table is corrected by, and the one of merged convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from edgekit.devices.base import Device, JobProgress
    from edgekit.hardware import Target
    from edgekit.latency import LatencyTable
    from edgekit.latency.measuring import TimingOptions
    from edgekit.latency.unit import Unit
    from edgekit.types import Artifact

__all__ = ["PrunableNetwork", "corrected", "merged_units", "prunable_network", "with_fewer_heads"]


@dataclass(frozen=True)
class PrunableNetwork:
    """A torch module with inputs of one sample."""

    module: torch.nn.Module
    example: tuple[NDArray[np.generic], ...]


def prunable_network(options: Mapping[str, Any]) -> PrunableNetwork | None:
    """The network of `options` as a torch module, with an example; None for an ONNX file, which cannot be pruned.

    Raises what loading raises, and UserError where no --input-shape says the example's.
    """
    from edgekit.cli.network import example_inputs, located
    from edgekit.model import load_module

    reference = located(options["model"], options)
    if reference.kind == "onnx":
        return None
    module = load_module(reference)
    return PrunableNetwork(module, example_inputs(None, options["input_shapes"], module))


def with_fewer_heads(network: PrunableNetwork, scratch: Path) -> tuple[Path, ...]:
    """The network with each smaller number of heads that a child of it may have, as ONNX files in `scratch`.

    Raises what pruning and exporting raise.
    """
    from edgekit.latency.wholes import fewer_heads
    from edgekit.model import export_onnx

    paths = []
    for index, whole in enumerate(fewer_heads(network.module, network.example)):
        paths.append(scratch / f"heads-{index}.onnx")
        export_onnx(whole, network.example, paths[-1])
    return tuple(paths)


def merged_units(network: PrunableNetwork, options: Mapping[str, Any], scratch: Path) -> tuple[Unit, ...]:
    """Units of the network with each chain of convolutions as one, which a plan may choose; () where there is none.

    Raises what exporting raises.
    """
    from edgekit.compress import apply_plan, propose_all_merged
    from edgekit.errors import StageError
    from edgekit.latency import units_of
    from edgekit.model import export_onnx

    module, example = network.module, network.example
    try:
        plan = propose_all_merged(module, example)
    except StageError:  # nothing of it can be pruned either
        return ()
    if not plan.merged:
        return ()
    path = scratch / "merged.onnx"
    export_onnx(apply_plan(module, example, plan), example, path)
    return units_of(path, options["backend"], options["precision"]).units


def corrected(
    network: PrunableNetwork,
    device: Device,
    table: LatencyTable,
    options: Mapping[str, Any],
    timing: TimingOptions,
    target: Target,
    scratch: Path,
    progress: JobProgress,
) -> tuple[LatencyTable, str]:
    """The table corrected by networks of random widths, and a sentence on it.

    Raises what exporting and measuring raise.
    """
    from edgekit.latency.correcting import correct_table
    from edgekit.latency.wholes import build_whole, random_networks
    from edgekit.model import export_onnx

    networks: dict[str, tuple[Path, Artifact]] = {}
    children = random_networks(network.module, network.example, options["networks"], options["seed"])
    for index, child in enumerate(children):
        progress("building networks", "", index, options["networks"])
        path, folder = scratch / f"{index}.onnx", scratch / f"network-{index}"
        folder.mkdir()
        export_onnx(child, network.example, path)
        features = frozenset(table.measured_on.features)
        built = build_whole(path, options["backend"], options["precision"], target, features, folder)
        networks[folder.name] = path, built
    table = correct_table(
        device, table, networks, network=options["model"].rpartition("/")[2], precision=options["precision"],
        threads=timing.threads, seed=timing.seed, progress=progress,
    )  # fmt: skip
    return table, f"corrected by {len(networks)} networks of random widths"
