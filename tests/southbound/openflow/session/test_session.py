"""Sessions with a datapath that is no connection: what is sent, and what follows from what comes back."""

from __future__ import annotations

import gc
import struct
import weakref
from collections.abc import Iterator
from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from os_ken.ofproto import ofproto_protocol
from support.engine.plans import PORTS, UPLINK, plan
from support.openflow import messages
from support.openflow.messages import OF13, VERSIONS

from flowlane import hub
from flowlane.core import events as ev
from flowlane.core.effects import (
    DeleteLearned,
    DeleteMeter,
    PinFlow,
    Program,
    ReadCounters,
    ReadQueues,
    Report,
    SetMeter,
    UnpinFlow,
)
from flowlane.core.flow.readings import PINS
from flowlane.core.flowkey import IPV4, TCP, FlowParts
from flowlane.core.flowkey import pack as pack_key
from flowlane.core.model import NO_QUEUE, MeterSpec, PinRef, Refusal
from flowlane.southbound.openflow.osken import coalescing, lazy
from flowlane.southbound.openflow.session import changes, handshake, liveness, readback, requests
from flowlane.southbound.openflow.session.changes import SLICE
from flowlane.southbound.openflow.session.owners import SILENT_AFTER
from flowlane.southbound.openflow.session.sessions import MOST_HANDSHAKES, TURN, Sessions
from flowlane.southbound.openflow.tables.entries import FlowEntry, Standing
from flowlane.southbound.openflow.wire import cookies

DPID = 0x42
COMMAND, DELETE = 25, 3
"""Where the command of a flow-mod stands, and OFPFC_DELETE (OpenFlow 1.3.5 section 7.3.4.1)."""
KEY = pack_key(FlowParts(77, None, IPV4, TCP, 1000, 80, bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))))
PIN = PinFlow(DPID, PinRef(3, 1), KEY, 1, UPLINK, 2, 0, 10)
FLOW_MOD, MULTIPART, BARRIER = 14, 18, 20


class FakeDatapath:
    """As much of os-ken's Datapath as a session uses; it stores what is sent."""

    def __init__(self, version: int = OF13, dpid: int = DPID) -> None:
        self.ofproto, self.ofproto_parser = ofproto_protocol._versions[version]
        self.id, self.address = dpid, ("192.0.2.1", 50000)
        self.sent: list[bytes] = []
        self.closed = False
        self.socket = SimpleNamespace(pause=0.0, has_unread=False, is_stalled=False, is_held=False)
        self._xid = 0

    def set_xid(self, message: Any) -> int:
        self._xid += 1
        message.set_xid(self._xid)
        return self._xid

    def send(self, data: bytes) -> bool:
        position = 0
        while position < len(data):
            length = int.from_bytes(data[position + 2 : position + 4], "big")
            self.sent.append(data[position : position + length])
            position += length
        return True

    def close(self) -> None:
        self.closed = True

    def read(self, data: bytes) -> Any:
        """A message of the device as os-ken hands it over."""
        xid = int.from_bytes(data[4:8], "big")
        return self.ofproto_parser.msg_parser(self, data[0], data[1], len(data), xid, data)


