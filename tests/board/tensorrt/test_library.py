"""Versions of TensorRT, and what is said where it is missing."""

from __future__ import annotations

import pytest

from edgekit.board.tensorrt.library import load_tensorrt
from edgekit.board.versions import fits_range


@pytest.mark.parametrize(
    ("version", "specifier", "fits"),
    [
        ("8.2.1.8", ">=8.2,<8.3", True),
        ("8.3.0", ">=8.2,<8.3", False),
        ("8.5.2", ">=8.5.2,<10.4", True),
        ("10.3.0", ">=8.5.2,<10.4", True),
        ("8.5.1", ">=8.5.2,<10.4", False),
        ("10.13.3", ">=10.13", True),
        ("8.2.1", "~=8.2", True),
        ("8.2.1", "!=8.2.1", False),
        ("8.2", "==8.2.0", True),
    ],
)
def test_version_ranges(version: str, specifier: str, fits: bool) -> None:
    assert fits_range(version, specifier) is fits


def test_a_missing_library_says_what_to_install() -> None:
    with pytest.raises(ImportError, match=r"JetPack.*tensorrt_rtx_cu13"):
        load_tensorrt("tensorrt_of_another_world")
