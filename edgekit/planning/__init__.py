"""Which widths and blocks a plan would give a network, before anything is trained: units, groups and harm brought
together for the solver, and what it chose brought back to the network.
"""

from __future__ import annotations

from edgekit.planning.assembling import Assembled, assemble
from edgekit.planning.coupling import CoupledGroup, Coupling, GroupChannels, coupled
from edgekit.planning.cutting import PlanCutter
from edgekit.planning.merging import merged_units
from edgekit.planning.reasons import AttentionChoice, PlanChoice, attention_choices, plan_choices, unchanged

__all__ = [
    "Assembled",
    "AttentionChoice",
    "CoupledGroup",
    "Coupling",
    "GroupChannels",
    "PlanChoice",
    "PlanCutter",
    "assemble",
    "attention_choices",
    "coupled",
    "merged_units",
    "plan_choices",
    "unchanged",
]
