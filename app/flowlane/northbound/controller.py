"""Interface of the controller that REST uses.

The composition root implements :class:`Controller`. The state is read without a lock: engine
and HTTP run in one thread, and no reader gives way in the middle of an item: long lists are made an item at a time
(:mod:`flowlane.northbound.http.slices`).
"""
# ruff: noqa: D102  (attributes are described in the docstring of their class)

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowlane.core.dry_run import Outcome
    from flowlane.core.events import Event
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import State
    from flowlane.core.topology.expected import Expected
    from flowlane.northbound.feed import Feed
    from flowlane.northbound.queue_history import QueueHistory
    from flowlane.telemetry import Telemetry


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


class Watcher(Protocol):
    """The state of a database's watcher; see :class:`flowlane.northbound.types.DatabaseView` for the meanings."""

    @property
    def state(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def problem(self) -> str: ...
    @property
    def system_id(self) -> str: ...
    @property
    def hostname(self) -> str: ...
    @property
    def ovs_version(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def bridges(self) -> int: ...
    @property
    def age(self) -> float | None: ...
    @property
    def sessions(self) -> int: ...
    @property
    def defects(self) -> Sequence[tuple[str, str, str]]: ...


class Database(Protocol):
    """A database that is followed; ``conflicts``: (dpid, name of the database that described it first)."""

    @property
    def name(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def watcher(self) -> Watcher: ...
    @property
    def dpids(self) -> Sequence[int]: ...
    @property
    def conflicts(self) -> Sequence[tuple[int, str]]: ...


class Bucket(Protocol):
    """One way out of a group: a queue (NO_QUEUE: none), and its weight relative to the others'."""

    @property
    def queue_id(self) -> int: ...
    @property
    def weight(self) -> int: ...


class Group(Protocol):
    """A group of type select on a device; ``select_by``: its selection method, '' for the device's own."""

    @property
    def group_id(self) -> int: ...
    @property
    def select_by(self) -> str: ...
    @property
    def buckets(self) -> Sequence[Bucket]: ...


class Member(Protocol):
    """A controller of those that share a database; see :class:`flowlane.northbound.types.members.MemberView`.

    ``started``: Unix time in seconds. ``leads``: dpids.
    """

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def started(self) -> float: ...
    @property
    def is_own(self) -> bool: ...
    @property
    def age(self) -> float: ...
    @property
    def connected(self) -> int: ...
    @property
    def leads(self) -> Sequence[int]: ...


class Controller(Protocol):
    """The running controller.

    ``state``: the engine's state, which REST only reads. ``feed``: the controller publishes every
    :class:`~flowlane.core.effects.Report` there. ``history``: what the queues have
    carried. ``started``: Unix time of the start, in seconds. ``faults``:
    number of unexpected exceptions; each is a bug, with its traceback in the log. ``datagrams``: number of datagrams of
    samples, by what became of them (``read``, ``malformed``, ``foreign``); empty while none are received. ``expected``:
    the network as it should be, if one was given. ``telemetry``: what is counted for the metrics.
    """

    @property
    def state(self) -> State: ...
    @property
    def feed(self) -> Feed: ...
    @property
    def history(self) -> QueueHistory: ...
    @property
    def started(self) -> float: ...
    @property
    def faults(self) -> int: ...
    @property
    def telemetry(self) -> Telemetry: ...
    @property
    def datagrams(self) -> Mapping[str, int]: ...
    @property
    def expected(self) -> Expected | None: ...

    def clock(self) -> Clock:
        """Read the engine's clock and the wall clock together."""

    def checks(self) -> Sequence[Check]:
        """Check what readiness depends on: the connection to the database, where it is watched."""

    def groups(self, dpid: int) -> Sequence[Group]:
        """List the groups of Flowlane's on a device; none while it is not connected."""

    def databases(self) -> Sequence[Database]:
        """List the databases, by name."""

    def announce(self, name: str, target: str, tls: tuple[str, str, str] | None) -> bool:
        """Follow a database from now on; return whether that is new.

        Args:
            tls: files of private key, certificate and CA certificate; None: those of the options.

        Raises:
            ConfigError: the target is malformed, or a file of TLS cannot be used.
            RequestError: the name is that of a database which was not announced.
        """

    def withdraw(self, name: str) -> None:
        """Follow a database that was announced no more.

        Raises:
            NotFoundError: there is none of that name.
            RequestError: it was not announced.
        """

    def members(self) -> Sequence[Member]:
        """List the controllers that share the database, by name; none where there is no such database."""

    def leader_of(self, dpid: int) -> Member | None:
        """Return the other controller that leads a device; None: this one does, or none."""

    def submit(self, event: Event) -> None:
        """Give the engine an event and carry out its effects before returning."""

    def compile_policy(self, text: str) -> Policy:
        """Read a policy document; change nothing.

        Raises:
            PolicyError: the document is refused; ``problems`` names every place.
        """

    def wait_for_policy(self) -> None:
        """Wait until every device has its part of the policy in force, for a while at most; others are served."""

    def keep_policy(self) -> bool:
        """Write the policy in force to the state directory; return whether it is in force again after a restart."""

    def is_policy_kept(self) -> bool:
        """Whether the policy in force is in force again after a restart."""

    def wait_for_changes(self, dpid: int) -> None:
        """Wait until what was put off on a device is done, for a while at most; others are served."""

    def try_policy(self, policy: Policy) -> Outcome:
        """Count the flows that a policy would change; change nothing. Others are served meanwhile."""
