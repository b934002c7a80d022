"""`--target auto`: of the targets that a machine is, the one that says most of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import UnknownTargetError
from edgekit.hardware import Machine, fitting_targets

VNNI = Machine(
    "a server", "x86_64", "Intel(R) Xeon(R)", frozenset({"avx2", "avx512f", "avx512_vnni"}), 8, 2**34, "", ""
)
ARM = frozenset({"asimd", "asimddp"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "intel-cpu"),
        ({"features": frozenset({"avx2"})}, "intel-cpu-avx2"),
        ({"features": frozenset()}, "generic-cpu"),
        ({"cpu": "Intel(R) N100", "features": frozenset({"avx2", "avx_vnni"})}, "intel-n100"),
        ({"accelerators": frozenset({"sm_89"})}, "rtx-ada"),
        ({"arch": "aarch64", "features": ARM}, "generic-arm64"),
        ({"arch": "aarch64", "name": "Raspberry Pi 5 Model B", "features": ARM}, "raspberry-pi-5"),
    ],
)  # fmt: skip
def test_the_most_specific_target_comes_first(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    fitting = fitting_targets(replace(VNNI, **changes), tmp_path)  # type: ignore[arg-type]
    assert fitting[0].name == expected
    assert not any(target.misfits(replace(VNNI, **changes)) for target in fitting)  # type: ignore[arg-type]


def test_a_machine_that_is_no_target_is_told_how_to_describe_it(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownTargetError, match=r"RISC-V.*none of the targets.*edgekit targets new"
    ) as caught:
        fitting_targets(replace(VNNI, arch="riscv64", cpu="a RISC-V"), tmp_path)
    assert "\n" not in str(caught.value)