class World:
    """Sessions with one device, a clock that stands until it is moved, and the events that were emitted."""

    def __init__(self, version: int = OF13) -> None:
        self.now = 100.0
        self.events: list[Any] = []
        self.sessions = Sessions(self.events.append, lambda: self.now)
        self.datapath = FakeDatapath(version)
        self.version = version

    def sent(self) -> list[bytes]:
        """What was sent since the last call."""
        hub.sleep()
        sent, self.datapath.sent = self.datapath.sent, []
        return sent

    def connect(self, refuse: bool = False) -> list[bytes]:
        """Let the device finish its handshake; return what was requested."""
        self.sessions.connected(self.datapath)
        requested = sent = self.sent()
        while sent:
            for request in sent:
                self.reply(request, refuse=refuse)
            sent = self.sent()
        return requested

    def reply(self, request: bytes, *, refuse: bool = False) -> None:
        """Reply like a switch with PORTS and no more capabilities; refuse the rest."""
        kind, xid = request[1], int.from_bytes(request[4:8], "big")
        multipart = int.from_bytes(request[8:10], "big") if kind == MULTIPART else None
        read = self.datapath.read
        if kind == BARRIER:
            self.sessions.barrier_reply(read(messages.message(self.version, BARRIER + 1, b"", xid)))
        elif refuse:
            self.refuse(xid)
        elif multipart == 13:
            ports = b"".join(messages.port(self.version, number, b"p%d" % number) for number in PORTS)
            self.sessions.reply(read(messages.multipart(self.version, 13, ports, xid)))
        elif kind == messages.QUEUE_CONFIG_REQUEST or multipart == 15:
            self.sessions.reply(read(queues(self.version, PORTS, xid)))
        elif multipart is not None:
            self.refuse(xid)

    def refuse(self, xid: int, kind: int = 1, code: int = 2) -> None:
        error = messages.message(self.version, messages.ERROR, pack("!HH", kind, code) + bytes(64), xid)
        self.sessions.error(self.datapath.read(error))

    def pass_time(self, seconds: float, *, alive: bool = True) -> None:
        """Let time pass in ticks of 1 s; the device sends a message before each unless it is silent."""
        for _ in range(round(seconds)):
            self.now += 1.0
            if alive:
                self.sessions.session_of(self.datapath)
            self.sessions.tick()

    def take(self, *kinds: type) -> list[Any]:
        """The events of some kinds that were emitted since the last call; the others are dropped."""
        found = [event for event in self.events if isinstance(event, kinds)]
        self.events.clear()
        return found


def test_ticks_of_an_idle_device_look_at_nothing_until_something_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.connect()
    world.pass_time(3)
    session = world.sessions.session_of(world.datapath)
    assert session is not None
    looks: list[float] = []

    def look(now: float) -> str:
        looks.append(now - started)
        return ""

    started = world.now
    monkeypatch.setattr(session.liveness, "fault", look)
    monkeypatch.setattr(session, "_queue_times", [])
    monkeypatch.setattr(session._verifier, "next_reading", lambda: started + 8.0)

    def looked(seconds: int) -> list[float]:
        looks.clear()
        for _ in range(seconds):
            world.now += 1.0
            world.sessions.tick()
            for request in world.sent():
                world.reply(request)
        return list(looks)

    assert looked(6)[2:] == [], "what was sent at first was replied to"
    assert looked(3) == [8.0, 9.0], "a reading is due"
    monkeypatch.setattr(session._verifier, "next_reading", lambda: started + 99.0)
    world.sessions.session_of(world.datapath)
    looked(1)
    assert looked(1) == []
    world.sessions.session_of(world.datapath)
    assert len(looked(1)) == 1, "a message has come"
    assert looked(1) == []
    session.send(messages.message(world.version, 2))
    assert len(looked(1)) == 1, "something was sent"
    assert looked(1) == []
    world.sessions.execute(ReadCounters(world.datapath.id))
    assert len(looked(1)) == 1, "it is to do something"


def queues(version: int, ports: dict[int, tuple[int, ...]], xid: int) -> bytes:
    pairs = [(port_no, number) for port_no, numbers in ports.items() for number in numbers]
    if version == OF13:
        return messages.queue_config(
            *(messages.queue_13(number, port_no) for port_no, number in pairs), xid=xid
        )
    body = b"".join(pack("!IIH6x", port_no, number, 16) for port_no, number in pairs)
    return messages.multipart(version, 15, body, xid)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    made.connect()
    made.sent()
    assert made.take(ev.DeviceUp)
    yield made
    for session in made.sessions:
        session.stop()


def flow_mods(sent: list[bytes]) -> list[bytes]:
    return [message for message in sent if message[1] == FLOW_MOD]


@pytest.mark.parametrize("version", VERSIONS)
def test_device_comes_up_with_its_ports_and_queues(version: int) -> None:
    world = World(version)
    requested = world.connect()
    (up,) = world.take(ev.DeviceUp)
    assert up.dpid == DPID
    assert [port.port_no for port in up.ports] == list(PORTS)
    assert up.queues == {UPLINK: PORTS[UPLINK]}
    assert up.peer == "192.0.2.1:50000"
    assert up.capabilities.version == version
    assert up.capabilities.max_meters == 0
    kinds = {int.from_bytes(message[8:10], "big") for message in requested if message[1] == MULTIPART}
    assert kinds >= {0, 1, 7, 8, 10, 11, 12, 13} | ({15} if version > OF13 else set())


