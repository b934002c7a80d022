"""The beginning of a board's description: every section that has to be there, with what belongs into it."""

from __future__ import annotations

import re
from pathlib import Path

from edgekit.errors import OutputError, UserError
from edgekit.hardware.choosing import AUTO
from edgekit.hardware.folders import project_dir
from edgekit.hardware.registry import load_registry

__all__ = ["write_skeleton"]

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")

SKELETON = """\
# A board, for edgekit. Change what stands here, then: edgekit targets check {file}
name = "{name}"                # as this file, without .toml
title = "{name}"               # for people
family = "mine"
architecture = "{architecture}"      # x86_64 or aarch64
# notes = ["What one should know of the board."]

# Where each fact comes from: an id, then document and table. Every section below names its ids; a fact that nothing
# has confirmed yet gets `verified = false`.
[sources]
sheet = "Data sheet of the board (document, page or table)"

# How a machine is recognised as this board; everything stated has to hold. Nothing stated: any machine of the
# architecture. `edgekit targets probe` says what this machine is.
[identity]
# models = ["Part of the device tree's model"]
# cpus = ["Part of the CPU's name"]
# all_of = ["asimddp"]                  # CPU features, as /proc/cpuinfo names them; any_of and none_of as well
# accelerator = "sm_87"
source = ["sheet"]
verified = false

[memory]
# sizes_bytes = [4_000_000_000]         # sizes sold, smallest first; without them it depends on the machine
model_share = 0.5                       # of it, for one model
source = ["sheet"]
verified = false

# Needed to estimate latency while the board is not here, with [[peaks]] (precision, tera_ops, cores, source).
# [bandwidth]
# gb_s = 12.8
# source = ["sheet"]

# Channel counts that pay are multiples of these.
[channels]
multiples = {{ fp32 = 8, int8 = 16 }}
source = ["sheet"]
verified = false

# One table for each runtime that the board has: onnxruntime, openvino, litert, tensorrt.
[[runtimes]]
name = "onnxruntime"
versions = ">=1.22"
precisions = ["fp32", "int8"]
opset_max = 17                          # the newest ONNX opset that it surely reads
source = ["sheet"]
verified = false

# What int8 is on this hardware; rows are tried in order, the last one holds for every CPU.
[[int8]]
activation = "{activation}"
weight = "int8"
weight_bits = 8                         # 7 where sums of full 8-bit products saturate (x86 without VNNI)
why = "say what the CPU multiplies"
source = ["sheet"]
verified = false

# Precisions that no runtime here has: why, and what is tried instead.
# [rejected.fp16]
# reason = "no float16 arithmetic"
# instead = "int8"
# source = ["sheet"]
"""


def write_skeleton(name: str, architecture: str, project: Path | None = None) -> Path:
    """Write `targets/NAME.toml` into the project. Raises UserError for a name that is taken or none, OutputError."""
    if NAME.fullmatch(name) is None or name == AUTO:
        raise UserError(
            f"{name[:80]!r} is no name of a target",
            allowed="a-z, 0-9, dots and dashes, as my-board, but not auto",
        )
    for entry in load_registry(project).entries:
        if entry.target.name == name:
            raise UserError(f"there is a target {name} already: {entry.path}", remedy="give another name")
    folder = project_dir("targets", project)
    path = folder / f"{name}.toml"
    activation = "int8" if architecture == "aarch64" else "uint8"
    text = SKELETON.format(name=name, architecture=architecture, activation=activation, file=path)
    try:
        folder.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise OutputError(f"{path} is there already", remedy="give another name, or move it away") from error
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    return path
