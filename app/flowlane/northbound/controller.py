"""Interface of the controller that REST uses.

The composition root implements :class:`Controller`. The state is read without a lock: engine
and HTTP run in one thread, and no reader yields in the middle of a read.
"""
# ruff: noqa: D102  (attributes are described in the docstring of their class)

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowlane.core.events import Event
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import State
    from flowlane.northbound.feed import Feed


class Clock(NamedTuple):
    """The same moment on the engine's clock (``now``, monotonic) and as Unix time (``wall``); seconds."""

    now: float
    wall: float

    def unix(self, moment: float) -> float:
        """Convert a moment of the engine's clock to Unix time."""
        return self.wall - (self.now - moment)


class Check(NamedTuple):
    """A condition of readiness; ``problem`` is empty when it is met."""

    name: str
    problem: str = ""


class Controller(Protocol):
    """The running controller.

    ``state``: the engine's state, which REST only reads. ``feed``: the controller publishes every
    :class:`~flowlane.core.effects.Report` there. ``started``: Unix time of the start, in seconds. ``faults``:
    number of unexpected exceptions; each is a bug, with its traceback in the log. ``datagrams``: number of datagrams of
    samples, by what became of them (``read``, ``malformed``, ``foreign``); empty while none are received.
    """

    @property
    def state(self) -> State: ...
    @property
    def feed(self) -> Feed: ...
    @property
    def started(self) -> float: ...
    @property
    def faults(self) -> int: ...
    @property
    def datagrams(self) -> Mapping[str, int]: ...

    def clock(self) -> Clock:
        """Read the engine's clock and the wall clock together."""

    def checks(self) -> Sequence[Check]:
        """Check what readiness depends on: the connection to the database, where it is watched."""

    def submit(self, event: Event) -> None:
        """Give the engine an event and carry out its effects before returning."""

    def compile_policy(self, text: str) -> Policy:
        """Read a policy document; change nothing.

        Raises:
            PolicyError: the document is refused; ``problems`` names every place.
        """
