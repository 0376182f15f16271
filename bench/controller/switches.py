"""A load generator: one process that is N OpenFlow switches to a controller, each with 20 VMs and one uplink.

Every simulated switch replays what a real Open vSwitch sent (:mod:`bench.controller.recording`), with its own dpid,
transaction ids, port names and addresses. It accepts all entries, groups and meters, and lists those that are no pins
(:mod:`bench.controller.standing`). Its flows are those that a switch places by itself: each begins with the copy of its
first packet, and is listed in the statistics of learned entries from then on, with counters that grow. It forwards
nothing.

:class:`Generator` is the event loop, :func:`started` runs it in a process of its own and gives commands to it.
"""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import NamedTuple
from zlib import crc32

from bench.controller import standing
from bench.controller.processes import spawned
from bench.controller.recording import (
    ALL_TABLES,
    BARRIER_REPLY,
    BARRIER_REQUEST,
    COOKIE_AT,
    ECHO_REPLY,
    ECHO_REQUEST,
    FEATURES_REQUEST,
    FLOW_MOD,
    FLOW_STATS,
    GET_CONFIG_REQUEST,
    GROUPS,
    HEADER,
    HELLO,
    LEARNED,
    MATCH_AT,
    MULTIPART_REQUEST,
    PORTS,
    QUEUE_CONFIG_REQUEST,
    QUEUE_STATS,
    QUEUES,
    ROLE_REQUEST,
    UPLINK,
    VMS,
    Recording,
    kind_of,
    read_packet_in,
)

from flowlane.southbound.openflow.session.learned_entries import Place, places_of
from flowlane.southbound.openflow.wire.constants import GROUP_MOD, METER_MOD, MULTIPART_REPLY, OPENFLOW_13

TICK = 0.01
"""Seconds between two looks at what is due to be sent."""

RETRY = 1.0
"""Seconds after which a switch connects again: the first of Open vSwitch's (ovs-vswitchd.conf.db(5), max_backoff)."""

PROBE = 5.0
"""Seconds without a message after which a switch sends an echo request (ovs-vswitchd.conf.db(5), inactivity_probe)."""

PER_MESSAGE = 230
"""Entries of one message of a statistics reply, which is shorter than 64 KiB."""

PACKET_RATE, PACKET_OCTETS = 20, 500
"""Packets a second of each flow, and bytes of each."""

BATCH = 64
"""Copies that a switch sends in closed loop before it waits for an echo reply, which comes when they were read."""

PROGRAMMED = 0.8
"""Part of the flow-mods of the recorded switch with which a switch counts as programmed."""

FIRST_DPID = 0x10000
_PORT_BYTES, _PORT_NAME, _PORT_MAC = 64, 16, 8
_HELLO = HEADER.pack(OPENFLOW_13, HELLO, 8, 1)
_CHUNK = 1 << 18
_WAITS_FOR = b"batch"


class Reply(NamedTuple):
    """A reply of one or more messages, cut where the transaction ids go."""

    pieces: tuple[bytes, ...]

    def with_xid(self, xid: bytes) -> bytes:
        """Return the messages, with the transaction id of the request."""
        return xid.join(self.pieces)


def reply_of(messages: tuple[bytes, ...]) -> Reply:
    """Make the reply of the messages of a recorded one."""
    pieces = [messages[0][:4]]
    for message, following in zip(messages, (*messages[1:], b""), strict=True):
        pieces.append(message[8:] + following[:4])
    return Reply(tuple(pieces))


@dataclass(slots=True)
class Cohort:
    """Flows of one group that began together; ``rows``: their matches and instructions, as Open vSwitch sends them."""

    began: float
    rows: list[bytes] = field(default_factory=list)


