"""Layers in float where full INT8 loses too much: chosen by harm alone, and by harm against measured time.

usage: python benchmarks/mixed_precision.py [--work DIR] [--steps 1200] [--lock FILE]
       [--runtimes onnxruntime,openvino,litert] [--max-drop 0.005] [--most 1.25]

The network reads a dial: of a 32x32 grey picture of a pointer it gives cosine and sine of the angle. A reading is right
when it is within 1 degree: what int8 adds at the outputs is an error of the angle at once, which is why networks that
measure lose more than networks that classify. It is trained as it is, on pictures that are drawn with random centres,
lengths, widths, contrasts, slopes of light and noise, and kept in the work folder. The recipe in full INT8 is the best
of its ladder on 8,000 validation pictures, and on these the search for the least time in float is judged as a build
judges it (`building/candidates/ladder`); all figures are of 8,000 others. All latencies of a runtime are of the
interleaved rounds of one job, in which "chosen" is the fastest that keeps the accuracy on the validation pictures, or
else the most accurate within `--most` times INT8's latency. NNCF's own accuracy control, on 2,000 of these pictures,
stands beside OpenVINO's rows.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.board.machine import describe
from edgekit.building.candidates.ladder import Tried, climb
from edgekit.building.values import Attempt
from edgekit.devices import LocalDevice
from edgekit.files import sha256_file
from edgekit.graph import CalibrationData, onnx_cost, read_signature
from edgekit.hardware import find_target
from edgekit.latency import LatencyTable, open_table, save_table
from edgekit.latency.measuring import TimingOptions, describe_device, measure_exactly, measure_wholes
from edgekit.latency.mixed_wholes import correct_precisions
from edgekit.latency.precisions import precision_graph
from edgekit.latency.wholes import build_whole
from edgekit.model import export_onnx
from edgekit.quantize import PrecisionTimes, Recipe, find_recipe, ladder
from edgekit.types import Accuracy, Artifact, Candidate, Estimate, Variant

WHOLE = TimingOptions(rounds=25, seconds=0.6)
LADDER = {"onnxruntime": "int8-minmax", "litert": "int8-minmax", "openvino": "int8-nncf"}
BATCH, LEARNING_RATE, WITHIN_DEGREES = 128, 3e-3, 1.0
CONTROL = 2000


class Basic(nn.Module):
    """Two convolutions beside a shortcut, as ResNet's (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def network() -> nn.Module:
    """float32 [N, 1, 32, 32] → cosine and sine [N, 2]; 14 million MACs."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        Basic(16, 16, 1), Basic(16, 32, 2), Basic(32, 64, 2), Basic(64, 64, 2),
        nn.Flatten(), nn.Linear(64 * 16, 2),
    )  # fmt: skip


def dials(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures float32 [count, 1, 32, 32] and their angles in radians."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, count)
    middle_x, middle_y = rng.uniform(14.5, 16.5, (2, count))
    length = rng.uniform(10, 13, count)
    pictures = np.empty((count, 1, 32, 32), np.float32)
    y, x = np.mgrid[:32, :32].astype(np.float32)
    for start in range(0, count, 1000):
        some = slice(start, start + 1000)
        cos, sin = np.cos(angle[some])[:, None, None], np.sin(angle[some])[:, None, None]
        right, down = x - middle_x[some, None, None], y - middle_y[some, None, None]
        along = np.clip(right * cos + down * sin, -3, length[some, None, None])
        off = (right - along * cos) ** 2 + (down - along * sin) ** 2
        size = (len(off), 1, 1)
        pointer = rng.uniform(0.5, 1, size) * np.exp(-off / (2 * rng.uniform(0.6, 1.1, size) ** 2))
        slope = rng.uniform(-0.01, 0.01, (2, *size))
        light = rng.uniform(0, 0.4, size) + slope[0] * (x - 16) + slope[1] * (y - 16)
        pictures[some, 0] = pointer + light + rng.normal(0, 0.02, (len(off), 32, 32))
    return pictures, angle


def right(answers: np.ndarray, angles: np.ndarray) -> float:
    """The share of readings [N, 2] that are within WITHIN_DEGREES."""
    off = np.arctan2(answers[:, 1], answers[:, 0]) - angles
    return float(np.mean(np.abs(np.degrees(np.angle(np.exp(1j * off)))) <= WITHIN_DEGREES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".bench/mixed"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--runtimes", default="onnxruntime,openvino,litert")
    parser.add_argument("--max-drop", type=float, default=0.005)
    parser.add_argument("--most", type=float, default=1.25)
    parser.add_argument("--lock", type=Path, help="a file: shared while it computes, locked while it times")
    options = parser.parse_args()
    torch.set_num_threads(1)
    quiet = Quiet(options.lock)
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "float.onnx"
    if not path.exists():
        export_onnx(train(options.steps), (np.zeros((1, 1, 32, 32), np.float32),), path)
    data = {"val": dials(8000, 3), "test": dials(8000, 4)}
    calibration = dials(512, 5)[0]
    facts = describe()
    answer: dict[str, Any] = {"machine": facts["machine"], "cpu": facts["cpu"], "versions": facts["versions"]}
    for runtime in options.runtimes.split(","):
        bench = Bench(runtime, path, calibration, options.work / runtime, quiet)
        answer[runtime] = bench.compare(data, options.max_drop, options.most)
        (options.work / f"{runtime}.json").write_text(json.dumps(answer[runtime], indent=1))
    print(json.dumps(answer, indent=1))


def train(steps: int) -> nn.Module:
    """Adam with a one-cycle rate on 40,000 pictures; the last steps in float32."""
    torch.manual_seed(0)
    pictures, angles = dials(40000, 1)
    x = torch.from_numpy(pictures)
    wanted = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32))
    model = network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        chosen = torch.randint(len(x), (BATCH,))
        batch = x[chosen].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=step < 0.7 * steps):
            answers = model(batch)
        loss = ((answers.float() - wanted[chosen]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval().float().to(memory_format=torch.contiguous_format)


class Bench:
    """One runtime: its artifacts in `folder`, what they answer, how long they take."""

    def __init__(self, runtime: Any, path: Path, calibration: np.ndarray, folder: Path, quiet: Quiet):
        self.runtime, self.path, self.folder, self.quiet = runtime, path, folder, quiet
        self.target, self.features = find_target("generic-cpu"), frozenset(describe()["features"])
        self.data = CalibrationData(
            lambda: ((calibration[at : at + 32],) for at in range(0, len(calibration), 32)),
            len(calibration),
            "pictures of their own",
        )
        self.memo: dict[bytes, bytes] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.device = LocalDevice(folder / "device")

    def compare(self, data: dict[str, Any], max_drop: float, most: float) -> dict[str, Any]:
        made: dict[str, Artifact] = {"float": self.artifact("float", None)}
        recipes = [recipe for recipe in ladder(LADDER[self.runtime]) if self.runtime in recipe.backends]
        full = {
            recipe.name: self.artifact(recipe.name, recipe) for recipe in recipes if not recipe.keep_float
        }
        scores = {name: self.right(artifact, *data["val"]) for name, artifact in full.items()}
        best = max(scores, key=lambda name: scores[name])
        made[f"int8: {best}"] = full[best]
        started = time.perf_counter()
        times = self.times()
        times_s = time.perf_counter() - started
        float_right = self.right(made["float"], *data["val"])
        base = find_recipe("int8-nncf-mixed" if self.runtime == "openvino" else "int8-mixed")
        for count in (0.1, 0.25):
            recipe = msgspec.structs.replace(base, keep_float=count, float_time=0.0)
            made[f"by harm alone, {count:.0%} of the layers"] = self.artifact(f"harm-{count}", recipe)
        started = time.perf_counter()
        tried = self.searched(base, times, data["val"], float_right, max_drop)
        search_s = time.perf_counter() - started
        searched = {f"searched: {attempt.candidate.recipe}": attempt for attempt in tried.attempts}
        made |= {name: attempt.artifact for name, attempt in searched.items()}
        control_s = 0.0
        if self.runtime == "openvino":
            few = (data["val"][0][:CONTROL], data["val"][1][:CONTROL])
            made["NNCF's accuracy control"], control_s = self.accuracy_control(few)
        with self.quiet.alone():
            load = os.getloadavg()[0]
            measured = measure_wholes(self.device, made, WHOLE)
        int8_ms = measured[f"int8: {best}"].value
        rows = {}
        for name, artifact in made.items():
            kept = artifact.quantization.in_float if artifact.quantization else ()
            rows[name] = {
                "right": round(100 * self.right(artifact, *data["test"]), 2),
                "ms": [
                    round(value, 4)
                    for value in (measured[name].value, measured[name].low, measured[name].high)
                ],
                "of_int8": round(measured[name].value / int8_ms, 3),
                "in_float": [
                    f"{layer.name} ({layer.extra_ms * 1e3:+.1f} us, {layer.noise:.1%} of the noise)"
                    if layer.extra_ms is not None and layer.noise is not None
                    else layer.name
                    for layer in kept
                    if layer.reason in ("sensitive", "between")
                ],
                "notes": [note for note in artifact.audit.notes if note.startswith("In float by")],
            }
        for name, attempt in searched.items():
            rows[name]["lost on validation"] = round(100 * attempt.accuracy.drop.value, 2)
        return {"load": round(load, 1), "table_s": round(times_s), "search_s": round(search_s),
                "control_s": round(control_s), "times": times.measured_on, "float on validation": float_right,
                "validation": scores, "chosen": chosen(rows, max_drop, most), "rows": rows}  # fmt: skip

    def searched(
        self, recipe: Recipe, times: PrecisionTimes, validation: Any, float_right: float, max_drop: float
    ) -> Tried:
        """What a build's ladder tries from this recipe on."""

        def check(variant: Variant, candidate: Candidate) -> Attempt:
            artifact = self.artifact(candidate.recipe, find_recipe(candidate.recipe), times)
            got = self.right(artifact, *validation)
            drop = round(float_right - got, 9)  # counts of pictures, whose difference is not exact
            accuracy = Accuracy(
                "right", "validation", len(validation[1]), Estimate(got, got, got), Estimate(drop, drop, drop)
            )
            return Attempt(candidate, artifact, accuracy)

        first = Candidate(f"original-{recipe.name}", "original", self.runtime, "int8", recipe.name)
        tried = climb(check, find_recipe, self.variant(), first, max_drop)
        if tried.failures:
            raise SystemExit(f"failed: {tried.failures}")
        return tried

    def artifact(self, name: str, recipe: Recipe | None, times: PrecisionTimes | None = None) -> Artifact:
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        asked = ("int8", recipe.name) if recipe else ("fp32", "")
        request = ExportRequest(
            self.variant(), Candidate(name, "original", self.runtime, *asked), self.target, self.features,
            place, recipe, self.data if recipe else None, memo=self.recall, times=times,
        )  # fmt: skip
        return get_backend(self.runtime).export(request)

    def variant(self) -> Variant:
        return Variant("original", "original", None, "", str(self.path), sha256_file(self.path),
                       read_signature(self.path), onnx_cost(self.path))  # fmt: skip

    def recall(self, stage: str, parts: Any, make: Any) -> bytes:
        key = msgspec.json.encode((stage, parts), order="sorted")
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def times(self) -> PrecisionTimes:
        """Of the layers in both precisions, and of transitions; measured where an earlier run has not. Corrected by
        whole networks of this run."""
        path = self.folder / "table.json"
        graph = precision_graph(self.path, self.runtime)
        table: LatencyTable = open_table(path, describe_device(self.device, self.runtime, 1))
        with self.quiet.alone():
            table = measure_exactly(self.device, table, graph.wanted())
        save_table(table, path)
        times = graph.times(table)

        def build(share: float) -> Artifact:
            folder = self.folder / f"whole-{share}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            return build_whole(
                self.path,
                self.runtime,
                "int8",
                self.target,
                self.features,
                folder,
                times=times,
                float_time=share,
            )

        with self.quiet.alone():
            return correct_precisions(self.device, times, build)

    def right(self, artifact: Artifact, pictures: np.ndarray, angles: np.ndarray) -> float:
        with get_backend(self.runtime).open(artifact) as session:
            name = next(iter(session.signature["inputs"]))["name"]
            answers = [next(iter(session.run({name: picture[None]}).values())) for picture in pictures]
        return right(np.concatenate(answers), angles)

    def accuracy_control(self, validation: Any) -> tuple[Artifact, float]:
        """NNCF's: at most half a point lost on the validation pictures. Gives the seconds that it took, too."""
        import nncf
        import openvino as ov

        pictures, angles = validation
        started = time.perf_counter()
        model = ov.Core().read_model(self.path)
        name = model.input(0).any_name
        samples = nncf.Dataset(
            [chunk[0] for chunk in self.data.chunks(1, 300)], lambda picture: {name: picture}
        )
        held = nncf.Dataset(list(range(len(pictures))), lambda at: pictures[at : at + 1])

        def validate(compiled: Any, items: Iterable[int]) -> float:
            chosen = list(items)  # NNCF hands over what the data set holds, not what its function makes of it
            answers = [compiled({0: pictures[at : at + 1]})[0] for at in chosen]
            return right(np.concatenate(answers), angles[chosen])

        quantized = nncf.quantize_with_accuracy_control(
            model, calibration_dataset=samples, validation_dataset=held, validation_fn=validate, max_drop=0.005,
            preset=nncf.QuantizationPreset.MIXED,
        )  # fmt: skip
        place = self.folder / "control"
        place.mkdir(exist_ok=True)
        ov.save_model(quantized, place / "model.xml", compress_to_fp16=False)
        took = time.perf_counter() - started
        return Artifact("control", "openvino", str(place), "model.xml", (), 0, 0.0,
                        options={"INFERENCE_PRECISION_HINT": "f32"}), took  # fmt: skip


def chosen(rows: dict[str, Any], max_drop: float, most: float) -> str:
    """The fastest searched row that keeps the accuracy on the validation pictures, or else the most accurate within the
    time; "" where there is none."""
    searched = {name: row for name, row in rows.items() if "lost on validation" in row}
    kept = {name: row for name, row in searched.items() if row["lost on validation"] <= 100 * max_drop}
    if kept:
        return min(kept, key=lambda name: kept[name]["of_int8"])
    within = {name: row for name, row in searched.items() if row["of_int8"] <= most}
    return min(within, key=lambda name: within[name]["lost on validation"]) if within else ""


class Quiet:
    """A file that is locked together with others who compute, and alone while something is timed."""

    def __init__(self, path: Path | None) -> None:
        self.file = None if path is None else path.open("ab")
        self.take(fcntl.LOCK_SH)

    def take(self, kind: int) -> None:
        if self.file is not None:
            fcntl.flock(self.file, kind)

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.take(fcntl.LOCK_EX)
        try:
            yield
        finally:
            self.take(fcntl.LOCK_SH)


if __name__ == "__main__":
    main()
