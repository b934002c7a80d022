"""Cheap by default: what `--help`, `import edgekit` and `edgekit targets` may load."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "numpy",
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "scipy",
    "sklearn",
    "matplotlib",
    "jinja2",
)


def loaded_by(code: str) -> set[str]:
    """Top-level modules loaded after running `code` in a fresh interpreter."""
    script = f"{code}\nimport sys; print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import edgekit",
        "from edgekit.cli import cli; cli(['--help'], standalone_mode=False)",
        "from edgekit.cli import cli; cli(['targets'], standalone_mode=False)",
        "import edgekit.choose, edgekit.types, edgekit.errors",
    ],
)
def test_cheap_commands_load_no_heavy_library(code: str) -> None:
    assert not loaded_by(code) & set(HEAVY)


def test_all_lists_exactly_what_a_module_offers() -> None:
    import importlib
    import pkgutil

    import edgekit

    for module in pkgutil.walk_packages(edgekit.__path__, "edgekit."):
        if module.name.endswith("__main__"):
            continue
        offered = importlib.import_module(module.name)
        for name in getattr(offered, "__all__", ()):
            assert name in dir(offered), f"{module.name}.__all__ names {name}, which it does not have"


def test_every_command_has_help_with_an_example() -> None:
    from click.testing import CliRunner

    from edgekit.cli import COMMANDS, cli

    for name in COMMANDS:
        shown = CliRunner().invoke(cli, [name, "--help"])
        assert shown.exit_code == 0
        assert "Example" in shown.output, name
