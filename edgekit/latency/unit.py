"""A unit: what a runtime runs at once of a network, as a convolution with its activation and residual addition."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from edgekit.errors import UserError

__all__ = [
    "MULTIPLE", "AttentionForm", "Family", "Kind", "Operand", "Padding", "Scaled", "Unit", "UnitPrecision",
]  # fmt: skip

Kind = Literal[
    "conv", "depthwise", "linear", "product", "attention", "add", "maxpool", "average", "pointwise", "norm", "softmax",
    "transpose", "slice", "transition",
]  # fmt: skip
"""`linear`: a product with stored weights; `product`: of two activations; `attention`: two of them with the softmax
between, from what the projections make to what the last one reads; `pointwise`: an activation that is fused into
nothing, or an operation with stored numbers; `average`: over an image, or over tokens; `transpose`: values in another
order; `slice`: one place of an axis is taken; `transition`: no layer, but bringing a tensor from int8 into float or
back, as neighbours of different precision need it."""

Operand = Literal["channels", "scalar", "whole"]
"""Stored numbers: one per channel, a single one, or one for each value of the tensor."""

UnitPrecision = Literal["fp32", "int8"]
"""In what it is computed."""

MULTIPLE = 8
"""Of channels: planned widths are multiples of it. Others are known only where they were measured themselves."""

Padding = tuple[int, int, int, int]
"""Top, left, bottom, right, as ONNX has them."""


Scaled = Literal["queries", "keys", "scores"]
"""What of an attention is multiplied by a number."""


@dataclass(frozen=True)
class AttentionForm:
    """How an attention is written. `masked`: something is added to the scores; `packed`: one tensor holds queries, keys
    and values; `biased`: to these their projections' biases are added behind the split; `guarded`: weights that are no
    numbers are replaced.

    Told only where a runtime runs each part by itself: `gathered`: what is packed is turned whole and taken apart by
    the places of an axis; `float_functions`: of one in int8 the softmax and all arithmetic are float between integers.
    """

    scaled: tuple[Scaled, ...] = ()
    masked: bool = False
    packed: bool = False
    biased: bool = False
    guarded: bool = False
    gathered: bool = False
    float_functions: bool = False

    @property
    def parted(self) -> AttentionForm:
        """With a projection for each: exporters pack three into one product only where they are equally wide."""
        return replace(self, packed=False, biased=False, gathered=False)

    def text(self) -> str:
        """In words: `packed, scaled queries, scaled keys`."""
        words = ["packed"] if self.packed else []
        words += ["gathered"] if self.gathered else []
        words += ["biased"] if self.biased else []
        words += [f"scaled {what}" for what in self.scaled]
        words += [word for word, is_so in (("masked", self.masked), ("guarded", self.guarded)) if is_so]
        words += ["functions in float"] if self.float_functions else []
        return ", ".join(words)


@dataclass(frozen=True)
class Family:
    """All of a unit but its channels: units of one family differ in width alone. Sizes are the input's.

    `size`: height and width of an image; tokens and 1 of a sequence; queries and keys of an attention; 1 and 1 of a
    vector. `groups`: 1; of a product or an attention its heads. `attention`: of those alone. `activation`: ONNX's
    operator that is fused into it, "" for none; of `pointwise` the operator itself. `residual`: another tensor is added
    within it. `operand`: of `pointwise`. `rounded`: it is float and stands between tensors in int8, which it takes
    apart and makes itself. `shape`, of `transpose` and `slice`: the tensor's, 0 where its channels are; `axes`: their
    new order, or the one axis that a place is taken of; (1, 0) of a `product` whose right side is read turned.
    """

    kind: Kind
    size: tuple[int, int]
    precision: UnitPrecision
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    activation: str = ""
    residual: bool = False
    attention: AttentionForm | None = None
    operand: Operand = "channels"
    rounded: bool = False
    shape: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()

    @property
    def is_image(self) -> bool:
        """Whether its tensors have height and width; others have tokens, or heads and tokens."""
        return self.kind in ("conv", "depthwise", "maxpool") or (
            self.size[1] > 1 and self.kind != "attention"
        )

    @property
    def width_step(self) -> int:
        """Widths of a plan are multiples of it: of MULTIPLE channels, or as many of each head."""
        return MULTIPLE * (self.groups if self.kind == "product" else 1)

    @property
    def size_out(self) -> tuple[int, int]:
        """Height and width of the output."""
        if self.kind == "average":
            return 1, 1
        top, left, bottom, right = self.padding
        height = (self.size[0] + top + bottom - self.kernel[0]) // self.stride[0] + 1
        return height, (self.size[1] + left + right - self.kernel[1]) // self.stride[1] + 1

    @property
    def is_square(self) -> bool:
        """Whether channels out are always as many as channels in."""
        return self.kind not in ("conv", "linear", "product", "attention")

    @property
    def structure(self) -> str:
        """What pruning leaves of it, in words: heads go as channels do, and what is packed may be parted."""
        return (
            self.text()
            if self.attention is None
            else replace(self, groups=1, attention=self.attention.parted).text()
        )

    def text(self) -> str:
        """In words: `conv 3x3 /2 of 32x32 int8, Relu`."""
        parts: list[str] = [self.kind]
        if self.kernel != (1, 1):
            parts.append(f"{self.kernel[0]}x{self.kernel[1]}")
        if self.stride != (1, 1):
            parts.append(f"/{self.stride[0]}")
        if self.groups > 1:
            parts.append(f"in {self.groups} {'heads' if self.kind == 'attention' else 'groups'}")
        if self.shape:
            parts.append(f"{','.join(map(str, self.axes))} of {'x'.join(map(str, self.shape))},")
        elif self.axes:
            parts.append("turned")
        more = [self.activation] if self.activation else []
        more += [self.operand] if self.operand != "channels" else []
        more += ["residual"] if self.residual else []
        more += [told] if self.attention and (told := self.attention.text()) else []
        more += ["rounded"] if self.rounded else []
        return f"{' '.join(parts)} of {self.size[0]}x{self.size[1]} {', '.join([self.precision, *more])}"


@dataclass(frozen=True)
class Unit:
    """One unit of a network; equal to others that take the same time.

    Channels of an attention are those of a single head: of its queries and keys in, of its values out.
    Where it stands in the network does not count for that: `weight`: the initializer that it multiplies with; `layer`:
    the torch module that this came from, as `named_modules` has it ("" without weights). `nodes`: the ONNX nodes that
    it runs, the multiplying one first. `inputs`, `output`: the tensors that it reads and makes.
    """

    family: Family
    channels_in: int
    channels_out: int
    weight: str = field(default="", compare=False)
    layer: str = field(default="", compare=False)
    nodes: tuple[str, ...] = field(default=(), compare=False)
    inputs: tuple[str, ...] = field(default=(), compare=False)
    output: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if min(self.channels_in, self.channels_out) < 1:
            raise UserError(
                f"a unit of {self.channels_in} and {self.channels_out} channels", allowed="1 or more"
            )
        if (self.family.kind == "attention") != (self.family.attention is not None):
            raise UserError(
                f"{self.family.kind} has a form: {self.family.attention}", allowed="attentions alone"
            )
        if self.family.is_square and self.channels_in != self.channels_out:
            raise UserError(
                f"{self.family.kind} from {self.channels_in} to {self.channels_out} channels",
                allowed="as many out as in",
            )

    def resized(
        self, *, channels_in: int | None = None, channels_out: int | None = None, heads: int | None = None
    ) -> Unit:
        """The same unit at other widths; where both are the same by nature, either says both. Raises UserError."""
        if heads is not None:
            return replace(self, family=replace(self.family, groups=heads)).resized(
                channels_in=channels_in, channels_out=channels_out
            )
        if self.family.is_square:
            width = channels_in or channels_out or self.channels_in
            return replace(self, channels_in=width, channels_out=channels_out or width)
        return replace(
            self, channels_in=channels_in or self.channels_in, channels_out=channels_out or self.channels_out
        )

    def in_precision(self, precision: UnitPrecision) -> Unit:
        """The same unit computed in another precision; an attention's functions then have it too."""
        form = self.family.attention
        if form is not None and precision == "fp32":
            form = replace(form, float_functions=False)
        return replace(self, family=replace(self.family, precision=precision, attention=form))

    @property
    def macs(self) -> int:
        """Multiply-accumulates; those that do not multiply have none."""
        height, width = self.family.size_out
        positions, taps = height * width, self.family.kernel[0] * self.family.kernel[1]
        if self.family.kind == "depthwise":
            return positions * taps * self.channels_out
        if self.family.kind == "attention":
            return positions * self.family.groups * (self.channels_in + self.channels_out)
        if self.family.kind in ("conv", "linear", "product"):
            return positions * taps * self.channels_in * self.channels_out // self.family.groups
        return 0

    @property
    def weight_bytes(self) -> int:
        """Of stored weights, biases left out; 0 without any."""
        if self.family.kind not in ("conv", "depthwise", "linear"):
            return 0
        taps = self.family.kernel[0] * self.family.kernel[1]
        fan_in = 1 if self.family.kind == "depthwise" else self.channels_in // self.family.groups
        return taps * fan_in * self.channels_out * (1 if self.family.precision == "int8" else 4)

    @property
    def work(self) -> int:
        """Operations that its time goes with: multiply-accumulates, else values that it reads."""
        height, width = self.family.size
        taps = self.family.kernel[0] * self.family.kernel[1] if self.family.kind == "maxpool" else 1
        return self.macs or height * width * self.channels_in * taps

    def text(self) -> str:
        """In words: `conv 3x3 of 32x32 int8, Relu: 16 to 32`."""
        return f"{self.family.text()}: {self.channels_in} to {self.channels_out}"
