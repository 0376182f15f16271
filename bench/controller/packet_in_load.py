"""A load of packet-ins: N simulated switches in one process, with frames that were made before the clock runs.

In closed loop each switch has a fixed number of packet-ins under way and sends the next when one is answered; in open
loop they are sent on schedule, whatever the controller does. What answers a packet-in is the flow-mod with the flow's
source address and port; with ``by_echo`` it is the reply to an echo request behind a bunch of copies, for a controller
that takes copies in and has nothing to say.

A switch whose connection is full keeps what it cannot send, up to :data:`MOST_WAITING` bytes, and drops the rest, as
Open vSwitch does with packets for a controller that does not read.
"""

from __future__ import annotations

import selectors
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from bench.controller.processes import spawned
from bench.controller.recording import ECHO_REQUEST, HEADER, PACKET_IN, UPLINK, Recording
from bench.controller.switches import Switch, Templates

from flowlane.southbound.openflow.wire.constants import OPENFLOW_13

BUNCH = 64
"""Copies before each echo request."""

TICK = 0.002
"""Seconds between two moments at which an open loop sends."""

GRACE = 3.0
"""Seconds after the last packet-in in which answers are taken."""

MOST_WAITING = 100 * 112
"""Bytes that a switch keeps for a connection that is full: 100 packet-ins (Open vSwitch, ofproto/connmgr.c)."""

PEER_MAC = bytes.fromhex("02ff00000001")
"""Destination of all flows, which is behind the uplink."""

_CHUNK = 1 << 18
_BETWEEN = 4096
"""Flows that are made before the connections are served again."""
_IPV4_SRC, _TCP_SRC = bytes.fromhex("80001604"), bytes.fromhex("80001a02")
_ECHO_LENGTH = HEADER.size + 4
_SOURCE, _SOURCE_PORT = 26, 34
"""Where a frame has its source address and source port (untagged, no options)."""


class Load(NamedTuple):
    """What to send.

    ``rate``: packet-ins a second in all, 0 for a closed loop with ``window`` under way on each switch. ``by_echo``:
    what is sent are copies, which have no answer. ``plain``: packet-ins as a switch without Flowlane's tables sends
    them, with the ingress port alone.
    """

    seconds: float
    rate: int = 0
    window: int = 32
    by_echo: bool = False
    plain: bool = False


class Seen(NamedTuple):
    """What came of it; waits in seconds. ``sent`` is without ``dropped``, what full connections did not take.

    ``wrong``: flow-mods for no flow that was sent; ``moved``: those for a flow that had its answer already.
    ``after_s``: how long after the last one all were answered; :data:`GRACE` at most.
    """

    seconds: float
    sent: int
    answered: int
    wrong: int
    moved: int
    dropped: int
    median_s: float
    p99_s: float
    after_s: float