class Templates:
    """What all switches have in common, made of a recording."""

    def __init__(self, recording: Recording) -> None:
        self.flow_mods = recording.flow_mods
        self.replies = {kind: reply_of(messages) for kind, messages in recording.replies.items()}
        self.features = recording.replies[FEATURES_REQUEST, -1][0]
        self.ports = recording.replies[MULTIPART_REQUEST, PORTS][0]
        queue = recording.replies[MULTIPART_REQUEST, QUEUE_STATS][0]
        self.replies[MULTIPART_REQUEST, QUEUE_STATS] = reply_of((_queue_stats(queue),))
        self.no_entries = reply_of(recording.replies[MULTIPART_REQUEST, FLOW_STATS][:1])
        self.packet_in, self.of_packet_in = recording.packet_in, read_packet_in(recording.packet_in)
        self.entry = recording.learned
        self.of_row: dict[str, Place] = {}
        if not self.entry:
            return  # The device was told not to learn.
        length = int.from_bytes(self.entry[MATCH_AT + 2 : MATCH_AT + 4])
        places = places_of(self.entry[MATCH_AT + 4 : MATCH_AT + length]) or {}
        self.of_row = {name: Place(at + 4, end + 4) for name, (at, end) in places.items()}
        self.queue_at = _load_of_queue(self.entry) - MATCH_AT


def _queue_stats(message: bytes) -> bytes:
    """Return queue statistics of the uplink's queues: the first entry of the recorded ones, with other ids."""
    entry = message[16 : 16 + 40]
    body = b"".join(struct.pack("!II", UPLINK, number) + entry[8:] for number in range(QUEUES))
    return message[:2] + (16 + len(body)).to_bytes(2) + message[4:16] + body


def _load_of_queue(entry: bytes) -> int:
    """Return where a learned entry has the queue's id + 1, which it loads in ``reg1`` (NXAST_REG_LOAD)."""
    return entry.index(bytes.fromhex("0007001f00010204")) + 8


