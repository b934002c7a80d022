"""Tiny networks, one factory per kind of block that people build with; weights are drawn from the seed 0.

`edgekit.testing.case_networks` is the table of them, with inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from edgekit.testing.case_blocks import (
    Attention,
    CausalBlock,
    ShuffledGroups,
    SplitBlock,
    TiedAutoencoder,
    TinyUnet,
    TwoScaleDetector,
    convolution,
)

__all__ = ["FACTORIES"]

Tensor = torch.Tensor


class _Computed(nn.Module):
    """`function` of the inputs and the layers, in that order."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs, *self.layers)


def _after(layer: nn.Module, function: Callable[[Any], Any]) -> nn.Module:
    return _Computed(lambda x, first: function(first(x)), layer)


def _image(*rest: nn.Module, width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), *rest)


def _signal(*rest: nn.Module, width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Conv1d(3, width, 3, padding=1), *rest)


def _pooled_text(ids: Tensor, table: nn.Module, hidden: nn.Module, head: nn.Module) -> Any:
    return head(F.relu(hidden(table(ids))).amax(1))


def _masked_text(ids: Tensor, mask: Tensor, table: nn.Module, head: nn.Module) -> Any:
    kept = mask.to(torch.float32).unsqueeze(-1)
    return head((table(ids) * kept).sum(1) / kept.sum(1).clamp(min=1.0))


def _encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)


def _upsample(**options: Any) -> Callable[[], nn.Module]:
    return lambda: _image(nn.Upsample(scale_factor=2, **options), nn.Conv2d(8, 4, 3, padding=1))


