"""What several test folders share: a small network trained on real digits, as a user would hand it over."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.board_emulated.fixtures import emulated_board as emulated_board
from tests.board_emulated.fixtures import running_board as running_board
from tests.ray_cluster import ray_cluster as ray_cluster
from tests.ray_cluster import ray_executor as ray_executor

# A shell that starts the suite in the background has it ignore these, and with it every command that a test stops.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

SOURCE = '''"""A user's network."""
import torch

from edgekit.testing.networks import TinyConvNet


def make():
    return TinyConvNet(width=32)


def untrained():
    torch.manual_seed(0)
    return make()


def broken():
    raise RuntimeError("no weights for today")
'''


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Measurements of two processes of tests need not wait for each other: no test looks at a duration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@dataclass(frozen=True)
class UserNetwork:
    """`model` is `net.py:make`; `weights` its .safetensors."""

    folder: Path
    model: str
    weights: Path


@pytest.fixture(scope="session")
def digits_network(tmp_path_factory: pytest.TempPathFactory) -> UserNetwork:
    """TinyConvNet trained for a few epochs on the digits' training split; about 95 % top-1."""
    import torch
    from safetensors.torch import save_file

    from edgekit.data import make_splits, open_source
    from edgekit.testing.networks import TinyConvNet
    from edgekit.types import Preprocess

    folder = tmp_path_factory.mktemp("user")
    splits = make_splits(open_source("digits", Preprocess(), folder / "cache"), seed=0)
    assert splits.train is not None
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = TinyConvNet(width=32).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    for epoch in range(6):
        for batch in splits.train.batches(32, shuffle_seed=epoch):
            loss = torch.nn.functional.cross_entropy(
                network(torch.from_numpy(batch.inputs[0])), torch.from_numpy(batch.labels)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    (folder / "net.py").write_text(SOURCE)
    save_file(network.state_dict(), folder / "net.safetensors")
    return UserNetwork(folder, f"{folder / 'net.py'}:make", folder / "net.safetensors")
