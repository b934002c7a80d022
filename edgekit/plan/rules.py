"""Target rules: what is tried on a board, and for all else why not. Pure: no file, no runtime, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from edgekit.errors import UserError
from edgekit.hardware import Runtime, Target
from edgekit.precisions import PRECISIONS
from edgekit.runtimes import RUNTIMES
from edgekit.types import BackendName, Candidate, Precision, Rejection, Variant

__all__ = ["Plan", "candidate_id", "least_need_bytes", "plan_candidates"]

FLOAT_BITS = 32  # of a weight of a variant
LINEAR_OPS = ("Gemm", "MatMul")
LEAST_LINEAR = 0.25
"""Of a variant's weights in linear layers, for a precision that its runtime has for these alone; edgekit's rule: with
less, neither size nor time changes by much, and each candidate has to be made and timed."""


@dataclass(frozen=True)
class Plan:
    """What is tried, and what is not with the reason why: too large for the board first, the smallest of them first."""

    candidates: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...]


def candidate_id(
    variant: str, backend: BackendName, precision: Precision, recipe: str = "", device: str = ""
) -> str:
    """`original-ov-int8-nncf`: unique in one build. `int8-nncf` does not repeat its precision."""
    suffix = recipe.removeprefix(f"{precision}-")
    return "-".join(part for part in (variant, RUNTIMES[backend].short, device, precision, suffix) if part)


def plan_candidates(
    target: Target,
    variants: Sequence[Variant],
    *,
    precisions: Sequence[Precision] | None,
    backends: Sequence[BackendName],
    features: AbstractSet[str],
    unusable: Mapping[BackendName, str] | None = None,
    default_recipes: Mapping[BackendName, str] | None = None,
) -> Plan:
    """Every variant x runtime of the target x precision, as a candidate or in a rejection.

    `precisions`: the user's choice (None: all that the target has). `backends`: the usable ones; `unusable`:
    the others → how to get them; a runtime of the target that is in neither was not asked for. `features`: of
    the CPU. `default_recipes`: backend → the recipe of its calibrated candidates. Candidates come by variant, then
    in the order of the target's file. Raises UserError when nothing can be tried at all.
    """
    asked = tuple(dict.fromkeys(precisions)) if precisions is not None else _known_precisions(target)
    pairs: list[tuple[Runtime, Precision]] = []
    rejections = [
        Rejection(backend, f"{target.name} does not run it", " or ".join(_names(target)))
        for backend in dict.fromkeys(backends)
        if target.runtime(backend) is None
    ]
    for runtime in target.runtimes:
        for precision in _in_order(runtime, asked):
            rejection = _reject(target, runtime, precision, backends, unusable or {}, features)
            if rejection is None:
                pairs.append((runtime, precision))
            else:
                rejections.append(rejection)
    if not pairs:
        raise _nothing_to_try(target, asked, rejections)
    candidates: dict[str, Candidate] = {}
    too_large: list[tuple[int, Rejection]] = []
    for variant in variants:
        for runtime, precision, device in _with_devices(target, pairs):
            recipe = (default_recipes or {}).get(runtime.name, "")
            candidate = _candidate(variant, runtime, precision, recipe, device)
            unfit = _hardly_linear(runtime, variant, candidate)
            if unfit is not None:
                rejections.append(unfit)
                continue
            need = _need_bytes(variant, precision)
            if target.model_bytes is not None and need > target.model_bytes:
                too_large.append((need, _too_large(target, candidate, need, target.model_bytes)))
            elif candidate.id in candidates:
                raise ValueError(f"two variants are called {variant.id}")
            else:
                candidates[candidate.id] = candidate
    too_large.sort(key=lambda pair: pair[0])
    return Plan(tuple(candidates.values()), (*(rejection for _, rejection in too_large), *rejections))


def _candidate(
    variant: Variant, runtime: Runtime, precision: Precision, recipe: str, device: str
) -> Candidate:
    used = recipe if PRECISIONS[precision].is_calibrated else ""
    name = candidate_id(variant.id, runtime.name, precision, used, device)
    return Candidate(name, variant.id, runtime.name, precision, used, device)


def _with_devices(
    target: Target, pairs: Sequence[tuple[Runtime, Precision]]
) -> list[tuple[Runtime, Precision, str]]:
    """Each pair on the runtime's usual device, then once more on the DLA where the board has one that takes it."""
    usual = [(runtime, precision, "") for runtime, precision in pairs]
    if not target.has_dla():
        return usual
    return usual + [
        (runtime, precision, "dla")
        for runtime, precision in pairs
        if precision in RUNTIMES[runtime.name].dla_precisions
    ]


