"""What the northbound side needs of the controller, and nothing else of it.

The composition root implements :class:`Controller`. The state is read without a lock: one thread runs
engine and HTTP alike, and no reader gives way in the middle of a read.
"""
# ruff: noqa: D102  (an attribute's meaning stands in its class's docstring)

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.events import Event
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import State
    from flowlane.northbound.feed import Feed


class Clock(NamedTuple):
    """The same moment on the engine's clock (``now``, monotonic) and as Unix time (``wall``); seconds."""

    now: float
    wall: float

    def unix(self, moment: float) -> float:
        """Unix time of a moment of the engine's clock."""
        return self.wall - (self.now - moment)


class Check(NamedTuple):
    """One thing that must be well before the controller is ready; ``problem`` is empty when it is."""

    name: str
    problem: str = ""


class Controller(Protocol):
    """The running controller, as REST sees it.

    ``state`` is the engine's own; REST only reads it. ``feed`` is where the controller publishes every
    :class:`~flowlane.core.effects.Report`. ``started`` is the Unix time at which it started, in seconds;
    ``faults`` counts exceptions that nobody foresaw: mistakes of ours, with their tracebacks in the log.
    """

    @property
    def state(self) -> State: ...
    @property
    def feed(self) -> Feed: ...
    @property
    def started(self) -> float: ...
    @property
    def faults(self) -> int: ...

    def clock(self) -> Clock:
        """The engine's clock and the wall clock, read together."""

    def checks(self) -> Sequence[Check]:
        """Check what readiness depends on: the connection to the database, where it is watched."""

    def submit(self, event: Event) -> None:
        """Give the engine an event and carry out its effects before returning."""

    def compile_policy(self, text: str) -> Policy:
        """Read a policy document; change nothing.

        Raises:
            PolicyError: the document is refused; ``problems`` names every place.
        """
