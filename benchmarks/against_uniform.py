"""Plans against uniform pruning: the same measured INT8 latency, the same training time, the same quantizer, CIFAR-10.

usage: PYTHONPATH=FOLDER python benchmarks/against_uniform.py --data DIR [--networks resnet20,mobilenet,vit]
       [--base FILE.safetensors] [--minutes 12] [--share 0.5] [--slack 1.0] [--runtime litert] [--work DIR]

FOLDER has torch-pruning 1.6.1 (pip install --target FOLDER --no-deps torch-pruning==1.6.1). --base: the weights of the
MobileNetV2-like network, which qat.py trains and keeps. The transformer is trained here, for VIT_EPOCHS.

edgekit's planned build gets --minutes for everything: sensitivity, tables, the contest and the last training. Its
budget is --share of the latency of the unpruned network in the runtime's INT8. Then torch-pruning prunes all groups by
one ratio, by group magnitude and by Taylor scores; the ratio is the smallest at which the untrained network, in INT8,
is as fast as edgekit's, or the fastest one; with --slack 1.0,1.3 also the one that takes up to 1.3 times as long: where
that is not more accurate, edgekit's is 1.3 times faster at equal accuracy. Its networks are trained by edgekit's
trainer for all of these minutes, and quantized by the same ladder of recipes. Latencies at the end are of interleaved
rounds; accuracy is that of the 8,000 test images.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    CLASSES_MEAN,
    CLASSES_STD,
    PREPROCESS,
    artifact_runner,
    edgekit,
    interleaved_ms,
    normalized,
    show,
    top1,
    unpack,
    untrained_int8,
)
from further import load_original
from safetensors.torch import load_file
from small_mobilenet import make_relu6
from torch import nn

from edgekit.compress import TrainConfig, finetune
from edgekit.data import Splits, make_splits, open_source
from edgekit.devices import LocalDevice
from edgekit.latency.measuring import TimingOptions, measure_wholes
from edgekit.types import Artifact, Preprocess

HERE = Path(__file__).parent
sys.path.append(str(HERE / "scenarios"))

from mobile_networks import Attention, make_small_deit  # noqa: E402  (files in a folder beside this one)
from scenario import trained  # noqa: E402

RATIOS = [round(0.1 + 0.05 * step, 2) for step in range(15)]
MULTIPLES = (8, None)
"""Of the widths that torch-pruning leaves. In multiples of 8 it cannot go below 8 of 16 channels, and from a ratio of
0.55 on it leaves such layers whole; None: any width."""

VIT_EPOCHS = 8.0

EPOCHS = 100.0
"""More than fit: the time limit shortens the schedule."""

EXAMPLE = torch.zeros(1, 3, 32, 32)
LOOK = TimingOptions(rounds=9, seconds=0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--networks", default="resnet20,mobilenet")
    parser.add_argument("--base", type=Path, help="the MobileNetV2-like network's weights")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--share", type=float, default=0.5, help="of the unpruned network's INT8 latency")
    parser.add_argument(
        "--slack", default="1.0", help="times edgekit's latency that uniform pruning may take"
    )
    parser.add_argument("--runtime", default="litert", choices=["litert", "onnxruntime", "openvino"])
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    asked = parser.parse_args()
    slacks = [float(text) for text in asked.slack.split(",")]
    torch.set_num_threads(1)
    arrays = unpack(asked.data, asked.work)
    preprocess = Preprocess(input_layout="nhwc", scale=255.0, mean=CLASSES_MEAN, std=CLASSES_STD)
    splits = make_splits(open_source(str(arrays), preprocess, asked.work / "cache"), seed=0)
    for name in asked.networks.split(","):
        reference, weights, network = original(name, asked.data, asked.base, asked.work, splits)
        model = ["--model", reference, "--weights", str(weights)]
        folder = asked.work / f"{name}-{asked.runtime}"
        contest = Contest(folder, arrays, splits, network, asked.minutes, asked.runtime)
        show(f"against uniform pruning: {name}", contest.run(model, asked.share, slacks))


def original(
    name: str, data: Path, base: Path | None, work: Path, splits: Splits
) -> tuple[str, Path, nn.Module]:
    """Reference, weights, and the network in eval mode."""
    if name == "resnet20":
        weights = data / "resnet20.safetensors"
        return f"{data / 'resnet.py'}:make20", weights, load_original(data, weights)
    if name == "mobilenet" and base is not None:
        network = make_relu6()
        network.load_state_dict(load_file(base))
        return f"{HERE / 'small_mobilenet.py'}:make_relu6", base, network.eval()
    if name == "vit":
        assert splits.train is not None
        torch.manual_seed(0)
        config = TrainConfig(epochs=VIT_EPOCHS, learning_rate=1e-3, weight_decay=0.05, alpha=1.0)
        weights = work / "small-deit.safetensors"
        network = trained(make_small_deit(), splits.train, config, weights)
        return f"{HERE / 'scenarios' / 'mobile_networks.py'}:make_small_deit", weights, network
    raise SystemExit(f"{name}: resnet20, vit, or mobilenet with --base")


class Contest:
    """One network: edgekit's plan, and torch-pruning's two."""

    def __init__(
        self, folder: Path, arrays: Path, splits: Splits, network: nn.Module, minutes: float, runtime: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.arrays, self.splits, self.network = folder, arrays, splits, network
        self.minutes, self.runtime = minutes, runtime
        self.device = LocalDevice(folder / "device")

    def run(self, model: list[str], share: float, slacks: list[float]) -> dict[str, Any]:
        """Figures of all, and of the original."""
        whole = self.build("whole", *model, "--compress", "none", "--max-latency", "auto")
        int8 = min(whole["candidates"], key=lambda row: row["latency_ms"]["p50"])
        budget_ms = share * int8["latency_ms"]["p50"]
        started = time.perf_counter()
        planned = self.build(
            "planned", *model, "--compress", "prune", "--latency-table", "auto", "--time-limit",
            f"{self.minutes:g}m", "--epochs", f"{EPOCHS:g}", "--max-latency", f"{budget_ms:.4f}ms",
        )  # fmt: skip
        build_s = time.perf_counter() - started
        chosen = planned["winner"] or planned["nearest"]
        ours = next(row for row in planned["candidates"] if row["id"] == chosen)
        runners = {
            "original, int8": artifact_runner(int8, self.folder / "whole" / "bundle"),
            "edgekit": artifact_runner(ours, self.folder / "planned" / "bundle"),
        }
        macs = {"edgekit": next(v["macs"] for v in planned["variants"] if v["id"] == ours["variant"])}
        for slack, importance in itertools.product(slacks, ("magnitude", "taylor")):
            told = f", {slack:g} times as slow" if slack != 1 else ""
            name = f"torch-pruning, {importance}{told}"
            short = importance if slack == 1 else f"{importance}-{slack:g}"
            result, ratio = self.trained(short, importance, slack, ours)
            runners[name] = artifact_runner(self.best(result), self.folder / short / "bundle")
            macs[name] = next(v["macs"] for v in result["variants"])
            macs[f"{name}, ratio"] = ratio
        return {
            "verdict": planned["verdict"],
            "build_s": round(build_s),
            "budget_ms": round(budget_ms, 4),
            "macs": {"original": next(v["macs"] for v in whole["variants"]), **macs},
            "plan": planned["planning"]["reason"] if planned["planning"] else None,
            **self.judged(runners),
        }

    def build(self, name: str, *arguments: str) -> dict[str, Any]:
        out = self.folder / name
        edgekit(
            "build", "--target", "generic-cpu", "--runtime", self.runtime, "--precision", "int8",
            "--percentile", "p50", "--max-drop", "20%", "--data", str(self.arrays), *PREPROCESS, *arguments,
            "--out", str(out), "--store", str(self.folder / "store"),
        )  # fmt: skip
        result: dict[str, Any] = json.loads((out / "result.json").read_text())
        return result

    def best(self, result: dict[str, Any]) -> dict[str, Any]:
        """The most accurate build by the validation split."""
        rows = [row for row in result["candidates"] if row["accuracy"]]
        best: dict[str, Any] = max(rows, key=lambda row: row["accuracy"]["value"])
        return best

    def as_fast(self, importance: str, slack: float, ours: dict[str, Any]) -> tuple[nn.Module, str]:
        """The network at the smallest ratio at which it takes no longer than `slack` times ours, untrained in INT8;
        else the fastest."""
        tried = [(ratio, multiple) for ratio in RATIOS for multiple in MULTIPLES]
        networks = {
            f"{ratio} in multiples of {multiple or 1}": self.uniform(importance, ratio, multiple)
            for ratio, multiple in tried
        }
        looked = self.folder / "looked-at"
        artifacts = {
            name: untrained_int8(looked / f"{importance}-{name}", network, EXAMPLE.numpy(), self.runtime)
            for name, network in networks.items()
        }
        options = json.loads((self.folder / "planned" / "bundle" / "manifest.json").read_text())["options"]
        entry = Path(ours["artifact"])
        artifacts["ours"] = Artifact("ours", self.runtime, str(entry.parent), entry.name, (), 0, 0.0, options)
        times = measure_wholes(self.device, artifacts, LOOK)
        wanted = slack * times["ours"].value
        for name, network in networks.items():
            if times[name].value <= wanted:
                return network, name
        fastest = min(networks, key=lambda name: times[name].value)
        return networks[fastest], f"{fastest}, slower"

    def uniform(self, importance: str, ratio: float, multiple: int | None) -> nn.Module:
        """Pruned by torch-pruning, all groups by `ratio`, widths in multiples of `multiple`."""
        import torch_pruning

        network = copy.deepcopy(self.network)
        scores: Any = torch_pruning.importance.GroupMagnitudeImportance(p=2)
        if importance == "taylor":
            scores = torch_pruning.importance.GroupTaylorImportance()
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        attending = [module for module in network.modules() if isinstance(module, Attention)]
        heads = {
            layer: module.heads for module in attending for layer in (module.query, module.key, module.value)
        }
        loose = [(value, 2) for name, value in network.named_parameters() if name in ("token", "places")]
        pruner = torch_pruning.pruner.MetaPruner(
            network, EXAMPLE, importance=scores, pruning_ratio=ratio, round_to=multiple, ignored_layers=[last],
            num_heads=heads, unwrapped_parameters=loose,
        )  # fmt: skip
        if importance == "taylor":
            assert self.splits.train is not None
            for batch in list(self.splits.train.batches(128))[:8]:
                answers = network(torch.as_tensor(batch.inputs[0]))
                nn.functional.cross_entropy(answers, torch.as_tensor(batch.labels)).backward()
        pruner.step()
        network.zero_grad()
        return network.eval()

    def trained(
        self, name: str, importance: str, slack: float, ours: dict[str, Any]
    ) -> tuple[dict[str, Any], str]:
        """Trained for the minutes with the original as its teacher, built as a network of its own; and its ratio."""
        assert self.splits.train is not None
        program, ratio = self.folder / f"{name}.pt2", self.folder / f"{name}.ratio"
        if not program.exists():
            network, text = self.as_fast(importance, slack, ours)
            ratio.write_text(text)
            config = TrainConfig(epochs=EPOCHS)
            finetune(network, self.splits.train, config, teacher=self.network, time_limit_s=60 * self.minutes)
            torch.export.save(torch.export.export(network, (EXAMPLE,)), program)
        built = self.build(name, "--model", str(program), "--compress", "none", "--max-latency", "auto")
        return built, ratio.read_text()

    def judged(self, runners: dict[str, Callable[[np.ndarray], np.ndarray]]) -> dict[str, Any]:
        """Test accuracy in percent, its difference to edgekit's with a paired 95 % interval, and median latency."""
        with np.load(self.arrays) as z:
            images, labels = normalized(z["x_test"]), z["y_test"]
        times = interleaved_ms(runners, images[:1])
        correct = {name: top1(run, images, labels) for name, run in runners.items()}
        rows = {}
        for name, right in correct.items():
            difference = 100 * (correct["edgekit"].astype(float) - right)
            error = 1.96 * difference.std() / len(difference) ** 0.5
            rows[name] = {
                "top1_percent": round(100 * right.mean(), 2),
                "edgekit_better_by_points": [round(difference.mean() + way * error, 2) for way in (0, -1, 1)],
                "median_ms": round(float(np.median(times[name])), 4),
            }
        return rows


if __name__ == "__main__":
    main()
