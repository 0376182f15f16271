"""The composition root: creates engine, OpenFlow sessions, OVSDB watcher and REST server, and connects them.

Every event goes through :meth:`Composition.submit`, which carries out the engine's effects before it returns
and never blocks. So no reader sees a state between two events, and no locks are needed: everything runs in
one native thread.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

from flowlane import __version__, hub, pauses, readiness, rest
from flowlane.cluster.membership import About
from flowlane.cluster.node import Node
from flowlane.core.dry_run import Outcome, dry_run, try_policy
from flowlane.core.effects import FlowReport, Report
from flowlane.core.engine import Engine
from flowlane.core.events import DeviceDescribed, PolicyReplaced, Poll, Tick
from flowlane.core.model import Reason
from flowlane.core.topology import findings
from flowlane.errors import FlowlaneError
from flowlane.event_log import log_databases, log_event, log_policy
from flowlane.flow_keeper import FlowKeeper
from flowlane.northbound.controller import Check, Clock
from flowlane.northbound.feed import Feed
from flowlane.northbound.http import server
from flowlane.northbound.queue_history import QueueHistory
from flowlane.order_keeper import OrderKeeper
from flowlane.policy import store
from flowlane.policy_compiler import compile_text
from flowlane.policy_keeper import PolicyKeeper
from flowlane.southbound.ipfix.collector import Collector
from flowlane.southbound.openflow.session.sessions import Sessions
from flowlane.southbound.ovsdb.databases import Databases
from flowlane.southbound.ovsdb.remote import TlsFiles
from flowlane.stepping import Stepper
from flowlane.telemetry import Telemetry
from flowlane.topology import expected as topology
from flowlane.topology.passive import passive_switches

if TYPE_CHECKING:
    from flowlane.cluster.membership import MemberView
    from flowlane.core.effects import Effect
    from flowlane.core.events import Event
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import State
    from flowlane.northbound.controller import Group
    from flowlane.options import Settings
    from flowlane.southbound.ovsdb.databases import DatabaseStatus

_LOG = logging.getLogger(__name__)
TICK, POLL = 1.0, 0.1
"""Seconds between two ticks of the engine, and between two polls for counters that are due."""

POLLED = 16
"""Devices that are polled together."""

_TOPOLOGY_TICKS = 10
"""Ticks between two checks of the topology."""

LONGEST = 0.001
"""Seconds for which ticks and polls of devices keep others waiting, but for what takes longer by itself."""

_TRY_WITHIN, _IN_FORCE_WITHIN, _NEXT_LOOK = 300.0, 60.0, 0.02
"""Seconds that a policy may be tried, until every device has it, and between two looks at what is waited for."""

_RELOADED = frozenset(("policy",))
"""Options of which a new value is used without a restart."""


class Composition:
    """The running controller, as REST uses it by :class:`flowlane.northbound.controller.Controller`.

    Raises:
        ConfigError: the policy's file cannot be read, or a target of ``--ovsdb`` is malformed.
        PolicyError: the policy is refused.
        TopologyError: the network file is refused.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.started = time.time()
        self.feed = Feed()
        self.history = QueueHistory()
        self.faults = 0
        """Exceptions that were caught in handlers: each is a bug of Flowlane's, with its traceback in the log."""
        self._settings = settings
        self._clock = clock
        self.expected = topology.load(settings.topology) if settings.topology else None
        """The network as it should be; None: no file was given."""
        first = store.at_start(settings.state_dir, settings.policy, self.started)
        passive = passive_switches(settings.topology) if settings.topology else ()
        self._engine = Engine(first.policy, passive)
        self._engine.state.policy_origin = first.origin
        self._keeper = PolicyKeeper(settings.state_dir, first.origin)
        self.telemetry = Telemetry()
        self._stepper = Stepper(self._engine, clock, self._carry_out, self.fault)
        self.sessions = Sessions(self.take, clock, settings.learn, settings.start_tables, self.telemetry)
        self._stepper.attach(self.sessions)
        self.sessions.held.follow(self._may_be_described)
        tls, forget_after = TlsFiles(*settings.tls), settings.forget_after
        self._databases = Databases(settings.ovsdb, tls, self.submit, self._is_connected, forget_after)
        self._node: Node | None = None
        if settings.cluster.database is not None:
            about = About(settings.cluster.member, settings.cluster.url, __version__)
            files = tls._replace(ca_certificate=settings.cluster.ca or tls.ca_certificate)
            self._node = Node(
                settings.cluster.database, settings.state_dir, files, about, self.sessions, self
            )
        self._orders: OrderKeeper | None = None
        if self._node is None and settings.state_dir is not None:
            self._orders = OrderKeeper(settings.state_dir, self)
        self._flow_keeper: FlowKeeper | None = None
        if settings.state_dir is not None:
            self._flow_keeper = FlowKeeper(settings.state_dir, self._engine.state, clock)
        self._collector: Collector | None = None
        self._engine.state.collects_samples = settings.ipfix is not None
        self._engine.state.sends_probes = settings.probes
        self._server: server.Server | None = None
        self._tickers: tuple[hub.Task, ...] = ()
        self._findings = findings.NOTHING
        self._trying = False

    def start(self) -> None:
        """Serve REST, follow the databases, and start the ticks of the engine.

        Raises:
            ConfigError: an address to listen at is in use, or not one of this machine.
        """
        self._server = rest.start(self, self._settings, self._node.tokens if self._node is not None else None)
        if self._settings.ipfix is not None:
            self._collector = Collector(*self._settings.ipfix, self.take, self._peer_of)
            self._collector.start()
            _LOG.info("samples by IPFIX on %s UDP port %d", *self._collector.address)
        log_policy(self.state.policy, self.state.policy_origin)
        log_databases(self._databases.statuses())
        self._databases.start()
        if self._node is not None:
            self._node.start()
        if self._orders is not None:
            self._orders.start()
        if self._flow_keeper is not None:
            self._flow_keeper.start()
        self._tickers = (hub.spawn(self._tick), hub.spawn(self._poll))

    def reload(self, settings: Settings, changed: Collection[str]) -> None:
        """Read the policy file again, and put its policy in force where it is another one.

        A policy that is refused changes nothing; the log has what is wrong with it. A policy that came over REST stays
        unless the file is newer, as at start.

        Args:
            changed: names of the options that have another value in the configuration file now.
        """
        for name in sorted(set(changed) - _RELOADED):
            _LOG.warning("the option %s has changed; restart flowlane-manager to use its value", name)
        rest.renew(self._server)
        if settings.policy is None:
            _LOG.info("no policy file is named; the policy in force stays")
            return
        try:
            new = store.at_reload(settings.policy, self.state.policy, self.state.policy_origin)
        except FlowlaneError as error:
            _LOG.error("the policy in force stays, as the new one is refused: %s", error)
            return
        if new is not None:
            self.submit(PolicyReplaced(new.policy, new.origin))
            self._keeper.note(new.origin)
            if self._node is not None:
                self._node.note_file()
            log_policy(new.policy, new.origin)

    def stop(self) -> None:
        """End everything that :meth:`start` began; the entries in the devices stay."""
        for ticker in self._tickers:
            ticker.kill()
        if self._node is not None:
            self._node.stop()
        if self._orders is not None:
            self._orders.stop()
        if self._flow_keeper is not None:
            self._flow_keeper.stop()
        self._databases.stop()
        if self._collector is not None:
            self._collector.stop()
        for session in self.sessions:
            session.stop()
        if self._server is not None:
            server.stop(self._server)

    def _tick(self) -> None:
        for number in count(1):
            hub.sleep(TICK)
            try:
                self._stepper.wait()
                self.sessions.tick()
                self._tick_devices()
                if number % _TOPOLOGY_TICKS == 0:
                    self._stepper.wait()
                    self.check_topology()
                    self.forget()
                    rest.renew(self._server)
            except Exception:
                self.fault("a tick")

    def forget(self) -> None:
        """Forget what was counted of devices that are gone."""
        self.telemetry.forget_others({*self.state.devices, *(session.dpid for session in self.sessions)})

    def check_topology(self) -> None:
        """Report loops and differences from the expected network that have begun or ended."""
        self._findings, reports = findings.follow(self.state, self.expected, self._findings)
        for report in reports:
            self._publish(report)

    def _tick_devices(self) -> None:
        """Let the engine do what is due, a device at a time: after :data:`LONGEST` others are served in between."""
        self.submit(Tick(alone=True))
        began = self._clock()
        sampling = self.history.is_due(began)
        if sampling:
            self.history.begin_sample(began)
        due = dict.fromkeys(self._engine.to_tick(began))
        for dpid in list(self.state.devices) if sampling else due:
            if dpid in due:
                self.submit(Tick(dpid))
            device = self.state.devices.get(dpid)
            if sampling and device is not None:
                self.history.sample(device)
            if self._clock() - began > LONGEST:
                pauses.give_way()
                began = self._clock()

    def _poll(self) -> None:
        while True:
            asked = time.monotonic()
            hub.sleep(POLL)
            self.telemetry.lag.observe(max(0.0, time.monotonic() - asked - POLL))
            try:
                self._poll_devices()
            except Exception:
                self.fault("a poll")

    def _poll_devices(self) -> None:
        """Let the engine request the counters that are due, of some devices at a time, as for ticks."""
        began = self._clock()
        dpids = self._engine.to_poll(began)
        for first in range(0, len(dpids), POLLED):
            self.take(Poll(tuple(dpids[first : first + POLLED])))
            if self._clock() - began > LONGEST:
                hub.give_way()
                began = self._clock()

    @property
    def datagrams(self) -> Mapping[str, int]:
        """Numbers of datagrams of samples, by what became of them; empty where none are received."""
        return {} if self._collector is None else self._collector.counts()

    def _peer_of(self, dpid: int) -> str | None:
        device = self.state.devices.get(dpid)
        return device.peer if device is not None and device.connected else None

    def fault(self, what: str) -> None:
        """Count and log the exception that is being handled.

        Args:
            what: what raised it, for the log.
        """
        self.faults += 1
        _LOG.exception("%s was not handled", what)

    # ---- for REST

    @property
    def state(self) -> State:
        """The engine's state, for reading only."""
        return self._engine.state

    def clock(self) -> Clock:
        """Read the engine's clock and the wall clock together."""
        return Clock(self._clock(), time.time())

    def checks(self) -> Sequence[Check]:
        """Return the checks on which readiness depends."""
        checks = tuple(readiness.checks(self.state, self._databases.statuses() if self._databases else None))
        return checks if self._node is None else (*checks, Check("database", self._node.problem))

    def groups(self, dpid: int) -> Sequence[Group]:
        """Return the groups by which a device spreads new flows over queues; none while it is not connected."""
        return self.sessions.groups(dpid)

    def _is_connected(self, dpid: int) -> bool:
        device = self.state.devices.get(dpid)
        return device is not None and device.connected

    def _may_be_described(self, dpid: int, was_described: bool) -> bool:
        """Whether a database that has not been read yet may describe a device that none describes."""
        return dpid not in self.state.described and self._databases.may_describe(was_described)

    def databases(self) -> Sequence[DatabaseStatus]:
        """Return the state of every database."""
        return self._databases.statuses()

    def announce(self, name: str, target: str, tls: tuple[str, str, str] | None) -> bool:
        """Follow a database from now on; return whether that is new.

        Raises:
            ConfigError: the target is malformed, or a file of TLS cannot be used.
            RequestError: the name is that of a database which was not announced.
        """
        return self._databases.announce(name, target, None if tls is None else TlsFiles(*tls))

    def withdraw(self, name: str) -> None:
        """Follow a database that was announced no more.

        Raises:
            NotFoundError: there is none of that name.
            RequestError: it was not announced.
        """
        self._databases.withdraw(name)

    def members(self) -> Sequence[MemberView]:
        """Return the controllers that share the database."""
        return () if self._node is None else self._node.members()

    def leader_of(self, dpid: int) -> MemberView | None:
        """Return the other controller that leads a device; None: this one does, or none."""
        return None if self._node is None else self._node.leader_of(dpid)

    def submit(self, event: Event) -> None:
        """Pass an event to the engine, and carry out its effects before returning; wait for work under way before."""
        self._stepper.order(event)
        self._after(event)
        self._note(event)

    def take(self, event: Event) -> None:
        """Pass an event to the engine, at once or when the work under way is done (:mod:`flowlane.stepping`)."""
        self._stepper.take(event)
        self._note(event)

    def _after(self, event: Event) -> None:
        if isinstance(event, DeviceDescribed):
            self.sessions.release()

    def _note(self, event: Event) -> None:
        if self._node is not None:
            self._node.orders.note(event)
        if self._orders is not None:
            self._orders.note(event)

    def carry_out(self, event: Event) -> None:
        """Pass an event to the engine without keeping what it orders, as :meth:`take` does."""
        self._stepper.take(event)
        self._after(event)

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, FlowReport):
            self.feed.publish(effect, time.time())
            log_event(self.state, effect)
            self.history.note_move(effect)
            if effect.change == "moved":
                self.telemetry.note_move(effect.dpid, Reason(effect.reason).name)
        elif isinstance(effect, Report):
            self._publish(effect)
        else:
            self.sessions.execute(effect)

    def _publish(self, report: Report) -> None:
        self.feed.publish(report, time.time())
        if report.kind == "move":
            self.telemetry.note_move(int(str(report.data["device"]), 16), str(report.data["reason"]))
        log_event(self.state, report)

    def wait_for_policy(self) -> None:
        """Wait until every device has its part of the policy in force; for a minute at most."""
        deadline = time.monotonic() + _IN_FORCE_WITHIN
        while self.state.policy_awaited and time.monotonic() < deadline:
            hub.sleep(_NEXT_LOOK)

    def keep_policy(self) -> bool:
        """Write the policy in force to the state directory; return whether it is in force again after a restart."""
        if self._node is None:
            return self._keeper.keep(self.state)
        is_kept = self._node.orders.keep_policy()
        if self._settings.state_dir is not None:
            self._keeper.keep(self.state)
        return is_kept

    def is_policy_kept(self) -> bool:
        """Whether the policy in force is in force again after a restart."""
        origin = self.state.policy_origin
        return self._keeper.is_kept(origin) or (
            self._node is not None and self._node.orders.has_policy(origin)
        )

    def wait_for_changes(self, dpid: int) -> None:
        """Wait until what was put off on a device is done; for a minute at most."""
        deadline = time.monotonic() + _IN_FORCE_WITHIN
        while dpid in self.state.due and time.monotonic() < deadline:
            hub.sleep(_NEXT_LOOK)

    def try_policy(self, policy: Policy) -> Outcome:
        """Count the flows that a policy would change, in a copy of the process; one policy at a time."""
        while self._trying:
            hub.sleep(_NEXT_LOOK)
        self._trying = True
        try:
            self._stepper.wait()
            data = hub.in_child(lambda: json.dumps(try_policy(self.state, policy)).encode(), _TRY_WITHIN)
        except TimeoutError:
            raise
        except OSError as error:
            _LOG.warning("a policy is tried in this process, which serves nobody else meanwhile: %s", error)
            return dry_run(self.state, policy)
        finally:
            self._trying = False
        return Outcome(*json.loads(data))

    def compile_policy(self, text: str) -> Policy:
        """Compile a policy document, without using it.

        Raises:
            PolicyError: the document is refused.
        """
        return compile_text(text)
