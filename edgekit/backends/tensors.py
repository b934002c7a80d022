"""The seam for looking inside an artifact: which tensors a runtime shows, and their values.

Every runtime's reader describes its graph as `Node`s; what is shown of it is decided here, once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgekit.types import Signature

__all__ = [
    "Grid",
    "Node",
    "Reader",
    "Tap",
    "TensorFacts",
    "Weights",
    "choose_taps",
    "kind_of",
    "weights_facts",
]

ACTIVATIONS = frozenset(
    {"relu", "sigmoid", "hardsigmoid", "hardswish", "swish", "tanh", "gelu", "elu", "prelu"}
)
MOVES = frozenset(
    {"reshape", "flatten", "squeeze", "unsqueeze", "identity", "cast", "convert", "dropout", "transpose"}
)
"""Operations that compute nothing: showing them would list a tensor twice."""

KINDS: Mapping[str, str] = {
    "conv2d": "conv", "depthwiseconv2d": "conv", "convolution": "conv", "groupconvolution": "conv",
    "convtranspose": "deconv", "transposeconv": "deconv", "convolutionbackpropdata": "deconv",
    "groupconvolutionbackpropdata": "deconv", "gemm": "dense", "matmul": "dense", "fullyconnected": "dense",
    "batchmatmul": "dense", "relu6": "relu", "clip": "relu", "clamp": "relu", "relun1to1": "relu",
    "relu0to1": "relu", "logistic": "sigmoid", "hsigmoid": "hardsigmoid", "hswish": "hardswish",
    "globalaveragepool": "avgpool", "averagepool": "avgpool", "averagepool2d": "avgpool", "avgpool": "avgpool",
    "reducemean": "avgpool", "mean": "avgpool", "maxpool2d": "maxpool", "concatenation": "concat",
    "multiply": "mul", "subtract": "sub", "divide": "div",
}  # fmt: skip
"""Names of operations in ONNX, OpenVINO and TFLite, lower case without underscores → one name for all."""


@dataclass(frozen=True)
class Grid:
    """The values that a quantized tensor can hold: from `low` to `high` in steps of `step`, in its own unit.

    `channels`: lowest and highest value of each channel (axis 1) where each has a range of its own; `low` and `high`
    then span them all, and `step` is the coarsest. `rounds`: False where the runtime only clips, since it computes what
    reads the tensor in the same step; `look` shows it on the grid nevertheless.
    """

    low: float
    high: float
    step: float
    channels: tuple[tuple[float, float], ...] = ()
    rounds: bool = True


@dataclass(frozen=True)
class Weights:
    """Constant weights of a layer as its runtime computes with them.

    `edges` and `norms` hold the largest magnitude and the Euclidean norm of each output channel. `grid` says
    whether all channels share one scale; empty for float weights. `step` is the coarsest step.
    """

    edges: tuple[float, ...]
    norms: tuple[float, ...]
    grid: Literal["", "per-tensor", "per-channel"] = ""
    step: float = 0.0


@dataclass(frozen=True)
class TensorFacts:
    """One tensor that a reader shows.

    `names` are all names it goes by, `name` first. `op` is the kind of the operation that computes it
    (see `kind_of`), `layer` that operation's own name. `inputs` name the shown tensors it is computed from.
    """

    name: str
    names: tuple[str, ...]
    op: str
    layer: str
    inputs: tuple[str, ...]
    grid: Grid | None = None
    weights: Weights | None = None


class Reader(Protocol):
    """An opened artifact that shows its tensors. Batch 1 unless its signature fixes another."""

    @property
    def signature(self) -> Signature: ...

    @property
    def input_grids(self) -> Mapping[str, Grid]:
        """Input name → grid, for inputs that take integers which stand for real values."""

    @property
    def tensors(self) -> tuple[TensorFacts, ...]:
        """In graph order, the network's inputs first."""

    @property
    def arithmetic(self) -> Literal["fp32", "fp16", "bf16", "int8"]:
        """The coarsest arithmetic that it computes layers in."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how far what is shown is what runs."""

    def __enter__(self) -> Reader: ...

    def __exit__(self, *exc: object) -> None: ...

    def look(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Input name → array of the signature's type; gives tensor name → real values, in the runtime's layout."""

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Output name → real values, from the artifact untouched, as its runtime runs it."""

    def runner_feeds(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """What `look` and `run` take, as the runner's session takes it on a device."""

    def runner_outputs(self, outputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """What the runner's session gave for one batch, as `run` gives it."""

    def write_shown(self, folder: Path) -> str | None:
        """Write a file into `folder` that gives its tensors as outputs on a device, and give its name.

        None where no file of the runtime can.
        """

    def runner_look(
        self, feeds: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, NDArray[np.float32]]:
        """What the runner's session of that file gave for one batch, as `look` gives it."""


@dataclass(frozen=True)
class Node:
    """One operation that depends on the network's inputs. Tensors are told apart by ids of the reader's choice.

    `quantize` puts its input on `grid`, `dequantize` brings it back: neither makes a tensor of its own.
    `names` are what the output is called. `grid` of a computing node: its output is quantized as it comes.
    """

    layer: str
    op: str
    inputs: tuple[str, ...]
    output: str
    role: Literal["input", "compute", "quantize", "dequantize", "hidden"] = "compute"
    names: tuple[str, ...] = ()
    grid: Grid | None = None
    weights: Weights | None = None


@dataclass(frozen=True)
class Tap:
    """A tensor to show, and the id of the tensor in the runtime's graph that holds its value."""

    facts: TensorFacts
    source: str


def kind_of(op: str) -> str:
    """One name for the same operation in all runtimes."""
    plain = op.lower().replace("_", "")
    return KINDS.get(plain, plain)


def choose_taps(nodes: Sequence[Node], outputs: Mapping[str, str]) -> tuple[Tap, ...]:
    """What to show of a graph, in its order. `nodes` are in graph order; `outputs`: tensor id → output's name.

    A tensor that is quantized is shown as its readers see it, on its grid. Left out are what only moves data,
    and what a quantized layer computes before an activation: showing it would keep the runtime from computing
    the pair in integers.
    """
    base = _bases(nodes)
    makers = {node.output: node for node in nodes if base[node.output] == node.output}
    grids: dict[str, tuple[str, Grid]] = {}
    names: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        origin = base[node.output]
        names[origin].extend(node.names)
        if node.role == "quantize" and node.grid is not None:
            grids.setdefault(origin, (node.output, node.grid))
    for tensor, name in outputs.items():
        if tensor in base:
            names[base[tensor]].insert(0, name)
    kept_outputs = {base[tensor] for tensor in outputs if tensor in base}
    hidden = _hidden(nodes, base, makers, grids, kept_outputs)
    shown = {origin: next(iter(names[origin]), origin) for origin in makers if origin not in hidden}
    taps = []
    for origin, name in shown.items():
        node = makers[origin]
        source, grid = grids.get(origin, (origin, node.grid))
        facts = TensorFacts(
            name=name,
            names=tuple(dict.fromkeys(names[origin])) or (name,),
            op=node.op,
            layer=node.layer,
            inputs=tuple(dict.fromkeys(_visible(node, base, makers, shown))),
            grid=grid,
            weights=_weights(node, base, makers),
        )
        taps.append(Tap(facts, source))
    return _distinct(taps)


def _bases(nodes: Sequence[Node]) -> dict[str, str]:
    """Tensor id → the id of the tensor that it is a quantized or dequantized form of."""
    base: dict[str, str] = {}
    for node in nodes:
        same = node.role in ("quantize", "dequantize") and node.inputs and node.inputs[0] in base
        base[node.output] = base[node.inputs[0]] if same else node.output
    return base


def _hidden(
    nodes: Sequence[Node],
    base: Mapping[str, str],
    makers: Mapping[str, Node],
    grids: Mapping[str, object],
    outputs: set[str],
) -> set[str]:
    """Ids of tensors that are not shown."""
    readers: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        if base[node.output] == node.output:
            for tensor in node.inputs:
                readers[base.get(tensor, tensor)].append(node.output)
    hidden = set()
    for origin, node in makers.items():
        after = readers[origin]
        fused = len(after) == 1 and makers[after[0]].op in ACTIVATIONS and after[0] in grids
        moved = node.op in MOVES and origin not in grids
        if origin not in outputs and (node.role == "hidden" or moved or (fused and origin not in grids)):
            hidden.add(origin)
    return hidden


def _visible(
    node: Node, base: Mapping[str, str], makers: Mapping[str, Node], shown: Mapping[str, str]
) -> list[str]:
    """Names of the nearest shown tensors that the node's output is computed from."""
    visible: list[str] = []
    for tensor in node.inputs:
        origin = base.get(tensor, "")
        if origin in shown:
            visible.append(shown[origin])
        elif origin in makers:
            visible += _visible(makers[origin], base, makers, shown)
    return visible


def _weights(node: Node, base: Mapping[str, str], makers: Mapping[str, Node]) -> Weights | None:
    """The node's weights; of an activation or an added bias those of the layer before it."""
    if node.weights is not None or len(node.inputs) != 1 or node.role == "input":
        return node.weights
    before = makers.get(base.get(node.inputs[0], ""))
    if before is None or node.op not in ACTIVATIONS | {before.op, "batchnormalization"}:
        return None
    return (
        _weights(before, base, makers)
        if before.role == "hidden" or before.op in ACTIVATIONS
        else before.weights
    )


def _distinct(taps: Sequence[Tap]) -> tuple[Tap, ...]:
    """Where two tensors go by the same name, the later ones get a number."""
    taken: dict[str, int] = {}
    distinct = []
    for tap in taps:
        count = taken[tap.facts.name] = taken.get(tap.facts.name, 0) + 1
        name = tap.facts.name if count == 1 else f"{tap.facts.name}#{count}"
        distinct.append(
            tap if count == 1 else replace(tap, facts=replace(tap.facts, name=name, names=(name,)))
        )
    return tuple(distinct)


def weights_facts(
    values: NDArray[np.generic],
    axis: int,
    *,
    step: float = 0.0,
    grid: Literal["", "per-tensor", "per-channel"] = "",
) -> Weights:
    """Facts of weights in real values whose output channels lie along `axis`."""
    import numpy as np

    rows = np.moveaxis(np.asarray(values, np.float64), axis, 0)
    rows = rows.reshape(len(rows), -1)
    edges = np.abs(rows).max(axis=1, initial=0.0)
    norms = np.sqrt(np.square(rows).sum(axis=1))
    return Weights(tuple(map(float, edges)), tuple(map(float, norms)), grid, step)
