"""Faulty switches over real sockets: each costs its own connection, and nobody else anything."""

from __future__ import annotations

import gc
import logging
import os
import re
import resource
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from struct import pack
from types import SimpleNamespace
from typing import Any

import eventlet
import pytest
from lab.inside.manager import Launched, launched, wait_for
from os_ken.cfg import CONF
from os_ken.controller.handler import MAIN_DISPATCHER
from support.openflow import messages
from support.openflow.malformed import MALFORMED
from support.openflow.messages import OF13, OF15, VERSIONS
from support.openflow.raw_switch import RawSwitch

from flowlane import hub
from flowlane.logs import QUIET, Repeats
from flowlane.southbound.openflow.osken import listener

GOOD = 0xA


@pytest.fixture(scope="module")
def manager() -> Iterator[Launched]:
    with launched() as running:
        yield running


@pytest.fixture(scope="module")
def good(manager: Launched) -> Iterator[RawSwitch]:
    """A switch that behaves; it refuses every question but the one for its ports."""
    with RawSwitch(manager.openflow_port) as peer:
        peer.handshake(GOOD)
        peer.refuse_requests()
        yield peer


@pytest.mark.parametrize("name", MALFORMED)
def test_faulty_message_costs_its_own_connection(manager: Launched, good: RawSwitch, name: str) -> None:
    version, data, _ = MALFORMED[name]
    with RawSwitch(manager.openflow_port, version) as bad:
        if data[1] != messages.HELLO:
            bad.hello()
        bad.send(data)
        assert good.is_served()
        assert bad.is_closed()
    assert good.is_served()


@pytest.mark.parametrize(
    "data",
    [
        pack("!BBHI", 4, 0, 7, 1),
        pack("!BBHI", 4, 0, 0, 1),
        pack("!BBHI", 0, 0, 8, 1),
        pack("!BBHI", 2, 0, 8, 1),
        pack("!BBHI", 4, 10, 8, 1),
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n" + bytes(40_000),
        pack("!BBHI", 4, 0, 65535, 1) + bytes(65535 - 8),
        pack("!BBHI", 4, 0, 65532, 1) + pack("!HH", 1, 0) * 16381,
    ],
    ids=[
        "length 7",
        "length 0",
        "version 0",
        "version 2",
        "packet-in first",
        "HTTP",
        "long zeros",
        "long elements",
    ],
)
def test_what_is_no_hello_costs_its_own_connection(manager: Launched, good: RawSwitch, data: bytes) -> None:
    with RawSwitch(manager.openflow_port) as bad:
        bad.send(data)
        assert good.is_served()
        assert bad.is_closed()
    assert good.is_served()


def test_another_version_than_agreed_costs_the_connection(manager: Launched, good: RawSwitch) -> None:
    with RawSwitch(manager.openflow_port, OF15) as bad:
        bad.hello()
        bad.send(messages.features(OF13, 0xB))
        assert bad.is_closed()
    assert good.is_served()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_auxiliary_connection_is_refused_alone(manager: Launched, good: RawSwitch, version: int) -> None:
    """It has the dpid of its device (OpenFlow 1.3.5, 6.3.6), whose main connection must not be taken for dead."""
    with RawSwitch(manager.openflow_port, version) as extra:
        extra.hello()
        extra.send(messages.features(version, GOOD, extra.features_xid, auxiliary=1))
        assert extra.is_closed()
    assert good.is_served()
    device = manager.rest(f"/v1/devices/{GOOD:016x}")
    assert (device["connected"], device["dpid_shared_by"]) == (True, [])
    assert manager.log.count(f"device {GOOD:016x}: auxiliary connection 1 from 127.0.0.1") == 1


def test_the_first_owner_of_a_dpid_stays_and_the_other_is_shown(manager: Launched) -> None:
    with RawSwitch(manager.openflow_port) as owner, RawSwitch(manager.openflow_port) as other:
        owner.handshake(0xD)
        owner.refuse_requests()
        other.handshake(0xD)
        owner.refuse_requests()  # It replies to an echo request.
        assert other.is_closed()
        assert owner.is_served()
        peers = manager.rest(f"/v1/devices/{0xD:016x}")["dpid_shared_by"]
    assert len(peers) == 2
    assert all(text.startswith("127.0.0.1:") for text in peers), "of one host: both connections"
    assert "several switches connect with this dpid in turns" in manager.log
    assert re.search(r"connection from \S+ is closed: another one, from \S+, has this dpid", manager.log)


def test_unknown_queue_property_costs_nothing(manager: Launched, good: RawSwitch) -> None:
    """Well formed, and yet os-ken's parser would stay on it for ever."""
    with RawSwitch(manager.openflow_port) as peer:
        peer.hello()
        peer.send(messages.queue_config(messages.queue_13(1, 1, pack("!HH4x", 9, 8))))
        assert peer.is_served()
    assert good.is_served()


