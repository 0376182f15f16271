"""Many small flows out of one process, for the demo and the tests; bulk transfers are iperf3's business.

Only the standard library, so that it runs in any Mininet host:

    traffic.py serve --ports 7000-7003                          answer UDP and TCP requests, IPv4 and IPv6
    traffic.py flows --to 10.0.0.100 --port 7000 --udp 20 --tcp 5 --interval 0.2 --seconds 30 --dscp 46
    traffic.py frames --kind sctp --to 10.0.0.100 --interface vm1-eth0 ...     what sockets cannot send everywhere

``flows`` prints two lines of JSON: first its flows, [protocol, source, source port, destination, destination
port] each, then when it ends (or is told to, by SIGTERM) requests sent, answered, and times in ms.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, cast

Opened = tuple[list[str | int], Callable[[], object]]
"""A flow as its sender names it, and what sends the next request."""

STAMP = struct.Struct("!Id")
ETHERTYPE_EXPERIMENT = 0x88B5  # IEEE Std 802, local experimental ethertype 1
UDP, SCTP = 17, 132


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def mark(sock: socket.socket, dscp: int) -> None:
    """DSCP is the upper six bits of the old TOS byte and of IPv6's traffic class (RFC 2474)."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


async def serve(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    first, _, last = arguments.ports.partition("-")
    for port in range(int(first), int(last or first) + 1):
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", port))
        await loop.create_datagram_endpoint(Echo, sock=sock)
        await asyncio.start_server(echo_stream, host=None, port=port)
    print("serving", flush=True)
    await asyncio.Event().wait()


class Tally:
    """What all flows of this process have seen together."""

    def __init__(self) -> None:
        self.sent = 0
        self.times: list[float] = []

    def request(self, size: int) -> bytes:
        self.sent += 1
        return STAMP.pack(self.sent, time.monotonic()).ljust(size, b".")

    def answer(self, data: bytes) -> None:
        self.times.append(time.monotonic() - STAMP.unpack_from(data)[1])

    def summary(self) -> dict[str, float]:
        times = sorted(self.times) or [0.0]
        return {
            "sent": self.sent,
            "answered": len(self.times),
            "p50_ms": round(1000 * times[len(times) // 2], 3),
            "p99_ms": round(1000 * times[len(times) * 99 // 100], 3),
        }


class Asker(asyncio.DatagramProtocol):
    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    def datagram_received(self, data: bytes, _address: Any) -> None:
        self.tally.answer(data)

    def error_received(self, _error: Exception) -> None:
        """A refused or unreachable answer counts as none."""


def named(protocol: str, sock: socket.socket) -> list[str | int]:
    source, destination = sock.getsockname(), sock.getpeername()
    return [protocol, source[0], source[1], destination[0], destination[1]]


async def open_udp(arguments: argparse.Namespace, tally: Tally) -> Opened:
    sock = socket.socket(family_of(arguments.to), socket.SOCK_DGRAM)
    mark(sock, arguments.dscp)
    sock.connect((arguments.to, arguments.port))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Asker(tally), sock=sock)
    return named("udp", sock), lambda: transport.sendto(tally.request(arguments.size))


async def open_tcp(arguments: argparse.Namespace, tally: Tally) -> Opened:
    sock = socket.socket(family_of(arguments.to), socket.SOCK_STREAM)
    mark(sock, arguments.dscp)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (arguments.to, arguments.port))
    reader, writer = await asyncio.open_connection(sock=sock)

    async def read_answers() -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                tally.answer(await reader.readexactly(arguments.size))

    task = asyncio.get_running_loop().create_task(read_answers())

    def ask() -> None:
        if not task.done():
            writer.write(tally.request(arguments.size))

    return named("tcp", sock), ask


async def keep_asking(ask: Callable[[], object], arguments: argparse.Namespace, delay: float) -> None:
    await asyncio.sleep(delay)
    while True:
        ask()
        await asyncio.sleep(arguments.interval)


async def flows(arguments: argparse.Namespace) -> None:
    tally = Tally()
    opened = [await open_udp(arguments, tally) for _ in range(arguments.udp)]
    opened += [await open_tcp(arguments, tally) for _ in range(arguments.tcp)]
    print(json.dumps([name for name, _ in opened]), flush=True)
    # Flows start one after the other within an interval: real ones are not in step either.
    gap = arguments.interval / max(1, len(opened))
    tasks = [asyncio.create_task(keep_asking(ask, arguments, n * gap)) for n, (_, ask) in enumerate(opened)]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), arguments.seconds)
    for task in tasks:
        task.cancel()
    await asyncio.sleep(min(0.5, arguments.interval))
    print(json.dumps(tally.summary()), flush=True)


def ip_packet(arguments: argparse.Namespace, protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet, header checksum and all (RFC 791)."""
    source, destination = (ipaddress.ip_address(text).packed for text in (arguments.source, arguments.to))
    length = 20 + len(payload)
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, arguments.dscp << 2, length, 0, 0, 64, protocol, 0, source, destination
    )
    total: int = sum(struct.unpack("!10H", head))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:] + payload


def udp_datagram(arguments: argparse.Namespace) -> bytes:
    """A UDP checksum of 0 means that there is none (RFC 768)."""
    payload = b"tagged".ljust(32, b".")
    return struct.pack("!HHHH", arguments.source_port, arguments.port, 8 + len(payload), 0) + payload


def sctp_packet(arguments: argparse.Namespace) -> bytes:
    """Common header and one COOKIE-ECHO chunk (RFC 9260); nobody has to answer it."""
    return struct.pack("!HHII", arguments.source_port, arguments.port, 1, 0) + b"\x0a\x00\x00\x08flow"


def announcement(arguments: argparse.Namespace, operation: int) -> bytes:
    """The body of an ARP or RARP packet in which sender and target are the same (RFC 826, RFC 903, RFC 5227)."""
    address = ipaddress.ip_address("0.0.0.0" if operation > 2 else arguments.source).packed
    both: bytes = (arguments.own_mac + address) * 2
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + both


# A frame's bytes after its two addresses.
KINDS: dict[str, Callable[[argparse.Namespace], bytes]] = {
    "arp": lambda a: struct.pack("!H", 0x0806) + announcement(a, 1),
    "rarp": lambda a: struct.pack("!H", 0x8035) + announcement(a, 3),
    "ethertype": lambda _: struct.pack("!H", ETHERTYPE_EXPERIMENT) + b"layer two".ljust(46, b"."),
    "sctp": lambda a: struct.pack("!H", 0x0800) + ip_packet(a, SCTP, sctp_packet(a)),
    "vlan": lambda a: (
        struct.pack("!HHH", 0x8100, a.pcp << 13 | a.vlan, 0x0800) + ip_packet(a, UDP, udp_datagram(a))
    ),
}


async def frames(arguments: argparse.Namespace) -> None:
    """Frames made by hand: Mininet hosts' kernels may lack SCTP and VLAN interfaces."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind((arguments.interface, 0))
    arguments.own_mac = sock.getsockname()[4]
    addresses = bytes.fromhex(arguments.to_mac.replace(":", "")) + arguments.own_mac
    frame = addresses + KINDS[arguments.kind](arguments)
    end = time.monotonic() + arguments.seconds
    sock.send(frame)
    while time.monotonic() < end:
        sock.send(frame)
        await asyncio.sleep(arguments.interval)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    doing = parser.add_subparsers(required=True)
    server = doing.add_parser("serve")
    server.add_argument("--ports", required=True)
    server.set_defaults(do=serve)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--to", required=True)
    common.add_argument("--port", type=int, default=7000)
    common.add_argument("--interval", type=float, default=0.2, help="s between two requests of one flow")
    common.add_argument("--seconds", type=float, default=10)
    common.add_argument("--dscp", type=int, default=0)
    asker = doing.add_parser("flows", parents=[common])
    asker.add_argument("--udp", type=int, default=0, help="how many UDP flows")
    asker.add_argument("--tcp", type=int, default=0, help="how many TCP flows")
    asker.add_argument(
        "--size", type=int, default=64, help="bytes of a request and of its answer, 12 at least"
    )
    asker.set_defaults(do=flows)
    maker = doing.add_parser("frames", parents=[common])
    maker.add_argument("--kind", choices=sorted(KINDS), required=True)
    maker.add_argument("--interface", required=True)
    maker.add_argument("--source", default="0.0.0.0")
    maker.add_argument("--source-port", type=int, default=6000)
    maker.add_argument("--to-mac", required=True)
    maker.add_argument("--vlan", type=int, default=100)
    maker.add_argument("--pcp", type=int, default=0)
    maker.set_defaults(do=frames)
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(arguments.do(arguments))


if __name__ == "__main__":
    main()