@pytest.mark.parametrize("version", VERSIONS)
def test_device_that_refuses_all_comes_up(version: int) -> None:
    world = World(version)
    world.connect(refuse=True)
    (up,) = world.take(ev.DeviceUp)
    assert (up.ports, up.queues, up.pins) == ((), {}, ())
    assert not up.capabilities.controller_meter
    assert not up.capabilities.port_masks


def test_device_that_answers_nothing_comes_up_after_the_limit() -> None:
    world = World()
    world.sessions.connected(world.datapath)
    world.pass_time(4)
    assert world.take(ev.DeviceUp) == []
    world.pass_time(2)
    assert len(world.take(ev.DeviceUp)) == 1


def test_nothing_reaches_the_device_before_it_is_up() -> None:
    world = World()
    world.sessions.connected(world.datapath)
    world.sent()
    world.sessions.execute(PIN)
    world.sessions.execute(Program(plan(dpid=DPID)))
    assert world.sent() == []


def test_plan_is_programmed_and_not_twice(world: World) -> None:
    world.sessions.execute(Program(plan(dpid=DPID)))
    assert len(flow_mods(world.sent())) > 10
    world.sessions.execute(Program(plan(dpid=DPID)))
    assert world.sent() == []


def test_a_large_plan_is_sent_in_slices_in_which_others_are_served_and_in_order(world: World) -> None:
    hosts = tuple((number, 1) for number in range(1, 3 * SLICE))
    (session,) = world.sessions
    session.program(plan(dpid=DPID, hosts=hosts))
    session.delete_learned(DeleteLearned(DPID, 1))
    slices = [flow_mods(world.sent()) for _ in range(12)]
    assert max(map(len, slices)) <= SLICE
    sent = [message for part in slices for message in part]
    assert len(sent) > 3 * SLICE
    commands = [message[COMMAND] for message in sent]
    assert commands.index(DELETE) == len(commands) - 1, "what was learned goes when the new rules stand"


def test_a_connection_that_ends_sends_no_more_slices(world: World) -> None:
    (session,) = world.sessions
    session.program(plan(dpid=DPID, hosts=tuple((number, 1) for number in range(1, 3 * SLICE))))
    world.sent()
    session.stop()
    assert [message for _ in range(9) for message in world.sent()] == []


def test_pin_names_no_queue_that_the_port_does_not_have(world: World) -> None:
    """A set_queue to an unknown queue is accepted by a switch, and silently wrong."""
    world.sessions.execute(PIN)
    world.sessions.execute(PIN._replace(queue_id=9))
    good, bad = flow_mods(world.sent())
    set_queue = pack("!HHI", 21, 8, 2)
    assert set_queue in good
    assert pack("!HHI", 21, 8, 9) not in bad
    world.sessions.execute(PIN._replace(queue_id=NO_QUEUE))
    assert flow_mods(world.sent())[0][8:] == bad[8:]


def test_a_refusal_becomes_an_event(world: World) -> None:
    world.sessions.execute(PIN)
    (mod,) = flow_mods(world.sent())
    world.refuse(int.from_bytes(mod[4:8], "big"), 5, 1)
    assert world.take(ev.RuleRefused) == [
        ev.RuleRefused(DPID, "pin", Refusal.TABLE_FULL, "OFPFMFC_TABLE_FULL", PinRef(3, 1))
    ]


def test_refusal_after_the_barrier_reply_is_another_apps(world: World) -> None:
    world.sessions.execute(PIN)
    (mod,) = flow_mods(world.sent())
    world.pass_time(1)
    (barrier,) = (message for message in world.sent() if message[1] == BARRIER)
    world.reply(barrier)
    world.refuse(int.from_bytes(mod[4:8], "big"), 5, 1)
    assert world.take(ev.RuleRefused) == []


def test_unpin_and_meters_reach_the_device(world: World) -> None:
    world.sessions.execute(UnpinFlow(DPID, PinRef(3, 1), KEY, 1, UPLINK))
    (mod,) = flow_mods(world.sent())
    assert mod[25] == 4  # OFPFC_DELETE_STRICT
    world.sessions.execute(SetMeter(DPID, MeterSpec(1, 10**6, 10**5)))
    world.sessions.execute(DeleteMeter(DPID, 1))
    assert world.sent() == []  # the device has no meters


def test_effects_for_no_device_are_reported(world: World) -> None:
    assert not world.sessions.execute(Report("flow", "text", {}))
    assert world.sessions.execute(PIN._replace(dpid=99))
    assert world.sent() == []


