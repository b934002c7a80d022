"""Whether a machine is the board that a build or a bundle is for."""

from typing import Any, List, Mapping, Sequence


def misfits(board: str, identity: Mapping[str, Any], machine: Mapping[str, Any]) -> List[str]:
    """Why this machine is not that board, a sentence each; empty when it is. Another architecture is told alone.

    `identity` has the keys of a target's `[identity]` and `architecture`; `machine` is what `describe` gives.
    """
    arch = machine.get("arch") or "unknown"
    if arch != identity["architecture"]:
        return ["%s is %s, this machine is %s" % (board, identity["architecture"], arch)]
    name, cpu = machine.get("machine", ""), machine.get("cpu", "")
    features = frozenset(machine.get("features", ()))
    reasons = []
    if identity["models"] and not _named(identity["models"], name):
        reasons.append('%s calls itself "%s", this machine "%s"' % (board, identity["models"][0], name))
    if identity["cpus"] and not _named(identity["cpus"], cpu):
        reasons.append('the CPU is not one of %s but "%s"' % (", ".join(identity["cpus"]), cpu))
    reasons += ["this CPU has no %s" % feature for feature in identity["all_of"] if feature not in features]
    if identity["any_of"] and features.isdisjoint(identity["any_of"]):
        reasons.append("this CPU has no %s" % " or ".join(identity["any_of"]))
    reasons += [
        "this CPU has %s, which %s is without" % (feature, board)
        for feature in identity["none_of"]
        if feature in features
    ]
    if identity["accelerator"] and identity["accelerator"] not in machine.get("accelerators", ()):
        reasons.append("no accelerator %s was seen on this machine" % identity["accelerator"])
    return reasons


def _named(parts: Sequence[str], name: str) -> bool:
    return any(part.lower() in name.lower() for part in parts)
