"""`edgekit doctor`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Literal

import click

from edgekit.cli.spinner import spinner
from edgekit.errors import MissingExtraError
from edgekit.runtimes import RUNTIMES

__all__ = ["doctor"]

EPILOG = """\b
Examples:
  edgekit doctor
  edgekit doctor --json
"""

TIMEOUT_S = 120

TORCH_FACTS = """
import torch
if torch.cuda.is_available():
    print(f"CUDA {torch.version.cuda}, {torch.cuda.get_device_name(0)}")
else:
    print("no CUDA device" if torch.version.cuda else "CPU build")
"""

# Names that decide what a CPU computes fast (edgekit's targets ask for these).
TELLING = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve"),
)


@dataclass(frozen=True)
class Component:
    """One part of edgekit that an extra installs. `packages`: distribution, module. `facts`: prints a line."""

    name: str
    purpose: Literal["runtime", "training", "data"]
    extra: str
    packages: tuple[tuple[str, str], ...]
    facts: str = ""


@dataclass(frozen=True)
class ComponentState:
    """`state`: usable, missing (a package), or broken (installed, but its import fails: see `detail`)."""

    name: str
    purpose: str
    state: Literal["usable", "missing", "broken"]
    versions: dict[str, str]
    detail: str
    remedy: str


COMPONENTS = (
    *(
        Component(item.name, "runtime", item.extra, item.packages, item.facts)
        for row in RUNTIMES.values()
        for item in row.installations
    ),
    Component(
        "torch",
        "training",
        "torch",
        (
            ("torch", "torch"),
            ("safetensors", "safetensors"),
            ("onnxscript", "onnxscript"),
        ),
        TORCH_FACTS,
    ),
    Component("images", "data", "images", (("pillow", "PIL"),)),
    Component("digits", "data", "digits", (("scikit-learn", "sklearn"),)),
)


@click.command(epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print everything found as JSON.")
def doctor(as_json: bool) -> int:
    """Say which runtimes are usable here, and the exact pip line for what is not.

    Each package is imported for real, in a process of its own: one that is installed but broken is told with
    its error. Ends with 0 when at least one runtime is usable, else with 1.
    """
    with spinner("trying every runtime"), ThreadPoolExecutor(max_workers=2) as pool:
        findings = list(pool.map(examine, COMPONENTS))
    machine, targets = _machine()
    usable = any(state.state == "usable" for state in findings if state.purpose == "runtime")
    if as_json:
        answer = {
            "schema": 1,
            "edgekit": _version(),
            "python": sys.version.split()[0],
            "usable": usable,
            "checks": [asdict(state) for state in findings],
            "machine": machine,
            "targets": targets,
        }
        click.echo(json.dumps(answer, indent=1))
    else:
        _print(findings, machine, targets)
    return 0 if usable else 1


def examine(component: Component) -> ComponentState:
    """Look for the packages' metadata, then import them in a fresh process."""
    versions, absent = {}, []
    for package, _module in component.packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            absent.append(package)

    def in_state(
        state: Literal["usable", "missing", "broken"], detail: str, remedy: str = ""
    ) -> ComponentState:
        return ComponentState(component.name, component.purpose, state, versions, detail, remedy)

    if absent:
        line = str(MissingExtraError(absent[0], component.extra)).partition(": ")[2]
        return in_state("missing", f"not installed: {', '.join(absent)}", line)
    detail, error = _try(component)
    if error:
        packages = " ".join(versions)
        return in_state("broken", error, f"pip install --force-reinstall {packages}")
    return in_state("usable", detail)


def _try(component: Component) -> tuple[str, str]:
    """What the facts say, and the error's last line if an import failed."""
    lines = ["import sys", "sys.path[:] = [each for each in sys.path if each]"]
    lines += [f"import {module}" for _package, module in component.packages]
    try:
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines) + "\n" + component.facts],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "NNCF_CI": "1"},  # or importing nncf reports its use to its makers
        )
    except subprocess.TimeoutExpired:
        return "", f"its import did not end within {TIMEOUT_S} s"
    if done.returncode < 0:
        return "", f"its import was ended by {signal.Signals(-done.returncode).name}"
    if done.returncode:
        return "", (_last_line(done.stderr) or f"its import ended with exit code {done.returncode}")[:300]
    return _last_line(done.stdout), ""


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _machine() -> tuple[dict[str, Any], list[str]]:
    """This machine's facts, and the targets that it is one of."""
    from edgekit.devices.local import local_machine
    from edgekit.hardware import all_targets

    machine = local_machine()
    facts = {
        **asdict(machine),
        "features": sorted(machine.features),
        "accelerators": sorted(machine.accelerators),
    }
    return facts, [target.name for target in all_targets() if not target.misfits(machine)]


def _version() -> str:
    from edgekit import __version__

    return __version__


def _print(findings: list[ComponentState], machine: dict[str, Any], targets: list[str]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from edgekit.console import make_console
    from edgekit.report.wording import plural

    console = make_console()
    table = Table(title=f"edgekit {_version()}, Python {sys.version.split()[0]}", title_justify="left")
    for heading in ("part", "for", "state", "what was found"):
        table.add_column(heading, overflow="fold")
    colours = {"usable": "green", "missing": "yellow", "broken": "red"}
    for component in findings:
        versions = ", ".join(f"{name} {version}" for name, version in component.versions.items())
        told = [versions, component.detail] if component.state != "missing" else [component.detail]
        state = f"[{colours[component.state]}]{component.state}[/]"
        table.add_row(
            component.name, component.purpose, state, escape("\n".join(line for line in told if line))
        )
    console.print(table)
    for component in findings:
        if component.remedy:
            click.echo(f"{component.name} is {component.state}: {component.remedy}")
    telling = [name for name in TELLING if name in machine["features"]]
    console.print(
        f"{machine['cpu']}, {machine['arch']}, {plural(machine['cores'], 'core')}, "
        f"{machine['memory_bytes'] / 2**30:.1f} GiB; "
        f"{', '.join(telling) or 'no vector features known to edgekit'}",
        highlight=False,
        markup=False,
    )
    known = [name for name in targets if not name.startswith("generic")] + targets
    console.print(
        f"targets that this machine fits: {', '.join(targets) or 'none'}", highlight=False, markup=False
    )
    if known:
        console.print(f"edgekit build --target {known[0]} ... builds for it", highlight=False, markup=False)
