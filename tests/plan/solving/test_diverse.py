"""Several plans around a limit."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from edgekit.plan.solving import PlanLimits, PlanProblem, Proposal, predicted, proposals, solve
from tests.plan.solving.problems import problems
from tests.plan.solving.residual import residual_network


def at_half() -> tuple[PlanProblem, tuple[Proposal, ...]]:
    network = residual_network(stages=2, blocks=3, widths=6)
    full = predicted(
        network,
        {group.name: group.widths[-1] for group in network.groups},
        (),
        dict.fromkeys(network.unit, "fp32"),
    )
    problem = replace(network, limits=PlanLimits(latency_ms=0.5 * full.latency_ms))
    return problem, proposals(problem)


def test_three_to_five_plans_differ_and_keep_what_was_asked_of_each() -> None:
    problem, made = at_half()
    assert 3 <= len(made) <= 5
    assert len({proposal.solution.plan.choices for proposal in made}) == len(made)
    assert (made[0].share, made[0].depth, made[0].mixed) == (1.0, True, True)
    for proposal in made:
        plan = proposal.solution.plan
        assert proposal.solution.outcome == "FOUND"
        assert problem.limits.latency_ms is not None
        assert plan.latency_ms <= proposal.share * problem.limits.latency_ms * (1 + 1e-9)
        assert proposal.depth or not plan.dropped
        assert proposal.mixed or len(set(plan.precisions.values())) == 1
        assert predicted(problem, plan.widths, plan.dropped, plan.precisions, plan.merged) == plan
    assert any(not proposal.depth for proposal in made)
    assert any(not proposal.mixed for proposal in made)


@settings(max_examples=20, deadline=None)
@given(problems())
def test_the_first_proposal_is_the_solution_and_no_other_beats_it_at_its_limit(problem: PlanProblem) -> None:
    made = proposals(problem)
    assert made[0].solution == solve(problem)
    for proposal in made[1:]:
        assert proposal.solution.outcome == "FOUND"
        if made[0].solution.outcome == "FOUND" and proposal.share <= 1.0:
            assert proposal.solution.plan.harm >= made[0].solution.plan.harm - 1e-5
