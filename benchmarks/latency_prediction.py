"""Latency predicted from layers against measured: networks of random aligned widths, held out of everything.

usage: python benchmarks/latency_prediction.py --data DIR [--work DIR] [--networks resnet20,mobilenet,vit]
       [--runtimes onnxruntime,openvino,litert] [--precision int8,fp32] [--fitted 12] [--held-out 20] [--prepare]

For each network and runtime: its artifacts are built (a rerun takes those that are there; --prepare ends then), a table
is measured from nothing, a correction fitted to the first networks, and the times of the others told beforehand. All
whole networks are measured in the interleaved rounds of one job. MACs as predictor, a line fitted to the same networks,
stand beside it. Children of the ViT differ in the widths of their MLPs and heads, in how many heads they have, and in
how many blocks.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import small_vit
from mobilenet import make as make_mobilenet

from edgekit.board.machine import describe
from edgekit.devices import LocalDevice
from edgekit.hardware import find_target
from edgekit.latency import LatencyTable, NetworkUnits, save_table, units_of
from edgekit.latency.correction import Correction, Whole, fit_correction
from edgekit.latency.measuring import TimingOptions, describe_device, measure_units, measure_wholes
from edgekit.latency.table import structure_of
from edgekit.latency.wholes import build_whole, fewer_heads, random_networks
from edgekit.model import export_onnx
from edgekit.types import Artifact

WHOLE = TimingOptions(rounds=25, seconds=0.6)
SHAPES = {"resnet20": (1, 3, 32, 32), "mobilenet": (1, 1, 96, 96), "vit": (1, 3, 32, 32)}
DROPPABLE = {"vit": tuple(f"blocks.{index}" for index in range(small_vit.BLOCKS))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".bench/latency"))
    parser.add_argument("--networks", default="resnet20,mobilenet,vit")
    parser.add_argument("--runtimes", default="onnxruntime,openvino,litert")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--fitted", type=int, default=12, help="networks that the correction is fitted to")
    parser.add_argument("--held-out", type=int, default=20, help="networks that are told beforehand")
    parser.add_argument("--prepare", action="store_true", help="build the artifacts, measure nothing")
    options = parser.parse_args()
    facts = describe()
    answer: dict[str, Any] = {"machine": facts["machine"], "cpu": facts["cpu"], "versions": facts["versions"]}
    for network in options.networks.split(","):
        folder = options.work / network
        folder.mkdir(parents=True, exist_ok=True)
        names = export_children(network, options.data, folder, options.fitted + options.held_out)
        for runtime in options.runtimes.split(","):
            precisions = options.precision.split(",")
            built: dict[str, dict[str, Artifact]] = {precision: {} for precision in precisions}
            for name, precision in itertools.product(names, precisions):  # a conversion serves both
                built[precision][name] = artifact(folder, name, runtime, precision)
            for precision in () if options.prepare else precisions:
                result = compare(folder, runtime, precision, built[precision], options.fitted)
                answer[f"{network} {runtime} {precision}"] = result
                (folder / f"result-{runtime}-{precision}.json").write_text(json.dumps(result))
    print(json.dumps(answer, indent=1))


def export_children(network: str, data: Path, folder: Path, count: int) -> tuple[str, ...]:
    """The whole network as full.onnx, with fewer heads as heads-0.onnx and so on, its children as 0.onnx and so on."""
    names = tuple(str(index) for index in range(count))
    if all((folder / f"{name}.onnx").exists() for name in (*names, "full")):
        return names
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = make_network(network, data)
    example = (np.zeros(SHAPES[network], np.float32),)
    for index, whole in enumerate(fewer_heads(module, example)):
        export_onnx(whole, example, folder / f"heads-{index}.onnx")
    children = random_networks(module, example, len(names), 1, droppable=DROPPABLE.get(network, ()))
    for name, child in zip(names, children, strict=True):
        if not (folder / f"{name}.onnx").exists():
            export_onnx(child, example, folder / f"{name}.onnx")
    export_onnx(module, example, folder / "full.onnx")  # last: a rerun goes by it
    return names


def make_network(network: str, data: Path) -> Any:
    """The untrained torch module."""
    if network == "mobilenet":
        return make_mobilenet().eval()
    if network == "vit":
        module = small_vit.make().eval()
        small_vit.unequal_norms(module, 1.5)  # as in a trained one: ones would be left out of some files
        return module
    spec = importlib.util.spec_from_file_location("resnet", data / "resnet.py")
    resnet: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(resnet)
    return resnet.make20().eval()


def artifact(folder: Path, name: str, runtime: Any, precision: Any) -> Artifact:
    """The child as the runtime's exporter builds it, or as it was built before."""
    place = folder / f"{name}-{runtime}-{precision}"
    note = place / "artifact.json"
    if not note.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        features = frozenset(describe()["features"])
        made = build_whole(
            folder / f"{name}.onnx", runtime, precision, find_target("generic-cpu"), features, place
        )
        note.write_text(json.dumps({"entry": made.entry, "options": dict(made.options)}))
    told = json.loads(note.read_text())
    return Artifact(name, runtime, str(place), told["entry"], (), 0, 0.0, told["options"])