class Switch:
    """One simulated switch, without a connection of its own: bytes in, bytes out."""

    def __init__(self, templates: Templates, index: int) -> None:
        self.index, self._templates = index, templates
        self.dpid = FIRST_DPID + index
        self._ports = [f"s{index}vm{number}" for number in range(1, VMS + 1)]
        self._numbers = [crc32(name.encode()) for name in self._ports]
        self.mods = self.flows = 0
        self.echoes = 0
        """Echo replies that have come."""
        self.connect()

    def connect(self) -> bytes:
        """Begin a connection, with empty tables; return what is sent first."""
        self._inbox = b""
        self.mods = self.flows = 0
        self._standing = standing.Standing()
        self._group = bytes(4)
        self._groups: dict[bytes, list[Cohort]] = {}
        return _HELLO

    def connected(self, port: int) -> socket.socket:
        """Connect to a controller of this machine and greet it; return the connection, which does not block."""
        connection = socket.create_connection(("127.0.0.1", port), 60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(self.connect())
        connection.setblocking(False)
        return connection

    @property
    def is_programmed(self) -> bool:
        """Whether it has got about as many entries as the recorded switch, which may have got some twice."""
        return self.mods >= PROGRAMMED * self._templates.flow_mods

    def vm_number(self, vm: int) -> int:
        """Return the number of a VM in metadata; VMs are counted from 0."""
        return self._numbers[vm]

    def take(self, data: bytes, now: float) -> bytes:
        """Take bytes of the controller; return the replies."""
        data = self._inbox + data if self._inbox else data
        at, size, out = 0, len(data), []
        while at + 8 <= size:
            length = data[at + 2] << 8 | data[at + 3]
            if at + length > size:
                break
            kind = data[at + 1]
            if kind == FLOW_MOD:
                self.take_flow_mod(data, at, at + length)
            if kind in _MODS:
                self._standing.take(data[at : at + length], now)
            elif kind in _ANSWERED:
                out.append(self._reply(data[at : at + length], now))
            elif kind == ECHO_REPLY:
                self.echoes += 1
            at += length
        self._inbox = data[at:]
        return b"".join(out)

    def take_flow_mod(self, data: bytes, at: int, end: int) -> None:
        """Take the flow-mod between two places: count it, and read the group in which it puts what it learns."""
        self.mods += 1
        place = data.find(LEARNED, at + 48, end)
        if place > 0:
            self._group = data[place + 4 : place + 8]

    def _reply(self, message: bytes, now: float) -> bytes:
        kind, xid = message[1], message[4:8]
        if kind in (ECHO_REQUEST, BARRIER_REQUEST):
            answer = ECHO_REPLY if kind == ECHO_REQUEST else BARRIER_REPLY
            return message[:1] + bytes((answer,)) + message[2:]
        if kind == FEATURES_REQUEST:
            features = self._templates.features
            return features[:4] + xid + self.dpid.to_bytes(8) + features[16:]
        place = kind_of(message)
        if place == (MULTIPART_REQUEST, PORTS):
            return self._port_descriptions(xid)
        if place == (MULTIPART_REQUEST, FLOW_STATS):
            return self._flow_stats(message, now)
        if place in _LISTED:
            return standing.reply(xid, place[1], self._standing.items(place[1]))
        return self._templates.replies[place].with_xid(xid)

    def _port_descriptions(self, xid: bytes) -> bytes:
        message = bytearray(self._templates.ports)
        message[4:8] = xid
        for at in range(16, len(message), _PORT_BYTES):
            port_no = int.from_bytes(message[at : at + 4])
            message[at + _PORT_MAC : at + _PORT_MAC + 6] = (
                0x02FE << 32 | self.index << 8 | port_no & 0xFF
            ).to_bytes(6)
            if port_no <= VMS:
                name = self._ports[port_no - 1].encode()
                message[at + _PORT_NAME : at + _PORT_NAME + 16] = name.ljust(16, b"\0")
        return bytes(message)

    def _flow_stats(self, message: bytes, now: float) -> bytes:
        xid, cookie, table = message[4:8], message[32:40], message[16]
        if cookie.startswith(LEARNED):
            return self._learned(xid, cookie, now)
        if cookie.startswith(GROUPS) and table != ALL_TABLES:
            return self._group_counters(xid, now)
        return standing.reply(xid, FLOW_STATS, self._standing.flows(message, now))

    def _learned(self, xid: bytes, cookie: bytes, now: float) -> bytes:
        """Return the entries of a group, in messages of 64 KiB at most."""
        cohorts = self._groups.get(cookie[4:8])
        if not cohorts:
            return self._templates.no_entries.with_xid(xid)
        bodies: list[list[bytes]] = [[]]
        count = 0
        for cohort in cohorts:
            if count + len(cohort.rows) > PER_MESSAGE:
                bodies.append([])
                count = 0
            head = self._entry_head(cohort, cookie, now)
            bodies[-1] += (head, head.join(cohort.rows))
            count += len(cohort.rows)
        messages = []
        for number, parts in enumerate(bodies, start=1):
            body = b"".join(parts)
            more = number < len(bodies)
            head = struct.pack(
                "!BBH4sHH4x", OPENFLOW_13, MULTIPART_REPLY, 16 + len(body), xid, FLOW_STATS, more
            )
            messages.append(head + body)
        return b"".join(messages)

    def _entry_head(self, cohort: Cohort, cookie: bytes, now: float) -> bytes:
        entry, age = self._templates.entry, max(0.0, now - cohort.began)
        packets = int(age * PACKET_RATE)
        return (
            entry[:4]
            + struct.pack("!II", int(age), int(age % 1 * 1e9))
            + entry[12:COOKIE_AT]
            + cookie
            + struct.pack("!QQ", packets, packets * PACKET_OCTETS)
        )

    def _group_counters(self, xid: bytes, now: float) -> bytes:
        """Return the entries that count groups of learned entries: in each what those have counted together."""
        entry, body = self._templates.entry, b""
        for group, cohorts in self._groups.items():
            packets = sum(len(of.rows) * int((now - of.began) * PACKET_RATE) for of in cohorts)
            body += entry[:COOKIE_AT] + GROUPS + group + struct.pack("!QQ", packets, packets * PACKET_OCTETS)
            body += entry[MATCH_AT:]
        head = struct.pack("!BBH4sHH4x", OPENFLOW_13, MULTIPART_REPLY, 16 + len(body), xid, FLOW_STATS, 0)
        return head + body

    def begin(self, count: int, now: float) -> bytes:
        """Begin flows, of the VMs in turn; return the copies of their first packets."""
        flows = self.prepare(count)
        self.list_entries([row for _, row in flows], now)
        return b"".join(copy for copy, _ in flows)

    def prepare(self, count: int) -> list[tuple[bytes, bytes]]:
        """Make flows that have not begun: of each the copy of its first packet, and the end of its entry."""
        return [self._flow() for _ in range(count)]

    def list_entries(self, rows: list[bytes], now: float) -> None:
        """List the learned entries of flows that begin now, from the next question for them on."""
        cohorts = self._groups.setdefault(self._group, [])
        for row in rows:
            if not cohorts or now - cohorts[-1].began > 1.0 or len(cohorts[-1].rows) >= PER_MESSAGE // 2:
                cohorts.append(Cohort(now))
            cohorts[-1].rows.append(row)

    def _flow(self) -> tuple[bytes, bytes]:
        """Make the copy of a new flow's first packet, and the end of its entry from the match on."""
        number, self.flows = self.flows, self.flows + 1
        vm, turn = number % VMS, number // VMS
        mac = (0x02_01 << 32 | self.index << 8 | vm).to_bytes(6)
        src = (10 << 24 | self.index << 8 | vm + 1).to_bytes(4)
        dst = (0xAC10 << 16 | turn >> 14).to_bytes(4)
        src_port = (1024 + (turn & 0x3FFF)).to_bytes(2)
        metadata = self._numbers[vm].to_bytes(4) + UPLINK.to_bytes(4)
        in_port, queue = (vm + 1).to_bytes(4), 1 + number * 5 % QUEUES
        templates = self._templates
        copy, (places, frame) = bytearray(templates.packet_in), templates.of_packet_in
        for name, value in (("in_port", in_port), ("metadata", metadata), ("reg1", queue.to_bytes(4))):
            if name in places:
                copy[places[name].start : places[name].end] = value
        copy[frame + 6 : frame + 12] = mac
        copy[frame + 26 : frame + 34] = src + dst
        copy[frame + 34 : frame + 36] = src_port
        if not templates.entry:
            return bytes(copy), b""
        row, of_row = bytearray(templates.entry[MATCH_AT:]), templates.of_row
        values = {"in_port": in_port, "metadata": metadata, "eth_src": mac, "ipv4_src": src, "ipv4_dst": dst}
        for name, value in {**values, "tcp_src": src_port}.items():
            row[of_row[name].start : of_row[name].end] = value
        row[templates.queue_at : templates.queue_at + 8] = queue.to_bytes(8)
        return bytes(copy), bytes(row)


_ANSWERED = frozenset(
    (
        ECHO_REQUEST,
        FEATURES_REQUEST,
        GET_CONFIG_REQUEST,
        MULTIPART_REQUEST,
        BARRIER_REQUEST,
        QUEUE_CONFIG_REQUEST,
        ROLE_REQUEST,
    )
)


_MODS = frozenset((FLOW_MOD, GROUP_MOD, METER_MOD))
_LISTED = frozenset(((MULTIPART_REQUEST, standing.GROUPS), (MULTIPART_REQUEST, standing.METERS)))


class Status(NamedTuple):
    """What the generator has seen. ``join_s``: seconds from each connection to its last entry, of those joined since
    the last command; ``lost``: connections that the controller has ended; ``unread``: how many switches wait in closed
    loop until the controller has read their copies; ``to_restart``: how many have not restarted yet."""

    connected: int
    programmed: int
    flows: int
    waiting_octets: int
    mods: int
    lost: int
    unread: int
    to_restart: int
    join_s: tuple[float, ...]


class _Link:
    """The connection of a switch."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self.sock: socket.socket | None = None
        self.outbox = bytearray()
        self.began = 0.0
        self.is_joined = False
        self.left = 0
        """Flows that are left to begin in closed loop."""
        self.awaits_echo = False
        self.heard = 0.0
        """When bytes came last, or an echo request was sent."""


class Generator:
    """The event loop of all switches."""

    def __init__(self, recording: Recording, count: int, port: int) -> None:
        self._templates = Templates(recording)
        self._links = [_Link(Switch(self._templates, index)) for index in range(count)]
        self._port = port
        self._selector = selectors.EpollSelector()
        self._to_connect: deque[_Link] = deque()
        self._retries: deque[tuple[float, _Link]] = deque()
        self._to_restart: deque[_Link] = deque()
        self._join_rate = self._restart_rate = 50.0
        self._join_credit = self._restart_credit = self._flow_credit = self._flow_rate = 0.0
        self._next = 0
        self._next_probe = 0.0
        self._join_s: list[float] = []
        self._mods = self._lost = 0

    def run(self, commands: Connection) -> None:
        """Serve all switches until the command ``stop``."""
        self._selector.register(commands, selectors.EVENT_READ, None)
        last = time.monotonic()
        while True:
            for key, mask in self._selector.select(TICK):
                if key.data is None:
                    if not self._command(commands):
                        return
                else:
                    self._serve(key.data, mask)
            now = time.monotonic()
            if now - last >= TICK:
                self._advance(now, min(now - last, 1.0))
                last = now

    def _command(self, commands: Connection) -> bool:
        name, *values = commands.recv()
        if name == "stop":
            return False
        if name == "join":
            self._join_rate = values[0]
            self._join_s.clear()
            self._to_connect.extend(link for link in self._links if link.sock is None)
        elif name == "rate":
            self._flow_rate = values[0]
        elif name == "load":
            for link in self._links:
                link.left = values[0]
                self._send_batch(link)
        elif name == "restart":
            self._restart_rate = values[0]
            self._join_s.clear()
            self._to_restart.extend(self._links)
        elif name == "move":
            self._port = values[0]
        commands.send(self._status())
        return True

    def _status(self) -> Status:
        return Status(
            sum(link.sock is not None for link in self._links),
            sum(link.sock is not None and link.switch.is_programmed for link in self._links),
            sum(link.switch.flows for link in self._links),
            sum(len(link.outbox) for link in self._links),
            self._mods,
            self._lost,
            sum(link.awaits_echo for link in self._links),
            len(self._to_restart),
            tuple(self._join_s),
        )

    def _advance(self, now: float, seconds: float) -> None:
        self._join_credit = min(self._join_credit + seconds * self._join_rate, self._join_rate)
        while self._to_connect and self._join_credit >= 1:
            self._join_credit -= 1
            self._connect(self._to_connect.popleft(), now)
        while self._retries and self._retries[0][0] <= now:
            self._connect(self._retries.popleft()[1], now)
        self._restart_credit = min(self._restart_credit + seconds * self._restart_rate, self._restart_rate)
        while self._to_restart and self._restart_credit >= 1:
            self._restart_credit -= 1
            link = self._to_restart.popleft()
            self._close(link)
            self._connect(link, now)
        self._probe(now)
        self._flow_credit += seconds * self._flow_rate * len(self._links)
        for _ in range(int(self._flow_credit)):
            self._flow_credit -= 1
            link = self._links[self._next]
            self._next = (self._next + 1) % len(self._links)
            if link.sock is not None and link.switch.is_programmed:
                self._send(link, link.switch.begin(1, now))

    def _probe(self, now: float) -> None:
        """Send echo requests by the connections on which nothing has come for long, as Open vSwitch does."""
        if now < self._next_probe:
            return
        self._next_probe = now + 1.0
        for link in self._links:
            if (
                link.sock is not None
                and link.is_joined
                and now - link.heard >= PROBE
                and not link.awaits_echo
            ):
                link.heard = now
                self._send(link, HEADER.pack(OPENFLOW_13, ECHO_REQUEST, 8, 0))

    def _connect(self, link: _Link, now: float) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = sock.connect_ex(("127.0.0.1", self._port))
        if error not in (0, errno.EINPROGRESS):
            sock.close()
            self._retries.append((now + RETRY, link))
            return
        link.sock, link.began, link.is_joined, link.awaits_echo = sock, now, False, False
        link.outbox = bytearray(link.switch.connect())
        self._selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, link)

    def _close(self, link: _Link) -> None:
        if link.sock is not None:
            self._selector.unregister(link.sock)
            link.sock.close()
            link.sock = None

    def _serve(self, link: _Link, mask: int) -> None:
        sock, now = link.sock, time.monotonic()
        if sock is None:
            return
        try:
            if mask & selectors.EVENT_READ:
                data = sock.recv(_CHUNK)
                if not data:
                    raise ConnectionResetError
                self._take(link, data, now)
            if mask & selectors.EVENT_WRITE:
                self._flush(link)
        except BlockingIOError:
            pass
        except OSError as error:
            self._lost += error.errno != errno.ECONNREFUSED
            self._close(link)
            self._retries.append((now + RETRY, link))

    def _take(self, link: _Link, data: bytes, now: float) -> None:
        switch, before, echoes = link.switch, link.switch.mods, link.switch.echoes
        link.heard = now
        self._send(link, switch.take(data, now))
        self._mods += switch.mods - before
        if not link.is_joined and switch.is_programmed:
            link.is_joined = True
            self._join_s.append(now - link.began)
        if switch.echoes != echoes:
            link.awaits_echo = False
            self._send_batch(link)

    def _send_batch(self, link: _Link) -> None:
        """Send the next copies of a closed loop, and an echo request behind them."""
        if not link.left or link.sock is None:
            return
        count = min(BATCH, link.left)
        link.left -= count
        link.awaits_echo = True
        copies = link.switch.begin(count, time.monotonic())
        echo = HEADER.pack(OPENFLOW_13, ECHO_REQUEST, 8 + len(_WAITS_FOR), 7) + _WAITS_FOR
        self._send(link, copies + echo)

    def _send(self, link: _Link, data: bytes) -> None:
        if data:
            is_first = not link.outbox
            link.outbox += data
            if is_first:
                self._flush(link)

    def _flush(self, link: _Link) -> None:
        sock = link.sock
        if sock is None:
            return
        try:
            while link.outbox:
                del link.outbox[: sock.send(memoryview(link.outbox)[:_CHUNK])]
        except BlockingIOError:
            pass
        except OSError:
            return  # It is noticed when the socket is read.
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.outbox else 0)
        self._selector.modify(sock, events, link)


class Running:
    """A generator in a process of its own."""

    def __init__(self, commands: Connection) -> None:
        self._commands = commands

    def command(self, *command: object) -> Status:
        """Send a command; return the state of the switches. ``status`` alone changes nothing.

        ``join RATE``: connect those that are not, so many a second; ``rate N``: begin N flows a second on each switch
        with its entries; ``load N``: begin N flows on each in closed loop; ``restart RATE``: end and begin the
        connections one after the other, with empty tables; ``move PORT``: connect to another port from now on.
        """
        self._commands.send(command)
        answer: Status = self._commands.recv()
        return answer

    def status(self) -> Status:
        """Return the state of the switches."""
        return self.command("status")


def _run(recording: Recording, count: int, port: int, commands: Connection) -> None:
    Generator(recording, count, port).run(commands)


@contextmanager
def started(recording: Recording, count: int, port: int) -> Iterator[Running]:
    """Run a generator for the duration of the block.

    Args:
        count: how many switches; none is connected yet.
        port: the controller's port for switches, on this machine.
    """
    with spawned(_run, recording, count, port, stop=("stop",)) as commands:
        yield Running(commands)
