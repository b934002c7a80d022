"""The digest of a factory's network: it changes with whatever the network holds, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgekit.errors import ModelError
from edgekit.model import identified, load_module, locate, locate_module

READING = """
import json, os
from pathlib import Path
import numpy as np
import torch
from torch import nn
from safetensors.torch import load_file

HERE = Path(__file__).parent


def from_torch():
    net = nn.Linear(2, 3)
    net.load_state_dict(torch.load(HERE / "w.pt"))
    return net


def from_safetensors():
    net = nn.Linear(2, 3)
    net.load_state_dict(load_file(HERE / "w.safetensors"))
    return net


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.from_numpy(np.load(HERE / "scale.npy")), persistent=False)
        self.shift = np.load(HERE / "scale.npy")[:1]
        self._limit = json.loads((HERE / "limit.json").read_text())["limit"]
        self.hidden = [nn.Linear(1, 1)]
        nn.init.constant_(self.hidden[0].weight, float(os.environ.get("EK_WEIGHT", "1")))
        nn.init.zeros_(self.hidden[0].bias)

    def forward(self, x):
        return self.hidden[0](x * self.scale).clamp(max=self._limit)


def scaled():
    return Scaled()
"""


def write(folder: Path, seed: int) -> None:
    """What the factories read."""
    import numpy as np
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    state = nn.Linear(2, 3).state_dict()
    torch.save(state, folder / "w.pt")
    save_file(state, folder / "w.safetensors")
    np.save(folder / "scale.npy", np.full(1, 1.0 + seed, np.float32))
    (folder / "limit.json").write_text(f'{{"limit": {6.0}}}')


@pytest.fixture
def reading(tmp_path: Path) -> str:
    write(tmp_path, 0)
    (tmp_path / "net.py").write_text(READING)
    return str(tmp_path / "net.py")


def digest(spec: str) -> str:
    return identified(locate(spec)).digest


@pytest.mark.parametrize("factory", ["from_torch", "from_safetensors", "scaled"])
def test_the_digest_follows_the_files_that_a_factory_reads(
    reading: str, tmp_path: Path, factory: str
) -> None:
    before = digest(f"{reading}:{factory}")
    assert digest(f"{reading}:{factory}") == before
    write(tmp_path, 1)
    assert digest(f"{reading}:{factory}") != before


def test_the_digest_follows_a_number_that_is_kept_as_an_attribute(reading: str, tmp_path: Path) -> None:
    before = digest(f"{reading}:scaled")
    (tmp_path / "limit.json").write_text('{"limit": 5.0}')
    assert digest(f"{reading}:scaled") != before


def test_the_digest_follows_the_environment_into_a_layer_in_a_plain_list(
    reading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest(f"{reading}:scaled")
    monkeypatch.setenv("EK_WEIGHT", "2")
    assert digest(f"{reading}:scaled") != before


def test_two_factories_of_one_file_differ_though_their_networks_are_equal(tmp_path: Path) -> None:
    source = "from torch import nn\ndef a(): return nn.ReLU()\ndef b(): return nn.ReLU()\nc = a\n"
    (tmp_path / "nets.py").write_text(source)
    located = {name: locate(f"{tmp_path / 'nets.py'}:{name}").digest for name in "abc"}
    assert len(set(located.values())) == 3


def test_a_network_that_changed_since_it_was_identified_is_not_loaded(reading: str, tmp_path: Path) -> None:
    reference = identified(locate(f"{reading}:from_torch"))
    load_module(reference)
    write(tmp_path, 1)
    with pytest.raises(ModelError, match="gives another network than when the build began"):
        load_module(reference)


RANDOM = {
    "weights": "def make(): return nn.Linear(2, 3)",
    "attribute": """
class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = float(torch.rand(()))
def make(): return Noisy()""",
    "buffer": """
class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randn(3), persistent=False)
def make(): return Noisy()""",
}


@pytest.mark.parametrize("kind", RANDOM)
def test_a_factory_that_is_random_is_told_and_one_with_a_seed_is_not(tmp_path: Path, kind: str) -> None:
    (tmp_path / "net.py").write_text("import torch\nfrom torch import nn\n" + RANDOM[kind])
    with pytest.raises(
        ModelError, match=r"another network each time.*weight.*differ; .*torch\.manual_seed"
    ) as caught:
        identified(locate(f"{tmp_path / 'net.py'}:make"))
    assert "\n" not in str(caught.value)
    seeded = "\ndef seeded():\n    torch.manual_seed(0)\n    return make()\n"
    (tmp_path / "net.py").write_text("import torch\nfrom torch import nn\n" + RANDOM[kind] + seeded)
    assert identified(locate(f"{tmp_path / 'net.py'}:seeded")).state


def test_random_weights_that_are_replaced_are_not_random(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef make(): return nn.Linear(2, 3)\n")
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "w.pt")
    reference = locate(f"{tmp_path / 'net.py'}:make", tmp_path / "w.pt")
    assert identified(reference).digest == identified(reference).digest


def test_a_lazy_layer_is_told(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef make(): return nn.LazyLinear(3)\n")
    with pytest.raises(ModelError, match="weight has no values yet"):
        identified(locate(f"{tmp_path / 'net.py'}:make"))


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(2, 2).to(torch.bfloat16), nn.BatchNorm1d(2)),
        nn.LSTM(2, 2),
        nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
        nn.ParameterList(
            [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros((), dtype=torch.complex64))]
        ),
    ],
    ids=["bfloat16", "lstm", "weight-norm", "complex"],
)
def test_live_networks_of_every_kind_have_a_digest_that_follows_their_values(module: nn.Module) -> None:
    before = locate_module(module).digest
    assert locate_module(module).digest == before
    with torch.no_grad():
        next(module.parameters()).add_(1)
    assert locate_module(module).digest != before


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "hook",
    [
        "nn.utils.weight_norm",
        "nn.utils.spectral_norm",
        "partial(prune.l1_unstructured, name='weight', amount=0.5)",
    ],
)
def test_what_a_hook_computes_from_loaded_weights_is_not_random(tmp_path: Path, hook: str) -> None:
    from functools import partial

    from torch.nn.utils import prune

    (tmp_path / "net.py").write_text(
        "from functools import partial\nfrom torch import nn\nfrom torch.nn.utils import prune\n\n\n"
        f"def make():\n    layer = nn.Linear(4, 3)\n    {hook}(layer)\n    return nn.Sequential(layer)\n"
    )
    trained = nn.Linear(4, 3)
    eval(hook, {"nn": nn, "partial": partial, "prune": prune})(trained)  # noqa: S307 one of the three above
    weights = tmp_path / "w.pt"
    torch.save(nn.Sequential(trained).state_dict(), weights)
    first, second = (identified(locate(f"{tmp_path / 'net.py'}:make", weights)) for _ in range(2))
    assert first.digest == second.digest
    other = nn.Sequential(trained).state_dict()
    torch.save({name: value + 1.0 for name, value in other.items()}, weights)
    assert identified(locate(f"{tmp_path / 'net.py'}:make", weights)).digest != first.digest