class Loaded(Switch):
    """A switch that knows which of its flows were answered."""

    def __init__(self, templates: Templates, index: int, port: int) -> None:
        super().__init__(templates, index)
        self.sock = self.connected(port)
        self.outbox = bytearray()
        self.is_watched = False
        """Whether the event loop waits until the connection takes more."""
        self.ready: deque[tuple[bytes, bytes]] = deque()
        """Flows that have not begun."""
        self.clear()

    def clear(self) -> None:
        """Forget what was measured."""
        self.under_way: dict[bytes, float] = {}
        """Source address and port of a flow -> when its packet-in was sent."""
        self.bunches: deque[tuple[int, float]] = deque()
        """Copies before each echo request that waits for its reply, and when they were sent."""
        self.waits: list[float] = []
        self.known: set[bytes] = set()
        """Flows that were begun."""
        self.sent = self.answered = self.wrong = self.moved = self.dropped = self.copies_under_way = 0

    def take_flow_mod(self, data: bytes, at: int, end: int) -> None:
        """Take the answer to a packet-in, or an entry that is none."""
        port = data.find(_TCP_SRC, at + 48, end)
        address = data.find(_IPV4_SRC, at + 48, port) if port > 0 else -1
        if address < 0:
            super().take_flow_mod(data, at, end)
            return
        then = self.under_way.pop(data[address + 4 : address + 8] + data[port + 4 : port + 6], None)
        if then is None:
            is_known = data[address + 4 : address + 8] + data[port + 4 : port + 6] in self.known
            self.moved += is_known
            self.wrong += not is_known
        else:
            self.answered += 1
            self.waits.append(time.monotonic() - then)

    def receive(self) -> None:
        """Take what has come and send the replies."""
        data = self.sock.recv(_CHUNK)
        if not data:
            raise ConnectionResetError("the controller ended a connection")
        now, echoes = time.monotonic(), self.echoes
        reply = self.take(data, now)
        if reply:
            self.send(reply)
        for _ in range(min(self.echoes - echoes, len(self.bunches))):
            count, then = self.bunches.popleft()
            self.answered += count
            self.copies_under_way -= count
            self.waits.append(now - then)

    def begin_ready(self, count: int, *, by_echo: bool) -> None:
        """Begin flows that were prepared."""
        now = time.monotonic()
        if len(self.outbox) > MOST_WAITING:
            self.dropped += count
            return
        flows = [self.ready.popleft() for _ in range(min(count, len(self.ready)))]
        self.sent += len(flows)
        out = b"".join(packet for packet, _ in flows)
        if by_echo:
            self.list_entries([row for _, row in flows], now)
            self.bunches.append((len(flows), now))
            self.copies_under_way += len(flows)
            out += HEADER.pack(OPENFLOW_13, ECHO_REQUEST, _ECHO_LENGTH, 7) + b"load"
        else:
            self.under_way.update((key, now) for _, key in flows)
            self.known.update(key for _, key in flows)
        self.send(out)

    def send(self, data: bytes) -> None:
        """Send bytes; what the connection does not take waits."""
        self.outbox += data
        self.flush()

    def flush(self) -> None:
        """Send what waits."""
        with suppress(BlockingIOError):
            while self.outbox:
                del self.outbox[: self.sock.send(memoryview(self.outbox)[:_CHUNK])]


def plain_packet_in(frame: bytes, in_port: int) -> bytes:
    """Make a packet-in of a frame that matched no entry, unbuffered (OpenFlow 1.3.5 section 7.4.1)."""
    match = struct.pack("!HHIIxxxx", 1, 12, 0x80000004, in_port)
    body = struct.pack("!IHBBQ", 0xFFFFFFFF, len(frame), 0, 0, 0) + match + b"\0\0" + frame
    return HEADER.pack(OPENFLOW_13, PACKET_IN, 8 + len(body), 0) + body


