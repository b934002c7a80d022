"""Keeping at a board whose link may die at any moment: connect again, with growing pauses, up to a stated time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TypeVar

from edgekit.devices.address import Address
from edgekit.devices.ssh.link import Link, Place
from edgekit.devices.ssh.trouble import LinkLost, RemoteProblem, Unreachable
from edgekit.errors import DeviceError

__all__ = ["Reach"]

T = TypeVar("T")

FIRST_PATIENCE_S = 5.0  # with a board that lets us in and ends each connection, before one has held
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
RESTARTS = 3
"""Of the program there in one action: a folder that is removed again and again is not written to."""


class Reach:
    """The way to a board: one link at a time, made when it is needed, made anew when it is lost.

    `patience_s`: for how long a board that was reached once may be out of reach. `told`: hears a sentence when
    something takes its time, and "" when a lost link is back. `losses` counts.
    """

    def __init__(
        self, address: Address, place: Place, patience_s: float, told: Callable[[str], None]
    ) -> None:
        self.address = address
        self.place = place
        self.patience_s = patience_s
        self.told = told
        self.losses = 0
        self._link: Link | None = None
        self._was_reached = False

    def link(self) -> Link:
        """The link, connected where it is not. Raises DeviceError, LinkLost."""
        if self._link is None:
            self._link = Link(self.address, self.place)
            self._was_reached = True
        return self._link

    def drop(self) -> None:
        """End the link; the next call makes another."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def keep_at(
        self,
        action: Callable[[Link], T],
        patience_s: float | None = None,
        anew: Collection[str] = ("program", "gone"),
    ) -> T:
        """Do it over a link, again after each loss of one: the action must bear being done twice.

        `anew`: kinds of a RemoteProblem after which it is done again over a new link, which brings our code anew: the
        work folder may have been removed under the program there. Raises DeviceError when the board is out of reach for
        longer than the patience, or never was reached, and what the action raises.
        """
        give_up, pause, restarts = float("inf"), FIRST_PAUSE_S, 0
        patience = self.patience_s if patience_s is None else patience_s
        while True:
            try:
                done = action(self.link())
            except (LinkLost, DeviceError) as problem:
                self.drop()
                if not self._may_pass(problem):
                    raise
                if give_up == float("inf"):
                    patience = patience if self._was_reached else min(patience, FIRST_PATIENCE_S)
                    give_up = time.monotonic() + patience
                    self.losses += 1
                if time.monotonic() + pause > give_up:
                    raise self._lost(problem, patience) from problem
                self.told(f"the link to {self.address.name} is lost ({problem}); trying again")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            except RemoteProblem as problem:
                restarts += 1
                if problem.kind not in anew or restarts > RESTARTS:
                    raise
                self.drop()
            except BaseException as problem:
                if not isinstance(problem, Exception):
                    self.drop()  # interrupted in the middle of an answer, it can answer no more
                raise
            else:
                if give_up != float("inf"):
                    self.told("")
                return done

    def _may_pass(self, problem: Exception) -> bool:
        if isinstance(problem, LinkLost):
            return True
        return self._was_reached and isinstance(problem, Unreachable)

    def _lost(self, problem: Exception, patience_s: float) -> DeviceError:
        name = self.address.name
        if not self._was_reached:
            return DeviceError(
                f"{name} lets us in and ends the connection ({problem})",
                remedy=f"see that `ssh {self.address.host} true` works",
            )
        return DeviceError(
            f"{name} was out of reach for {patience_s:.0f} s ({problem})",
            remedy="what it was measuring goes on there: the same command picks it up when it can be reached",
        )
