from __future__ import annotations

import pytest
import torch

from edgekit.compress.training.augment import augment_batch, resolve_augment


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 3, 32, 32), "crop-flip"),
        ((8, 1, 28, 28), "crop"),
        ((8, 1, 8, 8), "none"),
        ((8, 3, 16, 32), "none"),
        ((8, 40), "none"),
    ],
)
def test_auto_depends_on_the_input(shape: tuple[int, ...], expected: str) -> None:
    assert resolve_augment("auto", shape) == expected


def test_an_explicit_choice_is_kept() -> None:
    assert resolve_augment("none", (8, 3, 32, 32)) == "none"


def test_a_flip_mirrors_some_images_and_changes_nothing_else() -> None:
    images = torch.randn(32, 2, 6, 6)
    flipped = augment_batch(images, "flip", torch.Generator().manual_seed(0))
    same = [torch.equal(a, b) for a, b in zip(images, flipped, strict=True)]
    mirrored = [torch.equal(a.flip(2), b) for a, b in zip(images, flipped, strict=True)]
    assert any(same)
    assert any(mirrored)
    assert all(a or b for a, b in zip(same, mirrored, strict=True))


def test_a_crop_shifts_by_at_most_an_eighth() -> None:
    images = torch.zeros(64, 1, 32, 32)
    images[:, :, 16, 16] = 1.0
    rows, columns = augment_batch(images, "crop", torch.Generator().manual_seed(0)).nonzero()[:, 2:].T
    assert (int(rows.min()), int(rows.max())) == (12, 20)
    assert (int(columns.min()), int(columns.max())) == (12, 20)


def test_the_same_seed_gives_the_same_images() -> None:
    images = torch.randn(8, 3, 24, 24)
    first, second = (augment_batch(images, "crop-flip", torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)


def test_the_result_lies_channels_last_in_memory() -> None:
    images = augment_batch(torch.randn(8, 3, 24, 24), "crop", torch.Generator().manual_seed(0))
    assert images.is_contiguous(memory_format=torch.channels_last)
