"""Whether a machine is a board: the same answer for a target description and for a bundle's manifest."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edgekit.board.identity import misfits
from edgekit.bundle import BoardIdentity
from edgekit.hardware import Machine, Target, all_targets

FEATURES = ["asimddp", "avx2", "avx512_vnni", "avx512f", "avx_vnni"]
TARGETS = all_targets()


@st.composite
def facts(draw: st.DrawFn) -> dict[str, object]:
    known = {
        "arch": st.sampled_from(["x86_64", "aarch64"]),
        "machine": st.sampled_from(["NVIDIA Jetson Nano Developer Kit", "Raspberry Pi 4 Model B", "box"]),
        "cpu": st.sampled_from(["Intel(R) N100", "Cortex-A72", ""]),
        "features": st.lists(st.sampled_from(FEATURES), unique=True),
        "accelerators": st.lists(st.sampled_from(["intel-npu", "sm_53"]), unique=True),
    }
    return {key: draw(values) for key, values in known.items() if draw(st.booleans())}


@given(st.sampled_from(TARGETS), facts())
def test_a_bundle_and_the_target_it_was_built_for_know_the_same_board(
    target: Target, machine: dict[str, object]
) -> None:
    stated = target.identity
    identity = BoardIdentity(
        target.architecture,
        stated.models, stated.cpus, stated.all_of, stated.any_of, stated.none_of, stated.accelerator,
    )  # fmt: skip
    manifest = msgspec.json.decode(msgspec.json.encode(identity))
    from_bundle = misfits(target.name, manifest, machine)
    assert tuple(from_bundle) == target.misfits(Machine.from_facts(machine))
