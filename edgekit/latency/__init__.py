"""How long each layer takes, as its runtime fuses it, and from that how long a network takes.

`units_of` reads the units of an ONNX network. `LatencyTable.predict` tells the time of a unit, also at other widths
(`Unit.resized`), `LatencyTable.predict_network` that of a network. Tables are files (`load_table`, `save_table`); a
table of another device, runtime version or number of threads is refused by `open_table`.
"""

from __future__ import annotations

from edgekit.latency.stored import load_table, open_table, save_table
from edgekit.latency.table import LatencyTable, MeasuredOn, NetworkTime, TimedUnit, UnitTime
from edgekit.latency.unit import Family, Unit
from edgekit.latency.units import NetworkUnits, units_of

__all__ = [
    "Family",
    "LatencyTable",
    "MeasuredOn",
    "NetworkTime",
    "NetworkUnits",
    "TimedUnit",
    "Unit",
    "UnitTime",
    "load_table",
    "open_table",
    "save_table",
    "units_of",
]