def _names(target: Target) -> tuple[str, ...]:
    return tuple(runtime.name for runtime in target.runtimes)


def _known_precisions(target: Target) -> tuple[Precision, ...]:
    """All that a runtime has, then all that the description says is missing."""
    missing = [precision for runtime in target.runtimes for precision in runtime.rejected]
    return tuple(dict.fromkeys((*target.precisions, *missing, *target.rejected)))


def _in_order(runtime: Runtime, asked: Sequence[Precision]) -> list[Precision]:
    """What the runtime has in its own order, then the rest."""
    has = [precision for precision in runtime.precisions if precision in asked]
    return has + [precision for precision in asked if precision not in has]


def _reject(
    target: Target,
    runtime: Runtime,
    precision: Precision,
    backends: Sequence[BackendName],
    unusable: Mapping[BackendName, str],
    features: AbstractSet[str],
) -> Rejection | None:
    """Why this runtime does not run this precision here; None when it does."""
    what = f"{runtime.name} {precision}"
    if precision not in runtime.precisions:
        lack = runtime.rejected.get(precision) or target.lacks(precision)
        if lack is not None:
            return Rejection(what, lack.reason, lack.instead)
        others = [other.name for other in target.runtimes if precision in other.precisions]
        return Rejection(what, f"{runtime.name} has no {precision} on {target.name}", " or ".join(others))
    requirement = runtime.missing_feature(precision, frozenset(features))
    if requirement is not None:
        return Rejection(what, requirement.reason, requirement.instead)
    if runtime.name in backends:
        return None
    if runtime.name in unusable:
        return Rejection(what, f"{runtime.name} is not usable here", unusable[runtime.name])
    return Rejection(what, f"{runtime.name} was left out by the request")


def _hardly_linear(runtime: Runtime, variant: Variant, candidate: Candidate) -> Rejection | None:
    """Why a precision for linear layers alone is not tried on this variant; None where it is."""
    precision = candidate.precision
    if precision not in RUNTIMES[runtime.name].linear_precisions:
        return None
    linear = sum(layer.parameters for layer in variant.cost.layers if layer.op in LINEAR_OPS)
    share = linear / max(variant.cost.parameters, 1)
    if share >= LEAST_LINEAR:
        return None
    reason = f"{RUNTIMES[runtime.name].title} has {precision} for linear layers, which hold {share:.0%} of the weights"
    return Rejection(candidate.id, reason, "int8")


def least_need_bytes(target: Target, variant: Variant) -> int:
    """What the variant takes at least on the target, of all precisions that its runtimes have there."""
    return min(_need_bytes(variant, precision) for precision in target.precisions)


def _need_bytes(variant: Variant, precision: Precision) -> int:
    """Weights at this precision and live float activations."""
    bits = PRECISIONS[precision].weight_bits
    return int(variant.cost.weight_bytes * bits / FLOAT_BITS) + variant.cost.activation_bytes


def _too_large(target: Target, candidate: Candidate, need: int, limit: int) -> Rejection:
    """What it needs against one model's share of memory."""
    reason = f"it needs {need / 2**20:.0f} MiB; one model may use {limit / 2**20:.0f} MiB on {target.name}"
    return Rejection(candidate.id, reason, "a smaller or more pruned network")


def _nothing_to_try(target: Target, asked: Sequence[Precision], rejections: Sequence[Rejection]) -> UserError:
    """One line that says why nothing is left."""
    first = {rejection.reason: rejection.instead for rejection in rejections}
    reasons = [f"{reason} (instead: {instead})" if instead else reason for reason, instead in first.items()]
    return UserError(
        f"{target.name} cannot run {', '.join(asked)} here: {'; '.join(reasons[:4])}",
        allowed=", ".join(target.precisions),
    )
