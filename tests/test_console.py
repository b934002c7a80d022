"""The terminal, and who sits at it."""

from __future__ import annotations

import pytest

from edgekit import console


def test_nobody_is_asked_where_no_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.confirm", lambda *_all, **_named: pytest.fail("asked"))
    assert not console.asked_on_terminal("Stop it there?")


@pytest.mark.parametrize("answer", [True, False])
def test_what_the_user_says_counts(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(console.sys, "stdin", Terminal())
    monkeypatch.setattr(console.sys, "stderr", Terminal())
    monkeypatch.setattr("click.confirm", lambda *_all, **_named: answer)
    assert console.asked_on_terminal("Stop it there?") is answer