FACTORIES: Mapping[str, Callable[[], nn.Module]] = {
    # what public reports of failing exports describe
    "c2f-chunk": lambda: nn.Sequential(
        convolution(3, 8, 3), SplitBlock(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    ),
    "sppf": lambda: _image(nn.SiLU(), _Computed(_pyramid, nn.Conv2d(32, 8, 1))),
    "fixed-view": lambda: _Computed(
        lambda x, conv, head: head(F.relu(conv((x - 0.2) / 1.1)).view(-1, 512)).log_softmax(1),
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.Linear(512, 4),
    ),
    "ecg-conv1d": lambda: _Computed(
        lambda x, body, head: head(body(x).mean(2)),
        nn.Sequential(
            nn.Conv1d(3, 8, 7, padding=3),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(8, 12, 5, padding=2),
            nn.ELU(),
            nn.AvgPool1d(2),
            nn.Upsample(scale_factor=2, mode="linear"),
            nn.ConvTranspose1d(12, 8, 4, 2, 1),
            nn.ReLU(),
        ),
        nn.Linear(8, 4),
    ),
    "tokens-plain": lambda: _Computed(
        _pooled_text, nn.Embedding(50, 16), nn.Linear(16, 24), nn.Linear(24, 4)
    ),
    "unet-convtranspose": TinyUnet,
    "weight-norm-tcn": lambda: _Computed(
        lambda x, body, head: head(body(x)[:, :, -1]),
        nn.Sequential(CausalBlock(3, 8, 1), CausalBlock(8, 8, 2)),
        nn.Linear(8, 4),
    ),
    "tied-linear": TiedAutoencoder,
    "segmentation": lambda: _image(
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 2, 1),
        nn.Upsample(scale_factor=2, mode="bilinear"),
    ),
    "keypoints": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 10),
    ),
    "dict-detector": TwoScaleDetector,
    "concat-box-score": lambda: _Computed(
        lambda x, body, box, score: torch.cat(
            [box(body(x)).flatten(2).sigmoid() * 80, score(body(x)).flatten(2).sigmoid() * 0.3], 1
        ),
        convolution(3, 8, 3, 2),
        nn.Conv2d(8, 4, 1),
        nn.Conv2d(8, 6, 1),
    ),
    "sigmoid-head": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 8), nn.Flatten(), nn.Sigmoid()
    ),
    # layout operations of a network's own
    "detector-head": lambda: _after(nn.Conv2d(3, 8, 3, 2, 1), lambda y: y.flatten(2)),
    "yolo-head": lambda: _after(
        nn.Conv2d(3, 8, 3, 2, 1), lambda y: y.view(-1, 2, 4, 8, 8).permute(0, 1, 3, 4, 2).contiguous()
    ),
    "pixel-shuffle": lambda: _image(nn.PixelShuffle(2)),
    "pixel-unshuffle": lambda: _image(nn.PixelUnshuffle(2), nn.Conv2d(32, 4, 1)),
    "group-norm": lambda: _image(nn.GroupNorm(4, 8), nn.SiLU()),
    "instance-norm": lambda: _image(nn.InstanceNorm2d(8, affine=True), nn.ReLU()),
    "layer-norm-channels": lambda: _Computed(
        lambda x, conv, norm, last: last(norm(conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
        nn.Conv2d(3, 8, 3, padding=1),
        nn.LayerNorm(8),
        nn.Conv2d(8, 4, 1),
    ),
    "channel-softmax": lambda: _image(nn.ELU(), nn.Conv2d(8, 4, 3, padding=1), nn.Softmax(1)),
    "channel-shuffle": ShuffledGroups,
    "squeeze-excite": lambda: _Computed(
        lambda x, conv, gate: conv(x) * gate(conv(x)),
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid()),
    ),
    "global-max-pool": lambda: _image(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    # transposed convolutions and resizing
    "conv-transpose": lambda: nn.ConvTranspose2d(3, 8, 3, 2, 1, output_padding=1),
    "conv-transpose-groups": lambda: _image(nn.ConvTranspose2d(8, 8, 3, 2, 1, output_padding=1, groups=2)),
    "conv-transpose-depthwise": lambda: _image(nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8, bias=False)),
    "conv-transpose-wide": lambda: _image(nn.ConvTranspose2d(8, 6, 5, 3, 2, output_padding=2)),
    "upsample-nearest": _upsample(mode="nearest"),
    "upsample-bilinear": _upsample(mode="bilinear", align_corners=False),
    "upsample-corners": _upsample(mode="bilinear", align_corners=True),
    # signals
    "conv1d-dilated": lambda: _signal(
        nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 3, padding=4, dilation=4)
    ),
    "conv1d-groups": lambda: _signal(
        nn.ReLU(), nn.Conv1d(8, 8, 3, 2, 1, groups=2), nn.ReLU(), nn.Conv1d(8, 4, 1)
    ),
    "conv1d-depthwise": lambda: _signal(
        nn.ReLU(), nn.Conv1d(8, 8, 5, padding=2, groups=8), nn.Conv1d(8, 4, 1)
    ),
    "conv-transpose1d": lambda: _signal(nn.ReLU(), nn.ConvTranspose1d(8, 4, 3, 2, 1, output_padding=1)),
    "adaptive-pool1d": lambda: _signal(nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4)),
    "max-pool1d": lambda: _signal(nn.MaxPool1d(3, 2, 1), nn.Flatten(), nn.Linear(128, 4)),
    "interpolate1d-linear": lambda: _signal(
        nn.Upsample(scale_factor=2, mode="linear", align_corners=True), nn.Conv1d(8, 4, 1)
    ),
    "interpolate1d-nearest": lambda: _signal(nn.Upsample(scale_factor=2), nn.Conv1d(8, 4, 1)),
    "gru": lambda: _Computed(
        lambda x, gru, head: head(gru(x)[0][:, -1]), nn.GRU(3, 8, batch_first=True), nn.Linear(8, 4)
    ),
    "lstm": lambda: _Computed(
        lambda x, lstm, head: head(lstm(x)[0][:, -1]), nn.LSTM(3, 8, batch_first=True), nn.Linear(8, 4)
    ),
    # attention
    "einsum-attention": Attention,
    "multihead-attention": lambda: _Computed(
        lambda x, layer: layer(x, x, x, need_weights=False)[0], nn.MultiheadAttention(16, 2, batch_first=True)
    ),
    "encoder-layer": _encoder,
    "image-attention": lambda: _Computed(
        lambda x, conv, layer, head: head(layer(conv(x).flatten(2).transpose(1, 2)).mean(1)),
        nn.Conv2d(3, 16, 4, 4),
        _encoder(),
        nn.Linear(16, 4),
    ),
    # integers in and out
    "tokens-int32": lambda: _Computed(
        _pooled_text, nn.Embedding(50, 16), nn.Linear(16, 24), nn.Linear(24, 4)
    ),
    "tokens-mask": lambda: _Computed(_masked_text, nn.Embedding(50, 16), nn.Linear(16, 4)),
    "tokens-bool-mask": lambda: _Computed(_masked_text, nn.Embedding(50, 16), nn.Linear(16, 4)),
    "tokens-conv": lambda: _Computed(
        lambda ids, table, conv: conv(table(ids).transpose(1, 2)).relu().amax(2),
        nn.Embedding(50, 16),
        nn.Conv1d(16, 4, 3, padding=1),
    ),
    "tokens-encoder": lambda: _Computed(
        lambda ids, table, layer, head: head(layer(table(ids)).mean(1)),
        nn.Embedding(50, 16),
        _encoder(),
        nn.Linear(16, 4),
    ),
    "uint8-image": lambda: _Computed(
        lambda x, conv: conv(x.to(torch.float32) / 255.0), nn.Conv2d(3, 4, 3, 2, 1)
    ),
    "argmax": lambda: _Computed(lambda x, conv: conv(x).argmax(1), nn.Conv2d(3, 4, 3, padding=1)),
    "topk": lambda: _Computed(lambda x, head: tuple(head(x.flatten(1)).topk(3, 1)), nn.Linear(48, 10)),
    "cumsum": lambda: _Computed(lambda x, head: head(x.flatten(1)).cumsum(1), nn.Linear(48, 10)),
}
"""Name → factory."""


def _pyramid(x: Tensor, last: nn.Module) -> Any:
    """SPPF: one pooling after the other, all of them concatenated."""
    maps = [x]
    for _ in range(3):
        maps.append(F.max_pool2d(maps[-1], 5, 1, 2))
    return last(torch.cat(maps, 1))
