"""Random crops and flips of an image batch, vectorized, on the batch's own device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

__all__ = ["Augment", "augment_batch", "resolve_augment"]

Augment = Literal["auto", "none", "flip", "crop", "crop-flip"]

MIN_CROP_SIDE = 24
"""Below this, shifting an image by an eighth of its side tears off what it shows (8x8 digits)."""


def resolve_augment(augment: Augment, shape: tuple[int, ...], labels_move: bool = False) -> Augment:
    """What "auto" means for inputs [N, C, H, W]: crops from 24 pixels a side, and flips for 3 channels too.

    Three channels are taken for photos. Other inputs (spectrograms, sequences, small images) are left alone.
    Nor are any whose labels would have to move with the image (maps, coordinates). An explicit choice is kept.
    """
    if augment != "auto":
        return augment
    if labels_move or len(shape) != 4 or min(shape[2:]) < MIN_CROP_SIDE:
        return "none"
    return "crop-flip" if shape[1] == 3 else "crop"


def augment_batch(images: torch.Tensor, augment: Augment, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to an eighth of its side (zeros come in) and mirror half of them, as asked.

    [N, C, H, W] → [N, C, H, W], channels-last in memory. Draws from `generator` (a CPU generator) only.
    """
    import torch

    if augment not in ("flip", "crop", "crop-flip"):
        return images
    count, _, height, width = images.shape
    rows = torch.arange(height).expand(count, height)
    columns = torch.arange(width).expand(count, width)
    if augment != "crop":
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    if augment != "flip":
        pad_rows, pad_columns = max(1, height // 8), max(1, width // 8)
        images = torch.nn.functional.pad(images, (pad_columns, pad_columns, pad_rows, pad_rows))
        rows = rows + torch.randint(0, 2 * pad_rows + 1, (count, 1), generator=generator)
        columns = columns + torch.randint(0, 2 * pad_columns + 1, (count, 1), generator=generator)
    samples = torch.arange(count)[:, None, None]
    device = images.device
    picked = images.permute(0, 2, 3, 1)[
        samples.to(device), rows[:, :, None].to(device), columns[:, None, :].to(device)
    ]
    return picked.permute(0, 3, 1, 2)
