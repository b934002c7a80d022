"""The sections of a target description. Each is a fact or a few, and names its sources."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from edgekit.types import BackendName, Precision

__all__ = [
    "Accelerator",
    "Bandwidth",
    "Channels",
    "Fact",
    "Identity",
    "Int8Rule",
    "Lack",
    "Memory",
    "Peak",
    "Requirement",
    "Runtime",
    "Text",
]

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
Specifier = Annotated[
    str, Meta(pattern=r"^(==|!=|>=|<=|~=|<|>)\d+(\.\d+)*(,\s*(==|!=|>=|<=|~=|<|>)\d+(\.\d+)*)*$")
]


class Fact(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`source`: ids of the file's `[sources]`. `verified = false`: nothing has confirmed it yet."""

    source: Annotated[tuple[str, ...], Meta(min_length=1)]
    verified: bool = True


class Identity(Fact, frozen=True, kw_only=True):
    """How a machine is recognised as this board; everything stated has to hold.

    `models`: parts of the device tree's model, one of which is in it. `cpus`: the same for the CPU's name.
    `all_of`, `any_of`, `none_of`: CPU features by their names in /proc/cpuinfo. `accelerator`: one that must
    be there.
    """

    models: tuple[Text, ...] = ()
    cpus: tuple[Text, ...] = ()
    all_of: tuple[Text, ...] = ()
    any_of: tuple[Text, ...] = ()
    none_of: tuple[Text, ...] = ()
    accelerator: str = ""


class Memory(Fact, frozen=True, kw_only=True):
    """`sizes_bytes`: the sizes sold, smallest first; empty: it depends on the machine.

    `model_share`: the part of the smallest size that one model may use (edgekit's rule: the system
    and the application share the rest).
    """

    sizes_bytes: tuple[Count, ...] = ()
    model_share: Annotated[float, Meta(gt=0, le=1)] = 0.5


class Bandwidth(Fact, frozen=True, kw_only=True):
    """Peak memory bandwidth in GB/s (10^9 bytes)."""

    gb_s: Positive


class Channels(Fact, frozen=True, kw_only=True):
    """Channel counts that pay are multiples of these, by precision."""

    multiples: dict[Precision, Count]


class Peak(Fact, frozen=True, kw_only=True):
    """Peak rate of one precision, dense, in 10^12 operations a second (a multiply-add is two).

    `cores`: so many CPU cores reach it together; None: an accelerator does. `device`: "" the runtime's usual one.
    """

    precision: Precision
    tera_ops: Positive
    cores: Count | None = None
    device: Literal["", "dla"] = ""


class Accelerator(Fact, frozen=True, kw_only=True):
    """What computes beside the CPU. `count = 0` says: none, though its family has."""

    kind: Literal["gpu", "dla", "npu"]
    name: Text
    count: Annotated[int, Meta(ge=0)] = 1
    arch: str = ""
    sm: Annotated[str, Meta(pattern=r"^(sm_\d{2,3})?$")] = ""
    sparsity_2_4: bool = False
    notes: tuple[Text, ...] = ()


class Int8Rule(Fact, frozen=True, kw_only=True):
    """What the hardware multiplies natively, on a CPU that has `all_of` and, where given, one of `any_of`.

    `weight_bits = 7`: sums of products of full 8-bit weights saturate, so weights keep to 7 bits.
    """

    activation: Literal["int8", "uint8"]
    weight: Literal["int8", "uint8"]
    weight_bits: Literal[7, 8]
    why: Text
    all_of: tuple[Text, ...] = ()
    any_of: tuple[Text, ...] = ()

    def holds(self, features: frozenset[str]) -> bool:
        """Whether this row is for a CPU with these features."""
        return features.issuperset(self.all_of) and (not self.any_of or not features.isdisjoint(self.any_of))


class Lack(Fact, frozen=True, kw_only=True):
    """A precision that is not there: why, and what is tried instead."""

    reason: Text
    instead: str = ""


class Requirement(Fact, frozen=True, kw_only=True):
    """A precision that only those machines of this target have whose CPU has one of `any_of`."""

    any_of: Annotated[tuple[Text, ...], Meta(min_length=1)]
    reason: Text
    instead: str = ""


class Runtime(Fact, frozen=True, kw_only=True):
    """One runtime as it is on this board.

    `versions`: a version specifier (`>=8.2,<8.3`). `package`: the Python package, if not the usual one.
    `device`: the runtime's own name of the device. `opset_max`: the newest ONNX opset it surely reads.
    `requires` and `rejected`: precisions that need a CPU feature, and those that are missing here only.
    `runs_as`: precisions in which only the weights are stored, and what the arithmetic runs in.
    """

    name: BackendName
    versions: Specifier
    precisions: Annotated[tuple[Precision, ...], Meta(min_length=1)]
    opset_max: Annotated[int, Meta(ge=7)]
    package: str = ""
    device: Text = "CPU"
    requires: dict[Precision, Requirement] = {}
    rejected: dict[Precision, Lack] = {}
    runs_as: dict[Precision, Precision] = {}
    notes: tuple[Text, ...] = ()

    def missing_feature(self, precision: Precision, features: frozenset[str]) -> Requirement | None:
        """The requirement of this precision that a CPU with `features` does not meet, or None."""
        requirement = self.requires.get(precision)
        return requirement if requirement and features.isdisjoint(requirement.any_of) else None