def compare(
    folder: Path, runtime: Any, precision: Any, built: dict[str, Artifact], first: int
) -> dict[str, Any]:
    """Errors of the table, of plain sums and of MACs on the children behind the `first` ones, which were fitted to."""
    load, started = [os.getloadavg()[0]], time.perf_counter()
    device = LocalDevice(folder / "work")
    table = LatencyTable(describe_device(device, runtime, 1))
    largest = [folder / "full.onnx", *sorted(folder.glob("heads-*.onnx"))]
    units = [unit for path in largest for unit in units_of(path, runtime, precision).to_measure]
    table = measure_units(device, table, units)
    save_table(table, folder / f"table-{runtime}-{precision}.json")
    table_s = time.perf_counter() - started
    measured = measure_wholes(device, built, WHOLE)
    load.append(os.getloadavg()[0])
    names = list(built)
    networks = {name: units_of(folder / f"{name}.onnx", runtime, precision) for name in names}
    times = [measured[name].value for name in names]
    correction = fitted(table, [networks[name] for name in names[:first]], times[:first], precision)
    macs = np.array([[1, sum(unit.macs for unit in networks[name].units)] for name in names], np.float64)
    line = np.linalg.lstsq(macs[:first] / np.array(times[:first])[:, None], np.ones(first), rcond=None)[0]
    table = table.with_correction(correction)
    told = [table.predict_network(networks[name].units) for name in names]
    predicted = [row.latency_ms.value if row.latency_ms else float("nan") for row in told]
    return {
        "points": len(table.timed),
        "table_s": round(table_s),
        "load": [round(value, 1) for value in load],
        "error": errors(predicted[first:], times[first:]),
        "error_of_sums": errors([row.sum_ms for row in told[first:]], times[first:]),
        "error_of_macs": errors(list(macs[first:] @ line), times[first:]),
        "measured_ms": [round(min(times), 4), round(max(times), 4)],
        "interval_of_a_whole": float(np.median([(m.high - m.low) / 2 / m.value for m in measured.values()])),
        "factors": [*correction.factors, correction.constant_ms, correction.weights_ms_per_mib],
        "told_by_the_table": [correction.heldout_median, correction.heldout_worst],
        "all_ms": times,
        "pairs_ms": [
            [round(a, 4), round(b, 4)] for a, b in zip(predicted[first:], times[first:], strict=True)
        ],
    }


def fitted(
    table: LatencyTable, networks: Sequence[NetworkUnits], times: Sequence[float], precision: Any
) -> Correction:
    wholes = []
    for network, time_ms in zip(networks, times, strict=True):
        known = [table.predict(unit) for unit in network.units]
        predicted = tuple(row.latency_ms.value for row in known if row.latency_ms is not None)
        wholes.append(Whole(network.units, predicted, time_ms))
    return fit_correction(
        wholes, structure=structure_of(networks[0].units), network="children", precision=precision
    )


def errors(predicted: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """Relative errors: median and worst."""
    off = np.abs(np.array(predicted) / np.array(measured) - 1)
    return {"median": float(np.median(off)), "worst": float(off.max())}


if __name__ == "__main__":
    main()