def test_counters_are_requested_and_emitted_part_by_part(world: World) -> None:
    world.sessions.execute(ReadCounters(DPID, pins=True, others=True))
    pins, queue_counters = world.sent()
    xid = int.from_bytes(pins[4:8], "big")
    cookie = 0xF10A_3001_0000_0003
    entry = messages.flow_stats_13()
    entry = entry[:24] + cookie.to_bytes(8, "big") + entry[32:]
    for more in (True, False):
        world.sessions.reply(world.datapath.read(messages.multipart(OF13, 1, entry, xid, more)))
    *parts, end = world.take(ev.PinCounters, ev.ReadingEnded)
    assert [part.counters for part in parts] == [((3, 1, 1, 60),)] * 2
    assert end[:3] == (DPID, PINS, 2)
    world.refuse(int.from_bytes(queue_counters[4:8], "big"))
    assert world.take(ev.QueueCounters) == []


def test_all_parts_of_the_pins_are_emitted_together_for_an_audit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback, "found_pins", lambda parts, _layout: [part.flags for part in parts])
    for is_refused in (False, True):
        world.sessions.execute(ReadCounters(DPID, whole_pins=7))
        (request,) = world.sent()
        xid = int.from_bytes(request[4:8], "big")
        for more in (True, False):
            reply = messages.multipart(OF13, 1, messages.flow_stats_13(), xid, more)
            if not is_refused:
                world.sessions.reply(world.datapath.read(reply))
        if is_refused:
            world.refuse(xid)
    assert world.take(ev.PinsRead) == [ev.PinsRead(DPID, 7, (1, 0))]  # type: ignore[arg-type]


def test_a_reply_with_entries_is_read_by_its_bytes_and_never_parsed_by_osken(world: World) -> None:
    lazy.install_lazy_multiparts()
    world.sessions.execute(ReadCounters(DPID, groups=(5,)))
    (request,) = world.sent()
    data = messages.multipart(OF13, 1, messages.flow_stats_13(), int.from_bytes(request[4:8], "big"))
    message = lazy.read_multipart(world.datapath, data)
    world.sessions.reply(message)
    assert world.take(ev.ReadingEnded)
    assert "body" not in vars(message)


def test_a_group_of_learned_entries_is_requested_by_its_cookie_and_its_end_is_emitted(world: World) -> None:
    world.sessions.execute(ReadCounters(DPID, groups=(5, 6)))
    fifth, sixth = world.sent()
    assert (0xF10A_4000_0000_0005).to_bytes(8, "big") + b"\xff" * 8 in fifth
    assert (0xF10A_4000_0000_0006).to_bytes(8, "big") + b"\xff" * 8 in sixth
    world.sessions.reply(
        world.datapath.read(messages.multipart(OF13, 1, b"", int.from_bytes(fifth[4:8], "big"), False))
    )
    world.refuse(int.from_bytes(sixth[4:8], "big"))
    assert [event[:3] for event in world.take(ev.ReadingEnded)] == [(DPID, 5, 0), (DPID, 6, None)]


def test_sums_of_groups_are_requested_by_the_kind_of_their_entries(world: World) -> None:
    for refused in (False, True):
        world.sessions.execute(ReadCounters(DPID, sums=True))
        (request,) = world.sent()
        assert (0xF10A_5000_0000_0000).to_bytes(8, "big") + (0xFFFF_F000_0000_0000).to_bytes(
            8, "big"
        ) in request
        xid = int.from_bytes(request[4:8], "big")
        entries = b"".join(
            struct.pack("!HBxIIHHHH4xQQQHH4x", 56, 7, 5, 0, 65002, 0, 0, 0, cookie, 3, octets, 1, 4)
            for cookie, octets in (
                (0xF10A_5000_0000_0005, 180),
                (0xF10A_5000_0000_0006, 90),
                (0xF10A_4000_0000_0006, 1),
            )
        )
        if refused:
            world.refuse(xid)
        else:
            world.sessions.reply(world.datapath.read(messages.multipart(OF13, 1, entries, xid)))
        (counted,) = world.take(ev.GroupsCounted)
        assert counted == ev.GroupsCounted(DPID, {} if refused else {5: 180, 6: 90})


def queue_requests(world: World) -> list[bytes]:
    """The requests for queues since the last call; the start table is read beside them."""
    return [message for message in world.sent() if message[1] == messages.QUEUE_CONFIG_REQUEST]


