"""What a real Open vSwitch sends to a real Flowlane, recorded once, as templates for simulated switches.

A bridge of a private Open vSwitch, with ports for VMs and one uplink, is connected through a relay that keeps every
message. So the requests are those of the controller's handshake, and the replies are Open vSwitch's, byte by byte. One
packet is sent through the bridge: the copy of it and the learned entry are the templates of all flows.

The bridge's ports are dummies, which report queue 0 only. The relay gives the uplink its queues: Open vSwitch's own
description of the port's queue 0, with other ids.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lab.inside import proxy
from lab.inside.manager import launched, wait_for
from lab.inside.private_ovs import PrivateOvs, running

from flowlane.southbound.openflow.session.learned_entries import Place, places_of
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.constants import (
    MULTIPART_REPLY,
    OPENFLOW_13,
    QUEUE_GET_CONFIG_REPLY,
)

VMS = 20
"""VMs of a switch, at the ports 1 to 20."""

UPLINK = VMS + 1
"""Port number of the uplink."""

QUEUES = 8
"""Queues of the uplink."""

BRIDGE, DPID = "recorded", 0x5CA1E
HEADER = struct.Struct("!BBHI")
"""Version, type, length and transaction id of a message (OpenFlow 1.3.5 section 7.1)."""

(HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, FEATURES_REQUEST, FEATURES_REPLY) = (0, 1, 2, 3, 5, 6)
(GET_CONFIG_REQUEST, GET_CONFIG_REPLY, PACKET_IN, FLOW_MOD) = (7, 8, 10, 14)
(MULTIPART_REQUEST, BARRIER_REQUEST, BARRIER_REPLY, QUEUE_CONFIG_REQUEST) = (18, 20, 21, 22)
ROLE_REQUEST, ROLE_REPLY = 24, 25
FLOW_STATS, QUEUE_STATS, PORTS = 1, 5, 13
ALL_TABLES = 0xFF

COOKIE_AT, COUNTERS_AT, MATCH_AT = 24, 32, 48
"""Where an entry of flow statistics has its cookie, its two counters, and its match (OpenFlow 1.3.5, 7.3.5.2)."""

LEARNED, GROUPS = (cookies.pack(kind).to_bytes(8)[:4] for kind in (cookies.Kind.LEARNED, cookies.Kind.GROUP))
"""The beginnings of the cookies of learned entries and of what counts a group; the number of the group follows."""

_FRAME = (
    "in_port(1),eth(src=02:00:00:00:00:01,dst=02:ff:00:00:00:01),eth_type(0x0800),"
    "ipv4(src=10.0.0.1,dst=172.16.0.1,proto=6,tos=0,ttl=64,frag=no),tcp(src=1000,dst=443),tcp_flags(2)"
)
_SETTLED = 1.0
"""Seconds without a change of the bridge after which it is programmed."""


class Recording(NamedTuple):
    """Messages of a switch.

    ``replies``: (type of the request, of a multipart request also its kind, else -1) -> the messages of the reply.
    ``packet_in``: the copy of a flow's first packet. ``learned``: the entry of that flow in flow statistics; empty if
    the policy forbids to learn. ``flow_mods``: how many the controller sent until the bridge was programmed.
    """

    replies: Mapping[tuple[int, int], tuple[bytes, ...]]
    packet_in: bytes
    learned: bytes
    flow_mods: int


class PacketIn(NamedTuple):
    """Where a packet-in has what differs between flows: its fields, and the frame."""

    fields: Mapping[str, Place]
    frame: int


def read_packet_in(message: bytes) -> PacketIn:
    """Find the parts of a packet-in (OpenFlow 1.3.5 section 7.4.1)."""
    start = 24
    length = int.from_bytes(message[start + 2 : start + 4], "big")
    found = places_of(message[start + 4 : start + length]) or {}
    places = {name: Place(at + start + 4, end + start + 4) for name, (at, end) in found.items()}
    return PacketIn(places, start + length + -length % 8 + 2)


def record(policy: str = "") -> Recording:
    """Record a conversation, under the built-in policy or another; takes some ten seconds."""
    with running() as ovs, launched() as manager, proxy.running(manager.openflow_port) as relay:
        if policy:
            manager.put("/v1/policy", policy.encode(), "application/yaml")
        sent: list[tuple[bool, bytes]] = []
        relay.watch = lambda from_controller, message: sent.append((from_controller, message))
        relay.rewrite = _with_queues
        ovs.add_bridge(BRIDGE, _names(), dpid=DPID, versions="OpenFlow13")
        ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{relay.port}")
        _wait_until_programmed(relay)
        flow_mods = relay.count("flow-mod")
        ovs.receive("vm1", _FRAME)
        wait_for(lambda: any(message[1] == PACKET_IN for _, message in sent), 20)
        with _management(ovs) as sock:
            entries = b"".join(part[16:] for part in _ask(sock, _flows_request(ALL_TABLES)))
    packet_in = next(message for _, message in sent if message[1] == PACKET_IN)
    learned = next((entry for entry in entries_of(entries) if entry[COOKIE_AT:].startswith(LEARNED)), b"")
    return Recording(_replies(sent), packet_in, learned, flow_mods)


def _names() -> list[str]:
    return [*(f"vm{number}" for number in range(1, VMS + 1)), "uplink"]


def _with_queues(message: bytes) -> bytes:
    """Give the uplink alone its queues, in a queue-get-config reply (OpenFlow 1.3.5 section 7.3.6)."""
    if message[1] != QUEUE_GET_CONFIG_REPLY:
        return message
    at, queues = 16, b""
    while at < len(message):
        port_no, length = struct.unpack_from("!4xIH", message, at)
        if port_no == UPLINK:
            rest = message[at + 4 : at + length]
            queues = b"".join(number.to_bytes(4) + rest for number in range(QUEUES))
        at += length
    return HEADER.pack(message[0], message[1], 16 + len(queues), int.from_bytes(message[4:8])) + (
        message[8:16] + queues
    )


def _wait_until_programmed(relay: proxy.Proxy) -> None:
    wait_for(lambda: relay.count("flow-mod") > VMS, 30)
    before = -1
    while before != (before := relay.count("flow-mod", "group-mod", "meter-mod")):
        time.sleep(_SETTLED)


def _management(ovs: PrivateOvs) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(ovs.management(BRIDGE))
    sock.sendall(HEADER.pack(OPENFLOW_13, HELLO, 8, 1))
    return sock


def _flows_request(table: int) -> bytes:
    body = struct.pack("!HH4xB3xII4xQQHH4x", FLOW_STATS, 0, table, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 1, 4)
    return HEADER.pack(OPENFLOW_13, MULTIPART_REQUEST, 8 + len(body), 2) + body


def _ask(sock: socket.socket, request: bytes) -> tuple[bytes, ...]:
    """Send a multipart request; return the messages of its reply."""
    sock.sendall(request)
    parts: list[bytes] = []
    received = b""
    while True:
        received += sock.recv(1 << 16)
        while len(received) >= 8 and len(received) >= (length := int.from_bytes(received[2:4])):
            message, received = received[:length], received[length:]
            if message[1] == MULTIPART_REPLY:
                parts.append(message)
                if not int.from_bytes(message[10:12]) & 1:
                    return tuple(parts)


def entries_of(data: bytes) -> Iterator[bytes]:
    """Yield the entries of a flow statistics reply, behind its head."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2])
        yield data[at : at + length]
        at += length


def kind_of(message: bytes) -> tuple[int, int]:
    """Return the type of a request, and the kind of a multipart request."""
    return message[1], int.from_bytes(message[8:10]) if message[1] == MULTIPART_REQUEST else -1


def _replies(sent: list[tuple[bool, bytes]]) -> dict[tuple[int, int], tuple[bytes, ...]]:
    """Put the replies in order by what was requested; of one that was sent several times the first."""
    requested: dict[bytes, tuple[int, int]] = {}
    parts: dict[bytes, list[bytes]] = {}
    for from_controller, message in sent:
        if from_controller:
            requested[message[4:8]] = kind_of(message)
        elif message[4:8] in requested:
            parts.setdefault(message[4:8], []).append(message)
    replies: dict[tuple[int, int], tuple[bytes, ...]] = {}
    for xid, messages in parts.items():
        replies.setdefault(requested[xid], tuple(messages))
    return replies
