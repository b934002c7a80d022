"""Which wheels a board takes."""

from __future__ import annotations

from typing import Any

import pytest
from packaging.tags import parse_tag

from edgekit.devices.wheels import WheelPlatform, platform_of
from edgekit.errors import DeviceError

PI: dict[str, Any] = {"arch": "aarch64", "bits": 64, "libc": "glibc 2.36", "python": "3.11.2"}


def test_a_board_is_described_as_wheels_are_tagged() -> None:
    platform = platform_of(PI, "pi")
    assert platform == WheelPlatform("3.11", "aarch64", 36)
    tags = [platform.options[at + 1] for at, word in enumerate(platform.options) if word == "--platform"]
    assert tags[0] == "manylinux_2_36_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64"} <= set(tags)
    assert "manylinux_2_37_aarch64" not in tags
    assert all(parse_tag(f"cp311-cp311-{tag}") for tag in tags)
    assert "--only-binary" in platform.options


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"bits": 32, "arch": "armv7l"}, "pi is a system of 32 bits .armv7l.*install a 64-bit system"),
        ({"bits": 32}, "32 bits"),
        ({"libc": ""}, "pi has no glibc"),
        ({"libc": "musl 1.2"}, "pi has musl 1.2"),
    ],
)
def test_a_system_without_wheels_is_refused(other: dict[str, Any], told: str) -> None:
    with pytest.raises(DeviceError, match=told):
        platform_of({**PI, **other}, "pi")
