"""What each runtime runs at once: which nodes of a network are one unit of a table."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.latency.unit import UnitPrecision
from edgekit.types import BackendName

__all__ = ["FUSING", "Fusing"]


@dataclass(frozen=True)
class Fusing:
    """What a runtime runs at once. `residual`: in which precisions a convolution adds another tensor itself.

    `rounds_results`: what a layer in int8 makes is int8, also where float alone reads it. `stream_in_float`: what
    stands between the products of a network that attends is float. `attends`: it may run an attention at once, which is
    then one unit.
    """

    residual: frozenset[UnitPrecision]
    small_in_float: bool = False
    rounds_results: bool = True
    stream_in_float: bool = False
    attends: bool = False


FUSING: dict[BackendName, Fusing] = {
    # core/optimizer/conv_add_act_fusion.cc and nchwc_transformer.cc; its QLinearAdd is a node of its own.
    "onnxruntime": Fusing(frozenset({"fp32"}), stream_in_float=True, attends=True),
    # intel_cpu/src/graph_optimizer.cpp, FuseConvolutionSumAndConvolutionSumActivation.
    # NNCF puts quantizers before layers alone: an integer layer hands out float where nothing in int8 reads it.
    "openvino": Fusing(
        frozenset({"fp32", "int8"}),
        small_in_float=True,
        rounds_results=False,
        stream_in_float=True,
        attends=True,
    ),
    # XNNPACK adds in an operator of its own.
    "litert": Fusing(frozenset()),
}
"""Runtimes whose layers can be timed one by one on a CPU → what they fuse."""
