"""Faults of a switch, each a case: what it does, how often in the full trial, and what must become of its connection.

A case gets a :class:`Site` and a number of times, and returns what it left open. ``ends``: a part of the line in the
log by which the controller ends the connection; None: the switch does nothing that it must be dropped for.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from struct import pack, unpack_from
from typing import NamedTuple
from urllib.request import Request, urlopen

from bench.bounds import switch as sw
from bench.bounds.switch import Background, Switch, message, multipart, parts


class Site(NamedTuple):
    """A running controller: its ports for switches and for REST; where what a case opens is closed at its end."""

    port: int
    rest: int
    open: ExitStack
    patience: float
    """Seconds for which the end of a connection is waited for."""


class Case(NamedTuple):
    """One fault: ``run`` takes the site and how often; ``full`` and ``short`` say how often."""

    run: Callable[[Site, int], Switch | None]
    full: int
    short: int
    what: str
    ends: str | None = None


BAD = 0xBAD
ASSIGN = 4
"""The table with pins, where the switch has all tables (see :class:`.tables.pipeline.TableId`)."""

XID_AT = 4


def _xid(request: bytes) -> int:
    return int(unpack_from("!I", request, XID_AT)[0])


def _bad(site: Site, replies: sw.Replies | None = None, ports: int = 2, dpid: int = BAD) -> Switch:
    made = Switch(site.port, dpid, replies, ports)
    site.open.callback(made.sock.close)
    return made


def _drained(switch: Switch, seconds: float) -> Switch:
    """Wait until the controller has read all that was sent: it replies to an echo request behind it."""
    switch.send(message(sw.ECHO_REQUEST, b"end", 0xE0D))
    deadline = time.monotonic() + seconds
    while not switch.is_closed and time.monotonic() < deadline:
        switch.sock.settimeout(0.2)
        if any(received[1] == sw.ECHO_REPLY and received[8:] == b"end" for received in switch.read()):
            break
    return switch


def _sends(switch: Switch, data: Iterable[bytes], seconds: float) -> Switch:
    """Connect, send all of it as fast as it is read, and wait until it was."""
    switch.connect()
    reader = Background(switch)
    chunk = bytearray()
    for one in data:
        chunk += one
        if len(chunk) > 1 << 16:
            if not switch.send(bytes(chunk)):
                break
            chunk.clear()
    switch.send(bytes(chunk))
    reader.stop()
    return _drained(switch, seconds)


def _closed(switch: Switch, seconds: float) -> Switch:
    """Reply until the controller has ended the connection."""
    switch.serve(seconds)
    return switch


# ---- much of what is allowed


def port_status(site: Site, count: int) -> Switch:
    data = (sw.port_status(number + 3) for number in range(count))
    return _sends(_bad(site), data, site.patience)


MANY = 5000
"""Ports, queues or entries from which a connection takes seconds."""

BARRIERS = 5
"""Barriers after which a switch has a part of its plan: four are behind the probes of the handshake."""


def _taken_in(switch: Switch, count: int, seconds: float) -> Switch:
    """Connect; of many things, reply until they were taken in and the plan comes."""
    switch.connect(seconds)
    deadline = time.monotonic() + seconds
    while count >= MANY and time.monotonic() < deadline and not switch.is_closed:
        switch.serve(0.2)
        if switch.requests.count((sw.BARRIER_REQUEST, -1)) >= BARRIERS:
            break
    return _drained(switch, seconds)


def ports(site: Site, count: int) -> Switch:
    return _taken_in(_bad(site, ports=count), count, site.patience)


QUEUES_OF_PORT = 4000
"""What one queue-get-config reply has room for."""


def queues(site: Site, count: int) -> Switch:
    def of_port(request: bytes) -> Iterator[bytes]:
        port_no = unpack_from("!I", request, 8)[0]
        if port_no == 0xFFFFFFFF:
            yield message(sw.ERROR, pack("!HH", 1, 1) + request, _xid(request))
            return
        of_it = min(QUEUES_OF_PORT, max(0, count - QUEUES_OF_PORT * (port_no - 1)))
        body = b"".join(sw.queue(port_no, number) for number in range(of_it))
        yield message(sw.QUEUE_CONFIG_REPLY, pack("!I4x", port_no) + body, _xid(request))

    many = -(-count // QUEUES_OF_PORT)
    made = _bad(site, {(sw.QUEUE_CONFIG_REQUEST, -1): of_port}, ports=many)
    return _taken_in(made, count, site.patience)


def _entries(site: Site, items: Callable[[], Iterable[bytes]], count: int = 0) -> Switch:
    def reply(request: bytes) -> Iterable[bytes]:
        return parts(sw.FLOWS, items(), _xid(request))

    made = _bad(site, {(sw.MULTIPART_REQUEST, sw.FLOWS): reply})
    return _taken_in(made, count, site.patience)


def foreign_entries(site: Site, count: int) -> Switch:
    step = pack("!HHB3x", 1, 8, 9)
    return _entries(site, lambda: (sw.flow(n, sw.tcp_match(n), n % 9, step) for n in range(count)), count)


def learned_entries(site: Site, count: int) -> Switch:
    return _entries(
        site, lambda: (sw.flow(sw.LEARNED | n * 77_777 & 0xFFFFFFFF, sw.tcp_match(n)) for n in range(count))
    )


def pinned_entries(site: Site, count: int) -> Switch:
    """Pins whose cookies have rows of any size: up to 2^32 - 1."""
    step = sw.apply_queue(1) + pack("!HHB3x", 1, 8, 8)
    rows = (0xFFFFFFFF - n * 65_537 & 0xFFFFFFFF for n in range(count))
    pins = [sw.flow(sw.PIN | row, sw.tcp_match(n), ASSIGN, step) for n, row in enumerate(rows)]
    return _entries(site, lambda: pins, count)


def errors(site: Site, count: int) -> Switch:
    data = (message(sw.ERROR, pack("!HH", 5, 1) + bytes(64), n) for n in range(count))
    return _sends(_bad(site), data, site.patience)


def barrier_replies(site: Site, count: int) -> Switch:
    return _sends(_bad(site), (message(sw.BARRIER_REPLY, b"", n) for n in range(count)), site.patience)


def garbage_packets(site: Site, count: int) -> Switch:
    noise = random.Random(7)
    data = (
        sw.packet_in(n, noise.randbytes(noise.randrange(100)), noise.choice((sw.WAITING, sw.PIN, n)))
        for n in range(count)
    )
    return _sends(_bad(site), data, site.patience)


def new_flows(site: Site, count: int) -> Switch:
    """Packets of new flows, each of its own source."""
    data = (sw.packet_in(n, sw.frame(n, 1 + n % 3)) for n in range(count))
    return _sends(_bad(site), data, site.patience)


# ---- values that do not fit


def queue_ids(site: Site, count: int) -> Switch:
    """Queue ids and port numbers of all ones, in the queues and in their counters."""
    items = [sw.queue(port_no, 0xFFFFFFFF - n) for port_no in (1, 2, 0xFFFFFFFF) for n in range(count)]

    def queues_of(request: bytes) -> Iterable[bytes]:
        yield message(sw.QUEUE_CONFIG_REPLY, pack("!I4x", 0xFFFFFFFF) + b"".join(items), _xid(request))

    def counters(request: bytes) -> Iterable[bytes]:
        ones = (
            pack("!IIQQQII", p, 0xFFFFFFFF, *(5 * (2**64 - 2,))[:3], 2**32 - 1, 2**32 - 1) for p in (1, 2)
        )
        yield multipart(sw.QUEUE_STATS, b"".join(ones), _xid(request))

    replies = {(sw.QUEUE_CONFIG_REQUEST, -1): queues_of, (sw.MULTIPART_REQUEST, sw.QUEUE_STATS): counters}
    made = _bad(site, replies).connect()
    made.serve(1.0)
    return _drained(made, site.patience)


def flow_fields(site: Site, count: int) -> Switch:
    """Entries of ours with all fields at their ends, in the handshake and whenever they are read."""
    big = {"seconds": 2**32 - 1, "nanoseconds": 2**32 - 1, "packets": 2**64 - 1, "octets": 2**64 - 1}
    big |= {"priority": 0xFFFF, "idle": 0xFFFF, "hard": 0xFFFF, "flags": 0xFFFF}
    kinds = [0xF10A << 48 | kind << 44 | low for kind in range(8) for low in (0, 0xFFFFFFFFFFF, 0xFFFFFFFF)]
    steps = (b"", sw.apply_queue(0xFFFFFFFF), pack("!HHB3x", 1, 8, 0xFF), pack("!HHI", 6, 8, 0xFFFFFFFF))

    def items() -> Iterator[bytes]:
        for n in range(count):
            matched = sw.tcp_match(n, 0xFFFFFFFF if n % 2 else 1, 0xFFFFFFFF)
            yield sw.flow(kinds[n % len(kinds)], matched, n % 256, steps[n % len(steps)], **big)

    made = _entries(site, items)
    for kind in kinds[9:15]:
        head = pack("!QHBBIIHHQQ", kind, 0xFFFF, 0, 7, 2**32 - 1, 2**32 - 1, 9, 9, 2**64 - 1, 2**64 - 1)
        made.send(message(sw.FLOW_REMOVED, head + sw.tcp_match(1, 0xFFFFFFFF, 0xFFFFFFFF)))
    made.serve(1.0)
    return _drained(made, site.patience)


def field_lengths(site: Site, count: int) -> Switch:
    """OXM fields of a wrong length in entries with cookies of ours: a reader must refuse them."""

    def items() -> Iterator[bytes]:
        for n in range(count):
            cookie = 0xF10A << 48 | (1 + n % 5) << 44 | n
            wrong = sw.match(
                sw.oxm(n % 40, bytes(n % 17)), sw.oxm(5, bytes(1 + n % 4)), sw.oxm(11, bytes(n % 9))
            )
            yield sw.flow(cookie, wrong, n % 9)

    return _entries(site, items)


# ---- replies that do not end


def _endless(kind: int, item: bytes, request: bytes, count: int) -> Iterator[bytes]:
    body = item * (sw.MAX_BODY // len(item))
    for _ in range(count):
        yield multipart(kind, body, _xid(request), more=True)


def endless_asked(site: Site, count: int) -> Switch:
    """The entries of the handshake come without an end, each of them ours."""
    item = sw.flow(0xF10A << 48 | 2 << 44, sw.tcp_match(1), 7, sw.apply_queue(1))
    replies = {(sw.MULTIPART_REQUEST, sw.FLOWS): lambda request: _endless(sw.FLOWS, item, request, count)}
    made = _bad(site, replies)
    made.connect(site.patience)
    return _closed(made, site.patience)


def endless_ports(site: Site, count: int) -> Switch:
    """The ports, which os-ken itself requests before the connection is a device's."""
    numbers = iter(range(1, 1 << 30))

    def reply(request: bytes) -> Iterator[bytes]:
        for _ in range(count):
            yield multipart(
                sw.PORTS, b"".join(sw.port(next(numbers)) for _ in range(1000)), _xid(request), more=True
            )

    made = _bad(site, {(sw.MULTIPART_REQUEST, sw.PORTS): reply})
    made.connect(site.patience)
    return _closed(made, site.patience)