class Loader:
    """The event loop of all switches."""

    def __init__(self, recording: Recording, count: int, port: int) -> None:
        self._templates = Templates(recording)
        self._switches = [Loaded(self._templates, index, port) for index in range(count)]
        self._selector = selectors.EpollSelector()
        for switch in self._switches:
            self._selector.register(switch.sock, selectors.EVENT_READ, switch)

    @property
    def is_programmed(self) -> bool:
        """Whether all have their entries."""
        return all(switch.is_programmed for switch in self._switches)

    def serve(self, until: float) -> None:
        """Take what comes and send what waits, until a moment or the first bytes."""
        for switch in self._switches:
            if bool(switch.outbox) != switch.is_watched:
                switch.is_watched = bool(switch.outbox)
                waits = selectors.EVENT_WRITE if switch.outbox else 0
                self._selector.modify(switch.sock, selectors.EVENT_READ | waits, switch)
        for key, mask in self._selector.select(max(0.0, until - time.monotonic())):
            if mask & selectors.EVENT_READ:
                key.data.receive()
            if mask & selectors.EVENT_WRITE:
                key.data.flush()

    def announce(self) -> None:
        """Send a packet-in from the destination of all flows, so that a controller learns where it is."""
        frame = bytes.fromhex("ffffffffffff") + PEER_MAC + bytes.fromhex("0806") + bytes(46)
        for switch in self._switches:
            switch.send(plain_packet_in(frame, UPLINK))

    def prepare(self, count: int, load: Load) -> None:
        """Make so many flows on each switch, ready to begin."""
        places, start = self._templates.of_packet_in
        port_at = places["in_port"]
        for switch in self._switches:
            switch.clear()
            switch.ready.clear()
            for number in range(count):
                if not number % _BETWEEN:
                    self.serve(0.0)  # A silent switch would be given up.
                copy, row = switch.prepare(1)[0]
                frame = copy[start:]
                in_port = copy[port_at.start : port_at.end]
                packet = plain_packet_in(frame, int.from_bytes(in_port)) if load.plain else copy
                key = frame[_SOURCE : _SOURCE + 4] + frame[_SOURCE_PORT : _SOURCE_PORT + 2]
                switch.ready.append((packet, row if load.by_echo else key))

    def run(self, load: Load) -> Seen:
        """Send a load; return what came of it."""
        begin = time.monotonic()
        end = begin + load.seconds
        if load.rate:
            self._on_schedule(load, begin, end)
        else:
            self._closed(load, end)
        seconds = time.monotonic() - begin
        answered = sum(switch.answered for switch in self._switches)
        ended = time.monotonic()
        last = ended + GRACE
        while time.monotonic() < last and any(
            switch.under_way or switch.bunches for switch in self._switches
        ):
            self.serve(last)
        after = time.monotonic() - ended
        if load.rate:
            answered = sum(switch.answered for switch in self._switches)
        waits = sorted(wait for switch in self._switches for wait in switch.waits) or [float("nan")]
        return Seen(
            seconds,
            sum(switch.sent for switch in self._switches),
            answered,
            sum(switch.wrong for switch in self._switches),
            sum(switch.moved for switch in self._switches),
            sum(switch.dropped for switch in self._switches),
            waits[len(waits) // 2],
            waits[int(0.99 * len(waits))],
            after,
        )

    def _closed(self, load: Load, end: float) -> None:
        while time.monotonic() < end:
            for switch in self._switches:
                if switch.outbox:
                    continue  # What waits for the connection is under way.
                if load.by_echo:
                    while (
                        not switch.outbox and switch.copies_under_way + BUNCH <= load.window and switch.ready
                    ):
                        switch.begin_ready(BUNCH, by_echo=True)
                elif (room := load.window - len(switch.under_way)) > 0 and switch.ready:
                    switch.begin_ready(room, by_echo=False)
            self.serve(end)

    def _on_schedule(self, load: Load, begin: float, end: float) -> None:
        sent, number, at = 0, 0, begin
        while (now := time.monotonic()) < end:
            due = int((now - begin) * load.rate) - sent
            share = -(-due // len(self._switches))
            while due > 0:
                switch = self._switches[number % len(self._switches)]
                number += 1
                switch.begin_ready(min(share, due), by_echo=load.by_echo)
                sent += min(share, due)
                due -= share
            at = max(at + TICK, now)
            while time.monotonic() < at:
                self.serve(at)


def _serve(recording: Recording, count: int, port: int, commands: Connection) -> None:
    loader = Loader(recording, count, port)
    commands.send(None)
    while True:
        loader.serve(time.monotonic() + 0.02)
        if not commands.poll():
            continue
        name, *values = commands.recv()
        if name == "stop":
            return
        commands.send(getattr(loader, name)(*values) if name != "programmed" else loader.is_programmed)


class Running:
    """A load in a process of its own."""

    def __init__(self, commands: Connection) -> None:
        self._commands = commands

    def ask(self, *command: object) -> Any:
        """Call a method of :class:`Loader` there; ``programmed`` returns whether all switches have their entries."""
        self._commands.send(command)
        return self._commands.recv()


@contextmanager
def started(recording: Recording, count: int, port: int) -> Iterator[Running]:
    """Run a load generator for the duration of the block; its switches connect at once."""
    with spawned(_serve, recording, count, port, stop=("stop",)) as commands:
        commands.recv()
        yield Running(commands)
