"""Boards: what they can run, how a machine is recognised as one, and where their descriptions lie.

Adding a board is adding one file, `targets/NAME.toml`: in this project, in `targets/` of a user's project
folder, or in `targets/` of the user's config folder. Copy the nearest one and change it:

1. `name` is the file's name without `.toml`. Every section names its `source`: ids of the `[sources]` table,
   which says document and table, not just a vendor. What nothing has confirmed yet gets `verified = false`.
2. `[identity]` says how a machine is recognised: the device tree's model, or CPU features.
3. `[[runtimes]]` lists what the board runs, at which precisions; `[rejected.PRECISION]` says why it has
   none and what is tried instead. `[[int8]]` rows are tried in order, the last one holds for every CPU.
4. `edgekit targets check FILE` names the first mistake; `edgekit targets show NAME` what a build would try.
"""

from __future__ import annotations

from edgekit.hardware.choosing import AUTO, fitting_targets, specificity
from edgekit.hardware.contradictions import Contradiction, contradictions
from edgekit.hardware.folders import config_dir, data_dir
from edgekit.hardware.loading import load_target_file
from edgekit.hardware.machine import Machine
from edgekit.hardware.registry import Registry, TargetEntry, all_targets, find_target, load_registry
from edgekit.hardware.sections import Int8Rule, Lack, Requirement, Runtime
from edgekit.hardware.skeleton import write_skeleton
from edgekit.hardware.target import Target

__all__ = [
    "AUTO",
    "Contradiction",
    "Int8Rule",
    "Lack",
    "Machine",
    "Registry",
    "Requirement",
    "Runtime",
    "Target",
    "TargetEntry",
    "all_targets",
    "config_dir",
    "contradictions",
    "data_dir",
    "find_target",
    "fitting_targets",
    "load_registry",
    "load_target_file",
    "specificity",
    "write_skeleton",
]
