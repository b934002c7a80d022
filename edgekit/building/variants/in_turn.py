"""Networks that are made smaller in their turn: what one maker made is what the next one begins with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edgekit.building.given import GivenModel
from edgekit.building.variants.base import Made, MadeVariant, MakerContext, VariantMaker
from edgekit.building.variants.pruned import PrunedMaker, fits_nowhere, leaders, with_energy, with_free_memory
from edgekit.errors import StageError, TimeLimitReached
from edgekit.model import locate_module
from edgekit.plan import shortfall
from edgekit.types import Failure, Rejection

__all__ = ["PrunedInTurn", "beginning_with", "made_in_turn", "pruned_in_turn"]


def beginning_with(context: MakerContext, made: MadeVariant) -> MakerContext:
    """The context in which `made` is the network that is made smaller; the user's own teaches. Raises ModelError."""
    variant = made.variant
    networks = {**context.networks, variant.id: variant}
    if made.load is None:
        return replace(context, original=variant, networks=networks)
    module = made.load()
    model = GivenModel(locate_module(module), module, variant.id)
    teacher = context.teacher or context.model
    return replace(context, model=model, teacher=teacher, original=variant, networks=networks)


def made_in_turn(what: str, maker: VariantMaker, context: MakerContext) -> Iterator[Made]:
    """What the maker gives, with what stops it as a value that is about `what`."""
    try:
        rejection = maker.why_not(context)
        if rejection is not None:
            yield replace(rejection, what=what)
            return
        for made in maker.make(context):
            if isinstance(made, Rejection) and made.what == "pruning":
                made = replace(made, what=what)
            yield made
    except TimeLimitReached:
        assert context.time_limit is not None
        yield context.time_limit.not_tried(what)
    except StageError as problem:
        yield Failure(what, problem.stage, problem.cause, problem.remedy)


def pruned_in_turn(context: MakerContext, made: MadeVariant) -> Iterator[Made]:
    """The network that another maker trained, pruned to what the budget needs, with the user's own as its teacher."""
    if not context.request.prune:
        return
    name = made.variant.id
    yield from made_in_turn(f"pruning {name}", PrunedInTurn(made), beginning_with(context, made))


class PrunedInTurn(PrunedMaker):
    """Prunes what was trained, where that neither keeps the budget by itself nor has lost what may be lost."""

    def __init__(self, made: MadeVariant) -> None:
        self._made = made

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker; structures may be timed."""
        name, budget, steps = self._made.variant.id, context.request.budget, self._made.steps
        why = super().why_not(context)
        if why is not None:
            return why
        if budget.max_drop is not None and steps and not steps[-1].accepted:
            return Rejection(
                name,
                f"{name} scores {steps[-1].accuracy:.2%} and loses more than {budget.max_drop:.2%} already; "
                "pruning would cost more",
                "longer training (--epochs), a larger student, or a larger --max-drop",
            )
        if budget.fastest or fits_nowhere(context.target, context.original):
            return None
        budget = with_free_memory(budget, context.measurements.values())
        leads = [attempt.candidate for attempt in leaders(context.attempts, context.measurements, budget)]
        structures = context.probe([context.original], context.original, leads)
        for structure in with_energy(structures, context.measurements, budget):
            if not shortfall(structure, budget):
                reason = f"{name} takes {structure.latency_ms:.3f} ms as it is and keeps the budget; pruning would cost"
                return Rejection(name, f"{reason} accuracy")
        return None
