"""Vision transformer to mobile: a DeiT-like teacher into a MobileViT-like student on CIFAR-10, pruned, in INT8.

usage: python benchmarks/scenarios/mobile.py --data DIR [--work DIR] [--epochs 12] [--student-epochs 10] [--threads 1]

DIR holds CIFAR-10 with its unpack.py, as the other benchmarks take it. Teacher and student are small enough to be
trained on a CPU: 32×32 images, 64 tokens.
"""

from __future__ import annotations

from mobile_networks import make_deit
from scenario import (
    CIFAR10,
    CIFAR10_OPTIONS,
    HERE,
    Claim,
    arguments,
    build,
    show_beside,
    trained,
    training_part,
    unpack,
)

from edgekit.compress import TrainConfig

CLAIM = Claim(faster=2.0, smaller=4.0, points=1.0)


def main() -> None:
    asked = arguments(__doc__, "mobile", epochs=12.0, student_epochs=10.0)
    arrays = unpack(asked.data, asked.work)
    train = training_part(arrays, CIFAR10, asked)
    config = TrainConfig(epochs=asked.epochs, learning_rate=1e-3, weight_decay=0.05, alpha=1.0)
    weights = asked.work / "deit.safetensors"
    trained(make_deit(), train, config, weights)
    networks = HERE / "mobile_networks.py"
    result = build(
        asked.work / "out", "--model", f"{networks}:make_deit", "--weights", str(weights), "--data", str(arrays),
        *CIFAR10_OPTIONS, "--student", f"{networks}:make_mobilevit", "--epochs", str(asked.student_epochs),
        "--compress", "student", "--runtime", "onnxruntime,litert", "--precision", "fp32,int8", "--max-latency", "auto",
        "--max-drop", f"{CLAIM.points}%", *asked.build_option,
    )  # fmt: skip
    show_beside("mobile", result, CLAIM)


if __name__ == "__main__":
    main()