def test_queues_are_read_again_until_the_switch_has_followed_its_database(world: World) -> None:
    world.sessions.execute(ReadQueues(DPID))
    (first,) = queue_requests(world)
    world.reply(first)
    assert world.take(ev.QueuesReported) == []
    world.pass_time(1)
    (second,) = queue_requests(world)
    fewer: dict[int, tuple[int, ...]] = {UPLINK: (0, 1)}
    world.sessions.reply(world.datapath.read(queues(OF13, fewer, int.from_bytes(second[4:8], "big"))))
    assert world.take(ev.QueuesReported) == [ev.QueuesReported(DPID, fewer)]
    world.pass_time(2)
    assert len(queue_requests(world)) == 1


def test_queues_are_requested_now_and_then(world: World) -> None:
    requested = []
    for _ in range(45):
        world.pass_time(1)
        requested += queue_requests(world)
    assert len(requested) == 2


def test_queues_are_requested_with_the_counters_where_these_are(world: World) -> None:
    requested = []
    for _ in range(10):
        world.pass_time(5)
        world.sessions.execute(ReadCounters(DPID, others=True))
        requested.append(len(queue_requests(world)))
    assert requested == [0, 1] * 5


def test_refused_reading_of_queues_changes_nothing(world: World) -> None:
    world.sessions.execute(ReadQueues(DPID))
    (request,) = queue_requests(world)
    world.refuse(int.from_bytes(request[4:8], "big"))
    assert world.take(ev.QueuesReported) == []


@pytest.mark.parametrize(("reason", "kind"), [(0, ev.PortChanged), (1, ev.PortRemoved), (2, ev.PortChanged)])
def test_port_status(world: World, reason: int, kind: type) -> None:
    body = pack("!B7x", reason) + messages.port_13(2, b"renamed")
    world.sessions.port_status(world.datapath.read(messages.message(OF13, messages.PORT_STATUS, body)))
    (event,) = world.take(kind)
    assert event.dpid == DPID
    assert (event.port_no if kind is ev.PortRemoved else event.port.port_no) == 2


def test_silent_device_is_asked_and_then_given_up(world: World) -> None:
    world.pass_time(liveness.ECHO_AFTER + 1, alive=False)
    assert [message for message in world.sent() if message[1] == messages.ECHO_REQUEST]
    assert not world.datapath.closed
    world.pass_time(liveness.DEAD_AFTER, alive=False)
    hub.sleep()
    assert world.datapath.closed


def test_a_device_whose_bytes_wait_to_be_read_is_not_silent(world: World) -> None:
    world.datapath.socket.has_unread = True
    world.pass_time(2 * liveness.DEAD_AFTER, alive=False)
    hub.sleep()
    assert not world.datapath.closed


def test_a_device_that_is_held_is_neither_read_nor_asked(world: World) -> None:
    world.sent()
    world.sessions.stop_reading(DPID)
    world.sessions.stop_reading(DPID)
    world.sessions.stop_reading(DPID + 1)
    assert world.datapath.socket.is_held
    world.pass_time(liveness.ECHO_AFTER + 1, alive=False)
    assert not world.sent()
    world.sessions.read_again(DPID)
    world.sessions.read_again(DPID)
    assert not world.datapath.socket.is_held
    world.pass_time(1, alive=False)
    assert [message for message in world.sent() if message[1] == messages.ECHO_REQUEST]
    world.sessions.close(DPID + 1, "is not there")
    world.sessions.close(DPID, "could not be taken in")
    hub.sleep()
    assert world.datapath.closed


def test_handshakes_of_many_switches_take_turns() -> None:
    world = World()
    datapaths = [FakeDatapath(dpid=number) for number in range(1, 2 * MOST_HANDSHAKES + 9)]

    def begun() -> list[int]:
        hub.sleep()
        return [datapath.id for datapath in datapaths if datapath.sent]

    for datapath in datapaths:
        world.sessions.connected(datapath)
    assert begun() == list(range(1, MOST_HANDSHAKES + 1))
    world.sessions.disconnected(datapaths[MOST_HANDSHAKES])
    world.sessions.disconnected(datapaths[2])
    assert begun()[-1] == MOST_HANDSHAKES + 2, "one has gone before its turn"
    world.now += TURN
    world.sessions.echo(SimpleNamespace(datapath=datapaths[0]))
    datapaths[1].socket.has_unread = True
    world.sessions.tick()
    assert len(begun()) == 2 * MOST_HANDSHAKES - 1, "all but two, of which something came, are not waited for"


