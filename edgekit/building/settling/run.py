"""Settling a bundle on a device from here, and taking over what a board settled by itself."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.board.candidates import Manifests, read_bundle
from edgekit.board.manifest import ManifestError
from edgekit.board.runner import JobError
from edgekit.board.settle import record
from edgekit.board.settled import read_settled
from edgekit.board.settling import Settlement, Settling, SettlingPlan
from edgekit.building.board import Board, find_board
from edgekit.building.settling.device_runner import DeviceRunner
from edgekit.building.settling.merging import merged
from edgekit.bundle import CandidatesManifest, read_any_manifest, read_manifest, verify_bundle
from edgekit.devices import Device, make_device
from edgekit.errors import BundleError, DeviceError, OutputError
from edgekit.files import only_one_in
from edgekit.hardware import find_target
from edgekit.progress import Reporter
from edgekit.result import Result, load_result, save_result
from edgekit.store import Store

__all__ = ["SettleRequest", "SettledBundle", "settle_bundle", "take_settled"]


@dataclass(frozen=True)
class SettleRequest:
    """`bundle`: of several candidates. `out`: of the build that made it; None where its result is not here.

    `most_threads`: the most that tuning tries; None for as many as it was built with.
    """

    bundle: Path
    out: Path | None
    device: str
    store: Path
    seconds: float = 5.0
    tune: bool = True
    most_threads: int | None = None


@dataclass(frozen=True)
class SettledBundle:
    """`answer`: what settled.json says. `result`: the build's, with that in it; None where it is not here."""

    answer: Mapping[str, Any]
    result: Result | None


def check_settling(bundle: Path) -> CandidatesManifest:
    """The manifest of a whole bundle of several candidates. Raises BundleError."""
    manifest = read_any_manifest(bundle)
    if not isinstance(manifest, CandidatesManifest):
        raise BundleError(
            f"{bundle} holds one artifact: there is nothing to settle",
            remedy=f"edgekit bundle verify {bundle}",
        )
    verification = verify_bundle(bundle, run=False)
    if not verification.ok:
        raise BundleError(f"{bundle}: {verification.problems[0]}", remedy="copy or make the bundle anew")
    return manifest


def settle_bundle(
    request: SettleRequest, reporter: Reporter, device_of: Callable[[str, Path], Device] = make_device
) -> SettledBundle:
    """Measure the bundle's candidates on the device, choose, and write settled.json and the build's result.json.

    Each job that is finished stays in the store: a rerun, after Ctrl-C or a lost link too, begins where it ended. On
    any failure the bundle and the result are as they were. Raises BundleError, DeviceError (also for a device that is
    not the target), StoreError, OutputError.
    """
    manifest = check_settling(request.bundle)
    facts, manifests = _read(request.bundle)
    result = None if request.out is None else load_result(request.out)
    target = find_target(manifest.target, Path.cwd())
    store = Store.open(request.store, reporter.say)
    try:
        device = device_of(request.device, store.workspace("device"))
        told = device.describe()
        board = find_board(target, device, told)
        _refuse_another(board, device)
        emulated = board.emulated or device.origin == "emulated"
        runner = DeviceRunner(device, {**told, "emulated": emulated}, store, reporter)
        most = manifest.threads if request.most_threads is None else request.most_threads
        plan = SettlingPlan(request.seconds, request.tune, most)
        settlement = _settled(request.bundle, facts, manifests, runner, store.workspace("golden"), plan)
    finally:
        store.close()
    return SettledBundle(settlement.answer, _written(request, manifest, facts, manifests, settlement, result))


def _settled(
    bundle: Path,
    facts: Mapping[str, Any],
    manifests: Manifests,
    runner: DeviceRunner,
    work: Path,
    plan: SettlingPlan,
) -> Settlement:
    try:
        settlement = Settling(str(bundle), facts, manifests, runner, str(work), plan).settle()
    except JobError as error:
        raise DeviceError(f"nothing was settled: {error}", remedy="run it again") from error
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"{bundle} cannot be measured: {error}", remedy="make the bundle anew") from error
    if not settlement.ran:
        raise DeviceError(f"nothing was measured: {'; '.join(settlement.problems)}")
    return settlement


def _written(
    request: SettleRequest,
    manifest: CandidatesManifest,
    facts: Mapping[str, Any],
    manifests: Manifests,
    settlement: Settlement,
    result: Result | None,
) -> Result | None:
    """The bundle's settled.json and the result, once all is known to fit."""
    new = None
    if result is not None:
        new = merged(result, manifest, _typed(request.bundle, manifest), settlement.answer)
    try:
        record(str(request.bundle), facts, manifests, settlement)
    except ManifestError as error:
        raise BundleError(str(error)) from error
    except OSError as error:
        raise OutputError(f"{request.bundle} cannot be written: {error.strerror}") from error
    if new is not None and request.out is not None:
        with only_one_in(request.out):
            save_result(new, request.out / "result.json")
    return new


def take_settled(out: Path, bundle: Path, file: Path) -> Result:
    """The build's result in `out` with what a board wrote into settled.json (`file`), saved.

    Raises BundleError for a file of another bundle, one that was changed, or one of a machine that is not the board.
    """
    manifest = check_settling(bundle)
    facts, _ = _read(bundle)
    try:
        answer = read_settled(str(file), facts)
    except (ManifestError, OSError, ValueError) as error:
        raise BundleError(str(error)) from error
    try:
        result = merged(load_result(out), manifest, _typed(bundle, manifest), answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{file} does not hold a settling: {error!r}", remedy="settle again") from error
    with only_one_in(out):
        save_result(result, out / "result.json")
    return result


def _read(bundle: Path) -> tuple[dict[str, Any], Manifests]:
    try:
        return read_bundle(str(bundle))
    except (OSError, ValueError) as error:
        raise BundleError(str(error)) from error


def _typed(bundle: Path, manifest: CandidatesManifest) -> dict[str, Any]:
    return {facts.id: read_manifest(bundle / facts.folder) for facts in manifest.candidates}


def _refuse_another(board: Board, device: Device) -> None:
    """This machine, which may stand in for a board in a build, settles nothing in its place. Raises DeviceError."""
    if board.absent:
        raise DeviceError(
            f"{device.name} is no {board.target.name}: {'; '.join(board.absent)}",
            remedy=f"edgekit targets probe --device {device.name}",
        )
