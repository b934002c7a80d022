"""What one convolution costs in the place of an inverted residual's three, in ONNX Runtime on this machine.

A 1×1 expansion, a depthwise 3×3 and a 1×1 projection whose activations are gone are one dense 3×3 (LayerMerge, Kim et
al., ICML 2024). Each row: median milliseconds of both with one thread, their runs by turns, in float32 and in INT8;
and how far both linear forms differ, in the interior and at the border. Where the expansion has a bias they differ at
the border: the depthwise layer pads with zeros behind that bias, the merged one before it.

    python benchmarks/merging.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Input channels, expansion, output channels, height and width, stride: MobileNetV2's, and expansions of 1 and 2.
BLOCKS = (
    (16, 6, 24, 56, 2),
    (24, 6, 24, 28, 1),
    (32, 6, 32, 14, 1),
    (64, 6, 64, 14, 1),
    (96, 6, 96, 7, 1),
    (32, 2, 32, 14, 1),
    (96, 2, 96, 14, 1),
    (96, 1, 96, 14, 1),
)
RUNS, WARMUP = 200, 20


def write_model(path: Path, layers: list[tuple[Any, Any, int, int]], size: int, activate: bool) -> None:
    """Convolutions (weight, bias, stride, groups) in a chain; a ReLU behind all but the last if `activate`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers, name = [], [], "x"
    for index, (weight, bias, stride, groups) in enumerate(layers):
        kernel = weight.shape[2]
        initializers += [
            numpy_helper.from_array(weight.astype(np.float32), f"w{index}"),
            numpy_helper.from_array(bias.astype(np.float32), f"b{index}"),
        ]
        options = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4, "strides": [stride] * 2}
        inputs = [name, f"w{index}", f"b{index}"]
        name = f"c{index}"
        nodes.append(helper.make_node("Conv", inputs, [name], group=groups, **options))
        if activate and index < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [name], [f"r{index}"]))
            name = f"r{index}"
    channels = layers[0][0].shape[1]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, size, size])
    result = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "block", [given], [result], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def quantized(path: Path, channels: int, size: int) -> Path:
    """The same network in INT8, calibrated on noise: for its time alone."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            draw = np.random.default_rng(1)
            self.samples: Iterator[Any] = iter(
                [{"x": draw.standard_normal((1, channels, size, size)).astype(np.float32)} for _ in range(4)]
            )

        def get_next(self) -> Any:
            return next(self.samples, None)

    target = path.with_suffix(".int8.onnx")
    integers = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
    quantize_static(path, target, Noise(), **integers)
    return target


def opened(path: Path) -> Any:
    """A session of one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def medians_ms(paths: tuple[Path, Path], sample: Any) -> list[float]:
    """Median milliseconds of each, their runs by turns."""
    sessions, times = [opened(path) for path in paths], [[], []]  # type: ignore[var-annotated]
    for _ in range(RUNS):
        for session, taken in zip(sessions, times, strict=True):
            begun = time.perf_counter()
            session.run(None, {"x": sample})
            taken.append(time.perf_counter() - begun)
    return [1000 * float(np.median(taken[WARMUP:])) for taken in times]


def main() -> None:
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        chain, linear, merged = (Path(folder) / f"{name}.onnx" for name in ("chain", "linear", "merged"))
        for channels, expansion, outputs, size, stride in BLOCKS:
            wide = channels * expansion
            expand = draw.standard_normal((wide, channels)) / channels**0.5
            depthwise = draw.standard_normal((wide, 3, 3)) / 3
            project = draw.standard_normal((outputs, wide)) / wide**0.5
            biases = [draw.standard_normal(count) for count in (wide, wide, outputs)]
            layers = [
                (expand[:, :, None, None], biases[0], 1, 1),
                (depthwise[:, None], biases[1], stride, wide),
                (project[:, :, None, None], biases[2], 1, 1),
            ]
            weight = np.einsum("om,mhw,mi->oihw", project, depthwise, expand)
            bias = project @ (depthwise.sum((1, 2)) * biases[0] + biases[1]) + biases[2]
            write_model(chain, layers, size, activate=True)
            write_model(linear, layers, size, activate=False)
            write_model(merged, [(weight, bias, stride, 1)], size, activate=False)
            sample = draw.standard_normal((1, channels, size, size)).astype(np.float32)
            before, after = (opened(path).run(None, {"x": sample})[0] for path in (linear, merged))
            off = np.abs(before - after).max((0, 1)) / np.abs(before).max()
            if off[1:-1, 1:-1].max() > 1e-4:
                raise SystemExit("the merged layer is another function")
            floats = medians_ms((chain, merged), sample)
            integers = medians_ms(
                (quantized(chain, channels, size), quantized(merged, channels, size)), sample
            )
            macs = wide * channels * size**2 + wide * (9 + outputs) * (size // stride) ** 2
            merged_macs = 9 * channels * outputs * (size // stride) ** 2
            print(
                f"{channels:3d} → {wide:3d} → {outputs:3d}, {size:2d}×{size:<2d} stride {stride}: "
                f"MMACs {macs / 1e6:5.2f} → {merged_macs / 1e6:5.2f}; float32 {floats[0]:.4f} → {floats[1]:.4f} ms; "
                f"INT8 {integers[0]:.4f} → {integers[1]:.4f} ms; "
                f"off by {off[1:-1, 1:-1].max():.0e}, at the border {off.max():.0e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