def test_messages_are_read_together_while_nobody_waits_for_what_is_done_with_copies(world: World) -> None:
    """The device that learns by itself: not before it is programmed, and not when each packet waits for an answer."""
    waits = []
    for different in ({"learned_idle": 10}, {"learned_idle": 10, "reactive": True}, {"learned_idle": 0}):
        waits.append(world.datapath.socket.pause)
        world.sessions.execute(Program(plan(dpid=DPID, **different)))
    assert waits == [0.0, coalescing.PAUSE, 0.0]
    assert world.datapath.socket.pause == 0.0


def test_a_device_that_sends_messages_is_kept(world: World) -> None:
    world.pass_time(60)
    hub.sleep()
    assert not world.datapath.closed


def test_device_that_acknowledges_nothing_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_UNCONFIRMED", 1000)
    for _ in range(1001):
        world.sessions.execute(PIN)
    hub.sleep()
    assert world.datapath.closed


def test_a_newer_connection_takes_the_place_of_one_that_is_silent(world: World) -> None:
    older, newer = world.datapath, FakeDatapath()
    world.sent()
    world.sessions.connected(newer)
    assert [sent[1] for sent in world.sent()] == [messages.ECHO_REQUEST]
    world.pass_time(SILENT_AFTER - 1, alive=False)
    assert not older.closed
    world.pass_time(1, alive=False)
    world.sessions.disconnected(older)
    assert world.take(ev.DeviceDown) == []
    assert len(world.sessions) == 1
    hub.sleep()
    assert older.closed
    assert not newer.closed
    world.sessions.disconnected(newer)
    assert world.take(ev.DeviceDown) == [ev.DeviceDown(DPID)]


def test_the_first_owner_of_a_dpid_stays_while_it_is_alive(world: World) -> None:
    """Else whoever claims its dpid would take its flows."""
    for number in range(1, 4):
        newer = FakeDatapath()
        newer.address = (f"192.0.2.{1 + number}", 50000)
        world.sessions.connected(newer)
        assert world.sessions.session_of(newer) is None
        world.pass_time(1)
        hub.sleep()
        assert newer.closed
        assert world.take(ev.DpidShared)[-1].peers[0] == "192.0.2.1"
        world.sessions.disconnected(newer)
    assert not world.datapath.closed
    assert world.sessions.session_of(world.datapath) is not None
    assert world.take(ev.DeviceDown) == []


def test_many_that_claim_a_dpid_get_no_more_time_and_only_the_last_waits(world: World) -> None:
    claims = [FakeDatapath() for _ in range(round(SILENT_AFTER))]
    for claim in claims:
        world.sessions.connected(claim)
        world.now += 1.0
    world.sessions.tick()
    hub.sleep()
    assert [claim.closed for claim in (world.datapath, *claims)] == [True, True, True, False]
    assert world.sessions.session_of(claims[-1]) is not None


def test_who_waits_for_a_dpid_gets_it_at_once_when_its_owner_goes(world: World) -> None:
    gone, newer = FakeDatapath(), FakeDatapath()
    world.sessions.connected(gone)
    world.sessions.disconnected(gone)
    world.sessions.connected(newer)
    world.sessions.disconnected(world.datapath)
    assert world.take(ev.DeviceDown) == [ev.DeviceDown(DPID)]
    assert world.sessions.session_of(newer) is not None


def test_connections_that_take_each_others_place_are_reported_until_they_stop(world: World) -> None:
    for number in range(1, 4):
        newer = FakeDatapath()
        newer.address = (f"192.0.2.{1 + number % 2}", 50000 + number)
        world.sessions.connected(newer)
        world.pass_time(5, alive=False)
    assert world.take(ev.DpidShared) == [ev.DpidShared(DPID, ("192.0.2.1", "192.0.2.2"))]
    world.pass_time(58)
    assert world.take(ev.DpidShared) == []
    world.pass_time(1)
    assert world.take(ev.DpidShared) == [ev.DpidShared(DPID)]


def test_connections_that_are_replaced_now_and_then_are_of_one_switch(world: World) -> None:
    for _ in range(5):
        world.pass_time(20, alive=False)
        world.sessions.connected(FakeDatapath())
        world.pass_time(20, alive=False)
    assert world.take(ev.DpidShared) == []


