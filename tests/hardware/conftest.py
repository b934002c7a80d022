from __future__ import annotations

from pathlib import Path

import pytest

BOARD = """\
name = "my-board"
title = "A board of mine"
family = "mine"
architecture = "aarch64"

[sources]
sheet = "Its data sheet"

[identity]
models = ["My Board"]
source = ["sheet"]

[memory]
sizes_bytes = [1_073_741_824]
source = ["sheet"]

[channels]
multiples = { fp32 = 8 }
source = ["sheet"]

[[runtimes]]
name = "onnxruntime"
versions = ">=1.22"
precisions = ["fp32", "int8"]
opset_max = 17
source = ["sheet"]

[[int8]]
activation = "int8"
weight = "int8"
weight_bits = 8
why = "SDOT"
source = ["sheet"]
"""


@pytest.fixture
def board_text() -> str:
    return BOARD


@pytest.fixture(autouse=True)
def config_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's config folder, empty."""
    home = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    return home
