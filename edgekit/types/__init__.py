"""The values that cross from one stage to the next. Frozen, plain, free of numpy, torch and runtimes.

Units stand in names. Accuracy values and drops are fractions: 0.01 is one percentage point.
"""

from __future__ import annotations

from edgekit.types.artifacts import (
    Artifact,
    Audit,
    FileHash,
    FloatLayer,
    FloatPoint,
    FloatReason,
    LayerAudit,
    LayerPart,
    LayerRow,
    LayerTime,
    QuantizationSummary,
)
from edgekit.types.candidates import BackendName, Candidate, Examination, Failure, Issue, Precision, Rejection
from edgekit.types.choices import METHODS, Budget, Choice, OutputsAre, QatChoice, Verdict
from edgekit.types.measurements import (
    Accuracy,
    Agreement,
    Energy,
    Environment,
    Estimate,
    Latency,
    Measurement,
    Origin,
    Percentile,
    SensorReading,
    WorstPart,
)
from edgekit.types.networks import (
    Cost,
    InputShape,
    LayerCost,
    Preprocess,
    Signature,
    TensorSpec,
    Variant,
    VariantKind,
)
from edgekit.types.plans import LayerStaircase, PlanningResult, PlanResult
from edgekit.types.sparsity import SaliencyName, Sparsity, SparsityPattern
from edgekit.types.steadiness import Moment, Steadiness, SteadyState

__all__ = [
    "METHODS",
    "Accuracy",
    "Agreement",
    "Artifact",
    "Audit",
    "BackendName",
    "Budget",
    "Candidate",
    "Choice",
    "Cost",
    "Energy",
    "Environment",
    "Estimate",
    "Examination",
    "Failure",
    "FileHash",
    "FloatLayer",
    "FloatPoint",
    "FloatReason",
    "InputShape",
    "Issue",
    "Latency",
    "LayerAudit",
    "LayerCost",
    "LayerPart",
    "LayerRow",
    "LayerStaircase",
    "LayerTime",
    "Measurement",
    "Moment",
    "Origin",
    "OutputsAre",
    "Percentile",
    "PlanResult",
    "PlanningResult",
    "Precision",
    "Preprocess",
    "QatChoice",
    "QuantizationSummary",
    "Rejection",
    "SaliencyName",
    "SensorReading",
    "Signature",
    "Sparsity",
    "SparsityPattern",
    "Steadiness",
    "SteadyState",
    "TensorSpec",
    "Variant",
    "VariantKind",
    "Verdict",
    "WorstPart",
]
