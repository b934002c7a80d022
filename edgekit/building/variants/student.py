"""A student of another architecture: taught by the original, then built and chosen as any other variant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from edgekit.building.given import GivenModel
from edgekit.building.request import BuildRequest, TeacherSpec
from edgekit.building.variants.base import Made, MadeVariant, MakerContext
from edgekit.building.variants.distilled import job_for, train_pruned
from edgekit.building.variants.in_turn import pruned_in_turn
from edgekit.building.variants.original import example_inputs
from edgekit.building.variants.pruned import LEAST_TRAINING_S, untaught
from edgekit.building.variants.teaching import refuse_unfit_features, teaching_by_its_file
from edgekit.building.variants.training import seconds_left
from edgekit.compress import PruneConfig, read_outputs, refuse_other_outputs
from edgekit.data import DataSource
from edgekit.errors import UserError
from edgekit.types import Rejection

__all__ = ["StudentMaker", "refuse_unfit_student"]


WHAT = "the student"


class StudentMaker:
    """Trains the network that the request gives beside the original, with the original as the teacher."""

    def why_not(self, context: MakerContext) -> Rejection | None:
        """See VariantMaker."""
        if context.student is None:
            return None
        never = untaught(context.splits, WHAT)
        if never is not None:
            return never
        if context.time_limit is not None and seconds_left(context.time_limit) < LEAST_TRAINING_S:
            return context.time_limit.not_tried(WHAT)
        return None

    def make(self, context: MakerContext) -> Iterator[Made]:
        """See VariantMaker: the student, and what it is pruned to. Raises StageError when its training fails."""
        context = replace(context, model=teaching_by_its_file(context.model, context.original))
        for made in self.taught(context):
            yield made
            if isinstance(made, MadeVariant):
                yield from pruned_in_turn(context, made)

    def taught(self, context: MakerContext) -> Iterator[MadeVariant | Rejection]:
        """The student alone. Raises StageError when the training fails."""
        if context.student is None:
            return
        digest, features = context.student.ref.digest, context.request.features
        job = replace(job_for(context, PruneConfig(), 1.0), student=digest, features=features)
        yield from train_pruned(context, job)


def refuse_unfit_student(
    request: BuildRequest,
    student: GivenModel | None,
    model: GivenModel,
    teachers: Mapping[TeacherSpec, GivenModel],
    source: DataSource,
) -> None:
    """A student takes what the original takes, gives what it gives, and has the features that it is to learn.

    Raises UserError in one line.
    """
    if student is None:
        if request.features:
            raise UserError("features are to be learnt, but by no student", remedy="give --student as well")
        return
    if request.features and (request.train.loss or request.train.step):
        raise UserError(
            "features are learnt by the standard loss, and another one is given", remedy="leave out either"
        )
    if request.pipeline and request.pipeline[0].teachers:
        request = replace(request, teachers=request.pipeline[0].teachers)
    network = student.load()
    said = read_outputs(request.train.outputs)
    refuse_other_outputs(network, model.load(), example_inputs(source), said=said)
    refuse_unfit_features(request, teachers, model, network, source)