def test_messages_of_a_replaced_connection_are_dropped(world: World) -> None:
    older = world.datapath
    world.sessions.connected(FakeDatapath())
    world.pass_time(5, alive=False)
    message = SimpleNamespace(datapath=older)
    for take in (
        world.sessions.packet_in,
        world.sessions.reply,
        world.sessions.error,
        world.sessions.port_status,
    ):
        take(message)
    assert world.take(object) == []


def test_what_is_known_of_a_connection_that_has_ended_is_freed_at_once(world: World) -> None:
    """A collection of garbage over all objects would take longer than anybody may wait."""
    world.sessions.execute(Program(plan()))
    world.sent()
    session = weakref.ref(next(iter(world.sessions)))
    gc.collect()
    gc.disable()
    try:
        world.sessions.disconnected(world.datapath)
        hub.sleep()
        assert session() is None
    finally:
        gc.enable()


def test_a_device_that_waits_for_its_database_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packets go on, and nothing is sent to it until then."""
    entry = FlowEntry(0, 1, (), (), cookies.pack(cookies.Kind.INFRASTRUCTURE))
    evaluate = handshake.evaluate
    monkeypatch.setattr(
        handshake, "evaluate", lambda *values: evaluate(*values)._replace(present=Standing((entry,)))
    )
    world, must_wait = World(), True
    world.sessions.held.follow(lambda _dpid, _described: must_wait)
    world.connect()
    assert world.take(ev.DeviceUp, ev.DeviceWaits) == [ev.DeviceWaits(DPID, "192.0.2.1:50000")]
    world.sessions.execute(Program(plan()))
    world.sessions.packet_in(world.datapath.read(messages.packet_in(OF13, 1, bytes(60))))
    world.pass_time(3)
    assert not [sent for sent in world.sent() if sent[1] == FLOW_MOD]
    must_wait = False
    world.pass_time(1)
    for request in world.sent():
        world.reply(request)
    for request in world.sent():
        world.reply(request)
    assert len(world.take(ev.DeviceUp)) == 1
    world.sessions.disconnected(world.datapath)
    assert len(world.take(ev.DeviceDown)) == 1


def test_a_pin_waits_behind_a_large_plan_and_is_sent_as_without_one(world: World) -> None:
    """A change that waits is sent the general way, and others by a template: in order, with the same bytes."""
    unpin = UnpinFlow(DPID, PIN.ref, PIN.key, PIN.in_port, PIN.egress_port)
    world.sessions.execute(PIN)
    world.sessions.execute(unpin)
    alone = [message[8:] for message in flow_mods(world.sent())]
    world.sessions.execute(
        Program(plan(dpid=DPID, hosts=tuple((number, 1) for number in range(1, 3 * SLICE))))
    )
    world.sessions.execute(PIN)
    world.sessions.execute(unpin)
    world.sessions.execute(ReadCounters(DPID, whole_pins=1))
    sent = [message for _ in range(12) for message in world.sent()]
    *before, request = [message for message in sent if message[1] in (FLOW_MOD, messages.MULTIPART_REQUEST)]
    assert [message[8:] for message in before[-2:]] == alone
    assert request[1] == messages.MULTIPART_REQUEST, "the pins are read when they have been sent"


def test_a_connection_that_ends_while_its_entries_are_read_is_no_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    evaluate = handshake.evaluate

    def evaluate_long(*args: Any) -> Any:
        """As for a device with very many entries: others are served meanwhile."""
        world.sessions.disconnected(world.datapath)
        return evaluate(*args)

    arrange, freed = handshake.arrange, requests.free

    def arrange_long(*args: Any) -> Any:
        world.sessions.disconnected(world.datapath)
        return arrange(*args)

    def free_long(*args: Any) -> None:
        world.sessions.disconnected(world.datapath)
        freed(*args)

    for module, name, function in (
        (handshake, "arrange", arrange_long),
        (requests, "free", free_long),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, function)
            world.connect()
            assert not [event for event in world.events if isinstance(event, ev.DeviceUp)]
            assert len(world.sessions) == 0
    monkeypatch.setattr(handshake, "evaluate", evaluate_long)
    world.connect()
    assert not [event for event in world.events if isinstance(event, ev.DeviceUp)]
    assert len(world.sessions) == 0
    monkeypatch.undo()
    world.connect()
    assert [event for event in world.events if isinstance(event, ev.DeviceUp)]
