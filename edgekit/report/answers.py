"""What a reader wants first: which file to ship and how, what the float network did, what it would take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from edgekit.report.checks import checks, checks_of
from edgekit.report.verdict import best_candidate, fastest_first, ranked_origin, reference
from edgekit.report.wording import (
    accuracy_sentence,
    bytes_text,
    change_name,
    latency_sentence,
    rejection_text,
    shorten,
)
from edgekit.result import CandidateResult, Result
from edgekit.runtimes import RUNTIMES

__all__ = ["Answer", "answers"]

CAUSE = 200  # characters of a reason that stands in full elsewhere


@dataclass(frozen=True)
class Answer:
    """One question of the reader; `commands` are for copying.

    `question`: `ship`, `how`, `float`, `claim`, `board`, `why` or `it takes`.
    """

    question: str
    text: str
    commands: tuple[str, ...] = ()


def answers(result: Result, bundle: str) -> tuple[Answer, ...]:
    """In the order in which they are asked. `bundle`: the path of the build's bundle, as the reader would type it."""
    if result.settled_in and result.verdict != "PROVISIONAL":
        bundle = f"{bundle}/{result.settled_in}"
    return (
        _ship(result, bundle),
        *_how(result, bundle),
        _float(result),
        *_claim(result),
        *_board(result),
        *_takes(result),
    )


def _ship(result: Result, bundle: str) -> Answer:
    best = best_candidate(result)
    if best is None:
        return Answer("ship", "Nothing: no candidate could be judged by this budget.")
    if result.verdict == "PROVISIONAL":
        by = "by the estimates" if best.origin == "estimated" else "of what was measured under emulation"
        return Answer("ship", f"Not settled. {bundle} holds the candidates; {best.id} comes first {by}.")
    place = f"{bundle}/model/{PurePath(best.artifact).name}"
    title = RUNTIMES[best.backend].title if best.backend in RUNTIMES else best.backend
    what = f"{best.id}: {title}, {best.precision}, {bytes_text(best.size_bytes)}"
    if result.winner:
        return Answer("ship", f"{place} ({what}).")
    return Answer("ship", f"Nothing meets the budget. The nearest is {place} ({what}).")


def _how(result: Result, bundle: str) -> tuple[Answer, ...]:
    if result.verdict == "PROVISIONAL":
        return (
            Answer(
                "how",
                f"Copy {bundle} to the board, and there:",
                (f"python3 {PurePath(bundle).name}/settle.py",),
            ),
        )
    if best_candidate(result) is None:
        return ()
    run = f"python3 {bundle}/infer.py"
    if result.winner:
        return (
            Answer(
                "how",
                "Check it, then answer a stored sample:",
                (f"edgekit bundle verify {bundle}", f"{run} SAMPLE.npy"),
            ),
        )
    return (Answer("how", "To try the nearest as it is:", (run,)),)


def _float(result: Result) -> Answer:
    base = reference(result)
    if base is None:
        return Answer("float", "The original float network was not measured.")
    facts = [latency_sentence(base.latency_ms, base.origin)] if base.latency_ms else []
    facts += [accuracy_sentence(base.accuracy)] if base.accuracy else []
    told = f"{base.id}: {'; '.join([*facts, bytes_text(base.size_bytes)])}. {_float_verdict(result, base)}"
    return Answer("float", told)


def _float_verdict(result: Result, base: CandidateResult) -> str:
    """How the float build stands against the budget."""
    if base.id == result.winner:
        return "It is the one to ship."
    against = checks_of(base, result.budget)
    missed = [f"{check.name} {check.said}" for check in against if check.state == "missed"]
    if missed:
        return f"It misses the budget: {'; '.join(missed)}."
    unclear = [check.said for check in against if check.state == "open"]
    if unclear:
        return f"Not told without the board: {unclear[0]}."
    limited = [check for check in against if check.state]
    return "It is within every limit." if limited else ""


def _claim(result: Result) -> tuple[Answer, ...]:
    claim = result.claim
    if claim is None:
        return ()
    text = f"{accuracy_sentence(claim)}, on {claim.samples:,} samples of the {claim.split} split."
    for check in checks(result):
        if check.name == f"{change_name(claim)} ({claim.split})" and check.said:
            text += f" {_capital(check.asked)}; {check.said}."
    return (Answer("claim", text),)


def _board(result: Result) -> tuple[Answer, ...]:
    """Whether a board over SSH answers as this machine does."""
    seen = result.agreement
    if seen is None:
        return ()
    what = "another class" if seen.by_class else "a value that differs by over 5 % of its output's range"
    most = f"the largest difference is {100 * seen.worst:.2g} % of the range of {seen.output}"
    told = (
        f"The board gives {what} in {seen.differing:,} of {seen.samples:,} validation samples"
        if seen.differing
        else f"The board and this machine agree on all {seen.samples:,} validation samples"
    )
    return (Answer("board", f"{told}; {most}, at sample {seen.worst_sample}."),)


def _takes(result: Result) -> tuple[Answer, ...]:
    """What a budget that was not met would take."""
    if result.verdict == "MEETS":
        return ()
    if result.verdict == "PROVISIONAL":
        said = [check.said for check in checks(result) if check.name == "latency, estimated" and check.said]
        return (
            Answer(
                "it takes",
                f"A run on the board. By the estimates, latency: {said[0]}."
                if said
                else "A run on the board.",
            ),
        )
    missed = [check for check in checks(result) if check.state == "missed"]
    if missed:
        told = "; ".join(f"{check.name} {check.got}, {check.said}" for check in missed)
        options = " ".join(check.remedy for check in missed if check.remedy)
        lead = f"The nearest would pass with {options}" if options else "Something that was not measured"
        return (Answer("it takes", f"{lead} ({told})."),)
    return (Answer("why", result.explanation), Answer("it takes", _infeasible(result)))


def _infeasible(result: Result) -> str:
    fastest = next(iter(fastest_first(result, ranked_origin(result))), None)
    if fastest is not None and fastest.latency_ms:
        options = " ".join(check.remedy for check in checks_of(fastest, result.budget) if check.remedy)
        told = f"The fastest that was measured is {fastest.id}, {latency_sentence(fastest.latency_ms, fastest.origin)}"
        return f"{told}: {options}." if options else f"{told}."
    if result.failures:
        first = result.failures[0]
        remedy = first.remedy or "the report lists each cause"
        return f"{first.candidate} failed at {first.stage}: {shorten(first.cause, CAUSE)}; {remedy}."
    if result.rejected:
        refused = result.rejected[0]
        return f"{refused.what}: {rejection_text(refused.reason, refused.instead)}."
    return "Another target, runtime or network."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
