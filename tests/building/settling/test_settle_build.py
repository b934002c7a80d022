"""A whole build for a Raspberry Pi 4 that is not here, settled afterwards on a board that says it is one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.board import golden
from edgekit.building.settling.run import SettleRequest, settle_bundle
from edgekit.bundle import CandidatesManifest, read_any_manifest, verify_bundle
from edgekit.progress import SilentReporter
from edgekit.report import write_report
from edgekit.result import load_result
from tests.building.command import build_arguments, run
from tests.building.settling.test_settle_bundle import FakeFitBoard
from tests.conftest import UserNetwork

pytestmark = pytest.mark.slow


class FakePi(FakeFitBoard):
    """Says that it is a Raspberry Pi 4."""

    fits: Mapping[str, Any] = {
        "machine": "Raspberry Pi 4 Model B Rev 1.4",
        "arch": "aarch64",
        "cpu": "Cortex-A72",
        "features": ["asimd", "fp", "crc32"],
    }


def golden_answer(path: Path, feeds: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """What golden.npz beside the model says of one of its inputs."""
    (image,) = feeds.values()
    (inputs,), (outputs,) = golden.read(str(path.with_name("golden.npz")), 1, 1)
    (place,) = [index for index in range(len(inputs)) if np.array_equal(inputs[index : index + 1], image)][:1]
    return {"out": outputs[place : place + 1]}


def test_a_real_build_s_provisional_verdict_turns_into_one_that_was_measured(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    made = run(
        build_arguments(
            digits_network,
            tmp_path,
            **{"target": "raspberry-pi-4", "precision": "fp32,int8", "max-latency": "50ms"},
        )
    )
    assert made.returncode == 4, made.stderr
    out = tmp_path / "out"
    before, manifest = load_result(out), read_any_manifest(out / "bundle")
    assert isinstance(manifest, CandidatesManifest)
    board = FakePi(tmp_path / "board", runtimes=("litert", "onnxruntime"), answer=golden_answer)
    request = SettleRequest(out / "bundle", out, "pi", tmp_path / "store", seconds=0.1)
    settled = settle_bundle(request, SilentReporter(), lambda _name, _work: board)
    result = settled.result
    assert result is not None
    assert (before.verdict, result.verdict) == ("PROVISIONAL", "MEETS"), result.explanation
    taken = {facts.id for facts in manifest.candidates}
    assert {row.id: row.origin for row in result.candidates} == {
        row.id: "device" if row.id in taken else "estimated" for row in before.candidates
    }
    assert result.winner in taken
    page = write_report(load_result(out), out / "report.html").read_text(encoding="utf-8")
    assert f"bundle/candidates/{result.winner}/infer.py" in page
    assert "Nothing is settled" not in page
    assert verify_bundle(out / "bundle").ok
