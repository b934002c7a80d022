"""Versions of packages against what a description asks for."""

import re


def fits_range(version: str, specifier: str) -> bool:
    """Whether "8.2.1" lies in ">=8.2,<8.3". Knows the comparisons that target descriptions use."""
    have = [int(part) for part in re.findall(r"\d+", version)]
    for operator, text in re.findall(r"(==|!=|>=|<=|~=|<|>)\s*([\d.]+)", specifier):
        want = [int(part) for part in text.strip(".").split(".")]
        size = max(len(have), len(want))
        left, right = have + [0] * (size - len(have)), want + [0] * (size - len(want))
        holds = {
            "==": left == right, "!=": left != right, ">=": left >= right, "<=": left <= right, "<": left < right,
            ">": left > right, "~=": left >= right and have[: len(want) - 1] == want[:-1],
        }  # fmt: skip
        if not holds[operator]:
            return False
    return True