@pytest.mark.parametrize("version", VERSIONS)
def test_truncated_and_random_frames_in_packet_ins_cost_nothing(
    manager: Launched, good: RawSwitch, version: int
) -> None:
    frame = bytes.fromhex(
        "020000000002020000000001 0800 45000028000100004006 0000 0a000001 0a000002"
        "03e80050 00000000 00000000 5002 2000 0000 0000"
    )
    with RawSwitch(manager.openflow_port, version) as peer:
        peer.handshake(0xC0 + version)
        peer.refuse_requests()
        frames = [frame[:size] for size in range(len(frame) + 1)] + [
            os.urandom(size) for size in range(1, 129)
        ]
        for tag in (b"\x81\x00", b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x88\xcc"):
            frames += [frame[:12] + tag + os.urandom(size) for size in range(0, 64, 3)]
        for one in frames:
            peer.send(with_our_cookie(messages.packet_in(version, 1, one)))
        assert peer.is_served()
        device = manager.rest(f"/v1/devices/{0xC0 + version:016x}")
        assert device["connected"]
    assert good.is_served()
    assert "Traceback" not in manager.log


def with_our_cookie(message: bytes) -> bytes:
    """As a copy that one of our standing rules made."""
    return message[:16] + (0xF10A_2000_0000_FFFF).to_bytes(8, "big") + message[24:]


def test_device_that_refuses_every_question_is_served(manager: Launched, good: RawSwitch) -> None:
    device = manager.rest(f"/v1/devices/{GOOD:016x}")
    assert good.is_served()
    assert device["connected"]
    assert [port["name"] for port in device["ports"]] == ["port1", "port2"]
    assert device["capabilities"]["max_meters"] == 0
    assert not device["capabilities"]["select_groups"]


def test_newer_connection_of_a_device_takes_the_place_of_one_that_is_silent(
    manager: Launched, good: RawSwitch
) -> None:
    with RawSwitch(manager.openflow_port) as old, RawSwitch(manager.openflow_port) as new:
        old.handshake(0xD)
        old.refuse_requests()
        new.handshake(0xD)
        assert old.is_closed()
        new.refuse_requests()
        assert new.is_served()
        assert manager.rest("/v1/devices/000000000000000d")["connected"]
    wait_for(lambda: not manager.rest("/v1/devices/000000000000000d")["connected"])
    assert good.is_served()


def test_descriptors_are_left_to_others(manager: Launched, good: RawSwitch) -> None:
    """Connections that send nothing take no more than the limit leaves; who is connected is served."""
    pid = manager.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (80, before[1]))
        stack.callback(resource.prlimit, pid, resource.RLIMIT_NOFILE, before)
        peers = [stack.enter_context(RawSwitch(manager.openflow_port)) for _ in range(80)]
        assert peers[-1].is_closed()
        assert not any(peer.sock.recv(8) == b"" for peer in peers[:10])
        assert good.is_served()
        assert manager.rest("/v1/status")
    assert "connection closed: the process may have 80 open files; raise LimitNOFILE" in manager.log


def test_many_connections_at_once(manager: Launched, good: RawSwitch) -> None:
    """More than os-ken's own backlog of 50; nobody waits for TCP's second attempt after 1 s."""
    peers = [RawSwitch(manager.openflow_port) for _ in range(200)]
    for peer in peers:
        peer.send(messages.hello(OF13, messages.version_bitmap(OF13)))
    for peer in peers:
        peer.expect(messages.FEATURES_REQUEST)
        peer.sock.close()
    assert good.is_served()


def test_peer_that_does_not_finish_its_handshake_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HANDSHAKE_TIME", 0.1)
    monkeypatch.setattr(CONF, "socket_timeout", 0.1, raising=False)
    server = hub.listen("127.0.0.1", 0, 1)
    with eventlet.connect(server.getsockname()[:2]) as client:
        sock, address = server.accept()
        assert hub.within(5.0, listener.serve, sock, address)
        assert client.recv(100)[1] == messages.HELLO
        assert client.recv(100) == b""
    server.close()


