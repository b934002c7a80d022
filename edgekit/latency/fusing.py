"""What a runtime runs at once, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekit.latency.unit import UnitPrecision
from edgekit.types import BackendName

__all__ = ["FUSING", "Fusing"]


@dataclass(frozen=True)
class Fusing:
    """What a runtime runs at once. `residual`: in which precisions a convolution adds another tensor itself.

    `rounds_results`: what a layer in int8 makes is int8, also where float alone reads it. `stream_in_float`: what
    stands between the products of a network that attends is float. `functions_in_float`: LayerNorm, Softmax, GELU and
    means over tokens are float in an INT8 network; `functions_elsewhere`: also in one that does not attend.
    `rounds_functions`: nodes of their own round before and behind them; `rounds_places`: and around taking a place of
    an axis. `gelu`: in which precisions a linear layer runs the GELU behind it. `scales`:
    in which a product of two activations multiplies by a number itself. `channels_last`: images lie so, hence making
    tokens of one moves nothing. `single_head_as_layer`: a product of one head with what a Transpose turned is computed
    as a linear layer is, with the tensor ahead of the Transpose as its weights. `attends`: an attention is one unit,
    since it may run it at once; `attends_by_parts`: it runs each part by itself, so only attentions whose parts are
    known one by one are a unit: together they hang on heads and their widths, which a plan chooses.
    """

    residual: frozenset[UnitPrecision]
    small_in_float: bool = False
    rounds_results: bool = True
    stream_in_float: bool = False
    functions_in_float: bool = True
    functions_elsewhere: bool = True
    rounds_functions: bool = False
    rounds_places: bool = False
    gelu: frozenset[UnitPrecision] = frozenset()
    scales: frozenset[UnitPrecision] = frozenset()
    channels_last: bool = False
    single_head_as_layer: bool = False
    attends: bool = False
    attends_by_parts: bool = False

    def in_network(self, *, attends: bool) -> Fusing:
        """What it does in a network that attends, or in one that does not."""
        return replace(
            self, functions_in_float=self.functions_in_float and (attends or self.functions_elsewhere)
        )


FUSING: dict[BackendName, Fusing] = {
    # core/optimizer/conv_add_act_fusion.cc, nchwc_transformer.cc and matmul_scale_fusion.cc; its QLinearAdd is a node
    # of its own.
    "onnxruntime": Fusing(
        frozenset({"fp32"}),
        stream_in_float=True,
        rounds_functions=True,
        rounds_places=True,
        scales=frozenset({"fp32"}),
        attends=True,
    ),
    # intel_cpu/src/graph_optimizer.cpp, FuseConvolutionSumAndConvolutionSumActivation; snippets' MHATokenization.
    # NNCF puts quantizers before layers alone: an integer layer hands out float where nothing in int8 reads it.
    "openvino": Fusing(
        frozenset({"fp32", "int8"}),
        small_in_float=True,
        rounds_results=False,
        stream_in_float=True,
        gelu=frozenset({"fp32", "int8"}),
        scales=frozenset({"fp32", "int8"}),
        attends=True,
    ),
    # XNNPACK adds in an operator of its own; AI Edge Quantizer leaves nothing in float that has an int8 kernel, but for
    # what edgekit tells it to in networks that attend.
    "litert": Fusing(
        frozenset(),
        stream_in_float=True,
        functions_elsewhere=False,
        rounds_functions=True,
        channels_last=True,
        single_head_as_layer=True,
        attends=True,
        attends_by_parts=True,
    ),
}
"""Runtimes whose layers can be timed one by one on a CPU → what they fuse."""
