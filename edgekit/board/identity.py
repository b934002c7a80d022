"""Whether a machine is the board that a build or a bundle is for."""

from typing import Any, List, Mapping, Sequence, Tuple


def misfits(board: str, identity: Mapping[str, Any], machine: Mapping[str, Any]) -> List[str]:
    """Why this machine is not that board, a sentence each; empty when it is. Another architecture is told alone.

    `identity` has the keys of a target's `[identity]` and `architecture`; `machine` is what `describe` gives.
    """
    return [told for _, told in contradictions(board, identity, machine)]


def contradictions(
    board: str, identity: Mapping[str, Any], machine: Mapping[str, Any]
) -> List[Tuple[str, str]]:
    """The same with each one's key in the target's file."""
    arch = machine.get("arch") or "unknown"
    if arch != identity["architecture"]:
        told = "%s is %s, this machine is %s" % (board, identity["architecture"], arch)
        return [("architecture", told)]
    name, cpu = machine.get("machine", ""), machine.get("cpu", "")
    features = frozenset(machine.get("features", ()))
    differing = []
    if identity["models"] and not _named(identity["models"], name):
        told = '%s calls itself "%s", this machine "%s"' % (board, identity["models"][0], name)
        differing.append(("identity.models", told))
    if identity["cpus"] and not _named(identity["cpus"], cpu):
        told = 'the CPU is not one of %s but "%s"' % (", ".join(identity["cpus"]), cpu)
        differing.append(("identity.cpus", told))
    differing += [
        ("identity.all_of", "this CPU has no %s" % feature)
        for feature in identity["all_of"]
        if feature not in features
    ]
    if identity["any_of"] and features.isdisjoint(identity["any_of"]):
        differing.append(("identity.any_of", "this CPU has no %s" % " or ".join(identity["any_of"])))
    differing += [
        ("identity.none_of", "this CPU has %s, which %s is without" % (feature, board))
        for feature in identity["none_of"]
        if feature in features
    ]
    if identity["accelerator"] and identity["accelerator"] not in machine.get("accelerators", ()):
        told = "no accelerator %s was seen on this machine" % identity["accelerator"]
        differing.append(("identity.accelerator", told))
    return differing


def _named(parts: Sequence[str], name: str) -> bool:
    return any(part.lower() in name.lower() for part in parts)