def test_a_connection_that_ends_leaves_nothing_to_the_garbage_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is old when it ends would never be freed: no collection looks at all objects."""
    datapath: Any = vars(listener)["controller"].Datapath
    initialize, known = datapath.__init__, list[weakref.ref[object]]()

    def note(made: object, *arguments: object) -> None:
        known.append(weakref.ref(made))
        initialize(made, *arguments)

    monkeypatch.setattr(datapath, "__init__", note)
    server = hub.listen("127.0.0.1", 0, 1)
    client = eventlet.connect(server.getsockname()[:2])
    sock, address = server.accept()
    hub.spawn_after(0.05, client.close)
    gc.disable()
    try:
        listener.serve(sock, address)
        hub.sleep(0.01)
        assert [connection() for connection in known] == [None]
    finally:
        gc.enable()
        server.close()


def test_a_switch_sends_segments_as_on_ethernet(manager: Launched) -> None:
    """Else its own socket has room for 4 MB, in which copies of seconds wait (decision 0073)."""
    with socket.create_connection(("127.0.0.1", manager.openflow_port), 10) as sock:
        segment = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    assert 1000 < segment <= listener.SEGMENT


def test_log_has_one_line_for_a_faulty_switch_however_often_it_tries(
    manager: Launched, good: RawSwitch
) -> None:
    for _ in range(3):
        with RawSwitch(manager.openflow_port) as bad:
            bad.send(messages.hello(OF13, pack("!HH", 1, 0)))
            assert bad.is_closed()
    assert good.is_served()
    lines = [line for line in manager.log.splitlines() if "hello element of length 0" in line]
    assert len(lines) == 1
    assert re.search(
        r"WARNING .* switch at 127.0.0.1:\d+: hello element of length 0.*; connection closed", lines[0]
    )


def test_log_has_one_line_for_versions_that_are_not_served_whatever_they_are(
    manager: Launched, good: RawSwitch
) -> None:
    """os-ken's own lines have the versions of the peer, which may send others each time."""
    before = len(manager.log)
    for version in range(7, 27):
        with RawSwitch(manager.openflow_port) as bad:
            bad.send(messages.hello(OF13, messages.version_bitmap(1, 2, version)))
            assert bad.is_closed()
    for version in (1, 2, 3, 1):
        with RawSwitch(manager.openflow_port) as bad:
            bad.send(messages.hello(version))
            assert bad.is_closed()
    assert good.is_served()
    lines = [line for line in manager.log[before:].splitlines() if "OFPHandler" in line]
    assert len(lines) == 2
    assert "ERROR OFPHandler: no compatible version found: switch versions {1, 2, 7}" in lines[0]
    assert "ERROR OFPHandler: unsupported version 0x1. If possible" in lines[1]


def _record(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("x", logging.ERROR, "", 0, text, args, None)


def test_a_line_of_osken_says_how_many_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(listener, "_REPEATS", Repeats(logging.getLogger("x"), lambda: now))

    def shown(filtered: Callable[[logging.LogRecord], bool], text: str, *args: object) -> str:
        record = _record(text, *args)
        return record.getMessage() if filtered(record) else ""

    form, lines = "%s on datapath %s", []
    for now in (0.0, 1.0, 2.0, QUIET + 1):
        lines += [
            shown(listener._is_due, form, f"unsupported version {now:g}", (host, 4000 + now))
            for host in ("192.0.2.1", "192.0.2.2")
        ]
    assert lines[:2] == [f"unsupported version 0 on datapath ('192.0.2.{n}', 4000.0)" for n in (1, 2)]
    assert lines[2:6] == [""] * 4
    assert lines[6].endswith(" (and 2 times since the last such line)")
    assert len(shown(listener._is_due, "%s", "x" * 100_000)) == 1003

    fault = "%s: Exception occurred [%s] servicing event [%s]"
    ours = [shown(listener._is_due_fault, fault, "ofp_event", "hello_handler", "E") for _ in range(3)]
    assert [bool(line) for line in ours] == [True, False, False]
    assert all(shown(listener._is_due_fault, fault, "their_app", "handler", "E") for _ in range(3))


class Replies:
    """Takes replies that are in a list; notes what it is offered."""

    def __init__(self, *known: bytes) -> None:
        self.known, self.offered = known, list[bytes]()

    def take(self, _datapath: object, data: bytes) -> bool:
        self.offered.append(data)
        return data in self.known


REPLY, OTHER = messages.multipart(OF13, 1, bytes(8)), messages.multipart(OF13, 7, bytes(16))


def test_known_replies_are_taken_before_they_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = Replies(REPLY)
    monkeypatch.setattr(listener, "_takers_of_replies", [replies.take])
    monkeypatch.setattr(listener, "_takers_together", [])
    connection = SimpleNamespace(state=MAIN_DISPATCHER)

    def take(data: bytes, start: int = 0) -> int:
        return listener._take_ahead(connection, bytearray(data), start)

    assert take(REPLY + OTHER) == len(REPLY)
    assert take(bytes(3) + REPLY, 3) == 3 + len(REPLY)
    assert take(OTHER + REPLY) == 0
    assert replies.offered == [REPLY, REPLY, OTHER]
    for partial_or_broken in (REPLY[:-1], REPLY[:3], REPLY[:2] + b"\x00\x08" + REPLY[4:], b"\x04"):
        assert take(partial_or_broken) == 0
    connection.state = "handshake"
    assert take(REPLY) == 0
    assert len(replies.offered) == 3


def test_known_replies_that_came_in_pieces_are_taken_too(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = Replies(REPLY)
    monkeypatch.setattr(listener, "_takers_of_replies", [replies.take])
    checked: list[bytes] = []
    monkeypatch.setattr(listener, "check", lambda data, *_version, **_later: checked.append(data))
    connection = SimpleNamespace(state=MAIN_DISPATCHER, ofproto=SimpleNamespace(OFP_VERSION=OF13))
    for data in (REPLY, OTHER, messages.message(OF13, 2)):
        listener.read(connection, 0, data[1], 0, 0, bytearray(data))
    assert replies.offered == [REPLY, OTHER]
    assert checked == [OTHER, messages.message(OF13, 2)]