def endless_unasked(site: Site, count: int) -> Switch:
    """Parts of replies that nobody has requested."""
    made = _bad(site).connect()
    item = sw.flow(7, sw.tcp_match(1), 7)
    body = item * (sw.MAX_BODY // len(item))
    for n in range(count):
        if not made.send(multipart(sw.FLOWS, body, 0x7000_0000 + n, more=True)):
            break
    return _closed(made, site.patience)


# ---- bytes that are wrong, late or never read


def changed_bytes(site: Site, count: int) -> None:
    """Sessions in which some bytes are changed at random."""
    noise = random.Random(11)
    step = sw.apply_queue(1) + pack("!HHB3x", 1, 8, 8)
    for n in range(count):
        made = _bad(site, dpid=BAD + n % 7)
        send = made.send

        def spoiled(data: bytes, send: Callable[[bytes], bool] = send) -> bool:
            changed = bytearray(data)
            if noise.random() < 0.3:
                for _ in range(noise.randrange(1, 4)):
                    changed[noise.randrange(len(changed))] = noise.randrange(256)
            return send(bytes(changed))

        def entries(request: bytes) -> Iterable[bytes]:
            kinds = (sw.flow(0xF10A << 48 | k << 44 | k, sw.tcp_match(k), 7, step) for k in range(1, 6))
            return parts(sw.FLOWS, kinds, _xid(request))

        made._replies[sw.MULTIPART_REQUEST, sw.FLOWS] = entries
        made.send = spoiled  # type: ignore[method-assign]
        made.send(message(sw.HELLO, pack("!HHI", 1, 8, 1 << sw.OF13)))
        made.serve(0.6, quiet=0.1)
        for kind in range(20):
            made.send(sw.packet_in(kind, sw.frame(kind), 0xF10A << 48 | kind % 6 << 44))
            made.send(sw.port_status(kind))
        made.serve(0.2, quiet=0.05)
        made.sock.close()


def resets(site: Site, count: int) -> None:
    """Connections that are reset, each after a part of the greeting."""
    hello = message(sw.HELLO, pack("!HHI", 1, 8, 1 << sw.OF13))
    for n in range(count):
        sock = socket.create_connection(("127.0.0.1", site.port), 30)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(hello[: n % (len(hello) + 1)])
        sock.close()


def half_messages(site: Site, count: int) -> None:
    """A connected switch, and one that greets, send a byte a second of a message that is long."""
    bytewise = message(sw.PACKET_IN, bytes(60_000))
    connected = _bad(site).connect()
    others = [socket.create_connection(("127.0.0.1", site.port), 30) for _ in range(20)]
    for other in others:
        site.open.callback(other.close)
    reader = Background(connected)
    for n in range(count):
        connected.send(bytewise[n : n + 1])
        for other in others:
            try:
                other.send(message(sw.HELLO, bytes(60_000))[n : n + 1])
            except OSError:
                continue
        time.sleep(1.0)
    reader.stop()


def silent(site: Site, count: int) -> None:
    """Connections that send nothing."""
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", site.port), 30)
        site.open.callback(sock.close)
    time.sleep(1.0)


def silent_session(site: Site, count: int) -> Switch:  # noqa: ARG001
    """A connected switch that sends nothing any more."""
    made = _bad(site).connect()
    deadline = time.monotonic() + site.patience
    made.is_mute = True
    while not made.is_closed and time.monotonic() < deadline:
        made.sock.settimeout(0.5)
        made.read()
    return made


def not_reading(site: Site, count: int) -> Switch:
    """A switch that asks and asks, and reads no answer."""
    made = _bad(site).connect()
    made.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.sock.settimeout(site.patience)
    data = b"".join(message(sw.ECHO_REQUEST, bytes(1000), n) for n in range(60))
    for _ in range(count):
        if not made.send(data):
            return made
    deadline = time.monotonic() + site.patience
    while time.monotonic() < deadline and not made.is_closed:
        time.sleep(0.2)
        made.send(message(sw.ECHO_REPLY))
    return made


# ---- what operators order while it is connected


def rules(site: Site, count: int) -> Switch:
    """A switch with eight queues gets a policy of so many rules; REST answers when the policy is in force."""

    def of_port(request: bytes) -> Iterator[bytes]:
        numbers = range(8) if unpack_from("!I", request, 8)[0] == 1 else ()
        body = b"".join(sw.queue(1, number) for number in numbers)
        yield message(sw.QUEUE_CONFIG_REPLY, request[8:12] + bytes(4) + body, _xid(request))

    made = _bad(site, {(sw.QUEUE_CONFIG_REQUEST, -1): of_port}).connect()
    reader = Background(made)
    lines = (
        f"  - {{name: r{n}, match: {{protocol: tcp, dst-port: {n}}}, class: {'ab'[n % 2]}}}\n"
        for n in range(1, count + 1)
    )
    text = "version: 1\ndefault: a\nclasses: {a: {}, b: {limit: 5Mbit/s}}\nrules:\n" + "".join(lines)
    url, headers = f"http://127.0.0.1:{site.rest}/v1/policy", {"Content-Type": "application/yaml"}
    with urlopen(Request(url, text.encode(), headers, method="PUT"), timeout=site.patience):
        pass
    reader.stop()
    return _drained(made, site.patience)


# ---- who is who


def reconnections(site: Site, count: int) -> None:
    """One switch connects again and again."""
    for _ in range(count):
        _short_session(site, BAD)


def many_dpids(site: Site, count: int) -> None:
    """Each connection has a datapath id of its own."""
    for n in range(count):
        _short_session(site, 0xD000_0000 + n)


def _short_session(site: Site, dpid: int) -> None:
    """Connect, get the plan, and be gone."""
    with Switch(site.port, dpid) as made:
        made.send(message(sw.HELLO, pack("!HHI", 1, 8, 1 << sw.OF13)))
        made.serve(site.patience, quiet=0.03)


CASES: dict[str, Case] = {
    "port-status": Case(port_status, 5000, 300, "port-status messages, each of a new port"),
    "ports": Case(ports, 20_000, 1000, "ports at connect"),
    "queues": Case(queues, 100_000, 4000, "queues at connect"),
    "foreign entries": Case(foreign_entries, 50_000, 1000, "entries of others at connect"),
    "learned entries": Case(learned_entries, 50_000, 1000, "learned entries at connect, of any group"),
    "pins": Case(pinned_entries, 50_000, 1000, "pins at connect, of rows of any size"),
    "errors": Case(errors, 20_000, 500, "errors about nothing that was sent"),
    "barrier replies": Case(barrier_replies, 20_000, 500, "replies to barriers that were not sent"),
    "garbage packets": Case(garbage_packets, 20_000, 500, "packet-ins with random bytes"),
    "new flows": Case(new_flows, 20_000, 500, "packet-ins of new flows"),
    "queue ids": Case(queue_ids, 1000, 10, "queue ids and port numbers of all ones"),
    "flow fields": Case(flow_fields, 2000, 100, "entries whose fields are at their ends"),
    "field lengths": Case(field_lengths, 20_000, 200, "entries with OXM fields of a wrong length"),
    "endless, asked": Case(
        endless_asked, 8000, 800, "parts of 64 kB of the entries", "takes more than 32 MB"
    ),
    "endless, ports": Case(endless_ports, 8000, 800, "parts of 64 kB of the ports", "more than 4 MB before"),
    "endless, unasked": Case(
        endless_unasked, 8000, 800, "parts of 64 kB that nobody requested", "that nobody requested"
    ),
    "changed bytes": Case(changed_bytes, 300, 5, "sessions in which bytes are changed at random"),
    "resets": Case(resets, 1000, 50, "connects and resets"),
    "half messages": Case(half_messages, 60, 2, "seconds of messages that come a byte a second"),
    "silent": Case(silent, 2000, 50, "connections that send nothing"),
    "silent session": Case(silent_session, 1, 0, "connected switch that falls silent", "no message for"),
    "not reading": Case(
        not_reading,
        20_000,
        400,
        "writes of 60 kB by one that reads nothing",
        "reads too slowly|does not read what is sent to it",
    ),
    "rules": Case(rules, 15_000, 200, "rules of a policy that is replaced over REST"),
    "reconnections": Case(reconnections, 500, 5, "connections of one switch"),
    "dpids": Case(many_dpids, 500, 5, "connections, each with a datapath id of its own"),
}
