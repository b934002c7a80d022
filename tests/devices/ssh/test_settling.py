"""A bundle settled over SSH, by real runtimes behind a real sshd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.building.settling.run import SettleRequest, settle_bundle
from edgekit.bundle import verify_bundle
from edgekit.devices.ssh import SshDevice
from edgekit.errors import DeviceError
from edgekit.progress import SilentReporter
from edgekit.result import load_result
from tests.settling import built


def request(out: Path, tmp_path: Path) -> SettleRequest:
    return SettleRequest(
        out / "bundle", out, "pi", tmp_path / "store", seconds=0.1, tune=False, most_threads=1
    )


def test_a_bundle_is_settled_over_ssh_and_again_without_measuring(
    make_device: Callable[..., SshDevice], tmp_path: Path
) -> None:
    out = built(tmp_path / "out")
    device = make_device()
    settled = settle_bundle(request(out, tmp_path), SilentReporter(), lambda _name, _work: device)
    assert settled.result is not None
    assert (settled.result.verdict, settled.result.winner) == ("MEETS", "onnxruntime")
    assert {row.origin for row in settled.result.candidates} == {"device"}
    assert load_result(out).settled_in == "candidates/onnxruntime"
    assert verify_bundle(out / "bundle").ok
    before = (out / "bundle/settled.json").read_bytes()
    settle_bundle(request(out, tmp_path), SilentReporter(), lambda _name, _work: device)
    assert (out / "bundle/settled.json").read_bytes() == before


def test_a_board_out_of_reach_changes_nothing(make_device: Callable[..., SshDevice], tmp_path: Path) -> None:
    out = built(tmp_path / "out")
    before = (out / "result.json").read_bytes()
    device = make_device({"port": 1}, patience_s=0.1)
    with pytest.raises(DeviceError):
        settle_bundle(request(out, tmp_path), SilentReporter(), lambda _name, _work: device)
    assert (out / "result.json").read_bytes() == before
    assert not (out / "bundle/settled.json").exists()
