"""What the northbound side needs of the controller, and nothing else of it.

The composition root implements :class:`Controller`; the engine's own tables fit :class:`Engine`,
:class:`Device` and :class:`Port` as they are. Everything here is read without a lock: one thread runs
engine and HTTP alike, and no reader gives way in the middle of a read.
"""
# ruff: noqa: D102  (an attribute's meaning stands in its class's docstring)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from flowlane.core.events import Event
    from flowlane.core.flows import FlowTable
    from flowlane.core.model import Capabilities, Hint, MeterSpec, PortRole, Queue, Role, Vm
    from flowlane.core.policy import Policy
    from flowlane.northbound.feed import Feed


class Clock(NamedTuple):
    """The same moment on the engine's clock (``now``, monotonic) and as Unix time (``wall``); seconds."""

    now: float
    wall: float

    def unix(self, moment: float) -> float:
        """Unix time of a moment of the engine's clock."""
        return self.wall - (self.now - moment)


class Port(Protocol):
    """A port of a device; ``queues`` by queue id."""

    @property
    def port_no(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> PortRole: ...
    @property
    def queues(self) -> Mapping[int, Queue]: ...


class Device(Protocol):
    """A device; ``ports`` by port number, ``meters`` by meter id."""

    @property
    def dpid(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> Role: ...
    @property
    def connected(self) -> bool: ...
    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def ports(self) -> Mapping[int, Port]: ...
    @property
    def flows(self) -> FlowTable: ...
    @property
    def meters(self) -> Mapping[int, MeterSpec]: ...


class Engine(Protocol):
    """The engine's tables: devices by dpid, VMs by number, hints by id."""

    @property
    def devices(self) -> Mapping[int, Device]: ...
    @property
    def vms(self) -> Mapping[int, Vm]: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def hints(self) -> Mapping[str, Hint]: ...


class Check(NamedTuple):
    """One thing that must be well before the controller is ready; ``problem`` is empty when it is."""

    name: str
    problem: str = ""


class Controller(Protocol):
    """The running controller, as REST sees it."""

    @property
    def engine(self) -> Engine: ...

    @property
    def feed(self) -> Feed:
        """Where the controller publishes every :class:`~flowlane.core.effects.Report`."""

    @property
    def started(self) -> float:
        """Unix time at which the controller started, seconds."""

    def clock(self) -> Clock:
        """The engine's clock and the wall clock, read together."""

    def checks(self) -> Sequence[Check]:
        """What readiness depends on: the OpenFlow listener, the OVSDB connection, the policy."""

    def submit(self, event: Event) -> None:
        """Give the engine an event and carry out its effects before returning."""

    def compile_policy(self, text: str) -> Policy:
        """Read a policy document; change nothing.

        Raises:
            PolicyError: the document is refused; ``problems`` names every place.
        """
