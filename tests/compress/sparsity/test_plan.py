"""Plans of zeros: which layers, why others not, as plain data."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekit.compress import SparsePlan, sparse_plan
from edgekit.errors import UserError
from edgekit.types import Sparsity

HALF, MOST = Sparsity("2:4", 0.5), Sparsity("unstructured", 0.8)


class Mixed(nn.Module):
    """One layer of each kind: an image's, a grouped one, an odd width, two that share a weight, and two plain ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.odd = nn.Linear(30, 8)
        self.plain = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 4)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight


def test_2_4_is_for_multiples_of_four_input_channels_and_the_others_are_told() -> None:
    plan = sparse_plan(Mixed(), HALF)
    assert plan.layers == ("plain", "fc")
    assert dict(plan.dense) == {
        "stem": "3 input channels, not divisible by 4",
        "depthwise": "grouped",
        "odd": "30 input channels, not divisible by 4",
        "first": "its weights belong to several layers",
        "second": "its weights belong to several layers",
    }
    assert plan.weights == 64 + 32
    head, left = plan.lines
    assert "2:4 sparsity by magnitude: " in head
    assert "odd (30 input channels, not divisible by 4)" in left


def test_zeros_anywhere_need_no_multiple() -> None:
    plan = sparse_plan(Mixed(), MOST, "obd", True)
    assert plan.layers == ("odd", "plain", "fc")
    assert dict(plan.dense)["stem"] == "3 input channels, fewer than 4"
    assert plan.share == pytest.approx(0.8 * plan.weights / plan.all_weights)
    assert "80% unstructured sparsity by a diagonal Hessian (OBD)" in plan.lines[0]
    assert "rewound" in plan.lines[0]


@pytest.mark.parametrize("network", [nn.Sequential(nn.Linear(30, 10)), nn.Sequential(nn.ReLU())])
def test_a_network_without_such_a_layer_is_refused_in_one_line(network: nn.Module) -> None:
    with pytest.raises(
        UserError, match=r"sparsity 2:4: no layer can hold it: (0: 30 input|there are no)"
    ) as refused:
        sparse_plan(network, HALF)
    assert "\n" not in str(refused.value)
    assert "allowed: layers whose input channels are a multiple of 4" in str(refused.value)


def test_packed_attention_is_taken_apart() -> None:
    torch.manual_seed(0)
    plan = sparse_plan(nn.Sequential(nn.MultiheadAttention(8, 2)), HALF)
    assert len(plan.layers) == 4


def test_json_and_back() -> None:
    plan = sparse_plan(Mixed(), MOST, "obd", True)
    assert SparsePlan.from_json(plan.to_json()) == plan
    assert plan.fraction == 1.0


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", sparse_plan(Mixed(), HALF).to_json().replace("2:4", "1:4"),
     sparse_plan(Mixed(), MOST).to_json().replace("0.8", "1.8"),
     sparse_plan(Mixed(), MOST).to_json().replace("magnitude", "luck")],
)  # fmt: skip
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a sparse plan"):
        SparsePlan.from_json(text)
