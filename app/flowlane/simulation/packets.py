"""Reader of packet captures, packet by packet: pcap and pcapng, compressed or not.

The formats are those of draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. What is read before a place where a
file is cut off or damaged is used, with a warning that names the place; a file with nothing before it is refused.
"""

from __future__ import annotations

from struct import Struct
from typing import IO, TYPE_CHECKING, NamedTuple

from flowlane.errors import RequestError
from flowlane.simulation.compression import DAMAGE, open_uncompressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOST_RECORD = 1 << 20
"""Bytes of a packet at most: libpcap's own bound is 256 KiB, so a longer one is a damaged length."""

MOST_BLOCK = 16 << 20
"""Bytes of a block of pcapng at most, as Wireshark has it."""


class Packet(NamedTuple):
    """A captured packet.

    ``time`` is seconds since 1970, None where the file has no time stamp for it. ``length`` is that on the wire,
    in bytes, of which ``data`` may be the beginning only.
    """

    time: float | None
    length: int
    link_type: int
    data: bytes


class _CutError(Exception):
    """The file ends, or its compressed data do, inside something."""


class _DamageError(Exception):
    """The file has something that cannot be."""


class Source:
    """Bytes of a capture, read in pieces.

    Attributes:
        place: offset of the next byte, of what was uncompressed.
        problem: what is wrong with compressed data, once they could not be read on.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.place = 0
        self.problem = ""

    def take(self, size: int) -> bytes:
        """Return so many bytes, fewer where the file ends or cannot be read on."""
        try:
            data = self._file.read(size)
        except DAMAGE as error:
            self.problem = str(error)
            return b""
        self.place += len(data)
        return data

    def whole(self, size: int) -> bytes:
        """Return so many bytes.

        Raises:
            _CutError: the file has fewer.
        """
        data = self.take(size)
        if len(data) < size:
            raise _CutError
        return data

    def begin(self, size: int) -> bytes:
        """Return so many bytes, none at all where the file ends in front of them.

        Raises:
            _CutError: the file ends after the first of them.
        """
        data = self.take(size)
        if (data or self.problem) and len(data) < size:
            raise _CutError
        return data


def read_packets(path: Path, warn: Callable[[str], None]) -> Iterator[Packet]:
    """Read the packets of a capture.

    Args:
        warn: is called with what is wrong with the file, where packets were read before that.

    Raises:
        RequestError: the file is no capture, or has no whole packet in front of what is wrong with it.
        OSError: the file cannot be opened.
    """
    with open_uncompressed(path) as file:
        source = Source(file)
        magic = source.take(4)
        reader = _READERS.get(magic)
        if reader is None:
            raise RequestError(f"{path}: {_other_file(magic + source.take(4), source.problem)}")
        count = 0
        begin = source.place
        try:
            for packet in reader(source, magic):
                count += 1
                yield packet
                begin = source.place
        except _CutError:
            what = f"cut off inside packet {count + 1}, at byte {source.place}"
            if source.problem:
                what += f" of what was compressed ({source.problem})"
            _report(path, what, count, warn)
        except _DamageError as error:
            _report(path, f"damaged behind byte {begin}, at packet {count + 1}: {error}", count, warn)


def _report(path: Path, what: str, count: int, warn: Callable[[str], None]) -> None:
    if not count:
        raise RequestError(f"{path}: no complete packet capture: {what}")
    before = "the packet" if count == 1 else f"the {count} packets"
    warn(f"{path}: {what}; {before} before that {'is' if count == 1 else 'are'} used")


_OTHER_FILES = {
    b"snoop\0\0\0": ("a capture of snoop (RFC 1761)", True),
    b"TRSNIFF ": ("a capture of Sniffer", True),
    b"GMBU": ("a capture of Microsoft's Network Monitor", True),
    b"RTSS": ("a capture of Microsoft's Network Monitor", True),
    b"\x0c\xa5": ("a file of nfdump; make CSV of it for --flows: nfdump -r FILE -o csv", False),
}
"""First bytes of files that are no pcap -> what they are, and whether editcap can convert them."""


def _other_file(head: bytes, problem: str) -> str:
    """Say what a file is that is no capture, by its first bytes."""
    for magic, (what, convertible) in _OTHER_FILES.items():
        if head.startswith(magic):
            remedy = "; convert it: editcap -F pcapng FILE NEW.pcapng" if convertible else ""
            return f"this is {what}{remedy}"
    if problem:
        return f"no complete packet capture: {problem}"
    if head and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head):
        return "no complete packet capture but text; flows as CSV or JSON are read by --flows"
    return "no complete packet capture: neither pcap nor pcapng"


# ---- pcap

_FORMS = {
    b"\xd4\xc3\xb2\xa1": ("<", 10**6, 0),
    b"\xa1\xb2\xc3\xd4": (">", 10**6, 0),
    b"\x4d\x3c\xb2\xa1": ("<", 10**9, 0),
    b"\xa1\xb2\x3c\x4d": (">", 10**9, 0),
    b"\x34\xcd\xb2\xa1": ("<", 10**6, 8),
    b"\xa1\xb2\xcd\x34": (">", 10**6, 8),
}
"""Magic number -> byte order, units of a second, and bytes between header and data of a record.

The last two are those of Kuznetzov's libpcap, which had interface and protocol there.
"""


def link_type_of(field: int) -> int:
    """Return the link type in a pcap header's last field.

    It is the low 16 bits. Bits 26 and 28 to 31 say how long the frame check sequence behind each frame is: it is in
    the length of each packet on the wire already.
    """
    return field & 0xFFFF


def _pcap(source: Source, magic: bytes) -> Iterator[Packet]:
    order, units, extra = _FORMS[magic]
    major, minor, _zone, _digits, _most, field = Struct(f"{order}HHiIII").unpack(source.whole(20))
    if major != 2:
        raise _DamageError(f"version {major}.{minor} of pcap is not known")
    link_type, header = link_type_of(field), Struct(f"{order}IIII")
    while head := source.begin(16):
        seconds, fraction, captured, length = header.unpack(head)
        if captured > MOST_RECORD or length > MOST_RECORD:
            raise _DamageError(f"a packet of {max(captured, length)} bytes")
        source.whole(extra)
        data = source.whole(captured)
        yield Packet(seconds + fraction / units, max(length, captured), link_type, data)


# ---- pcapng

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_TIME_RESOLUTION, _TIME_OFFSET = 9, 14
_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}


class _Interface(NamedTuple):
    """An interface of a section: link type, longest captured packet (0: any), units of a second, seconds to add."""

    link_type: int
    longest: int
    units: int
    offset: int


def _pcapng(source: Source, magic: bytes) -> Iterator[Packet]:
    interfaces: list[_Interface] = []
    order = "<"
    head = magic + source.whole(4)
    while head:
        if head[:4] == magic:
            order, interfaces = _order(source), []
        kind, size = Struct(f"{order}II").unpack(head)
        body = _body(source, order, size, 16 if kind == _SECTION else 12)
        if kind == _INTERFACE:
            interfaces.append(_interface(order, body))
        elif kind in _PACKETS:
            yield _PACKETS[kind](order, body, interfaces)
        head = source.begin(8)


def _order(source: Source) -> str:
    order = _ORDERS.get(source.whole(4))
    if order is None:
        raise _DamageError("a section without byte order")
    return order


def _body(source: Source, order: str, size: int, around: int) -> bytes:
    """Read a block to its end; ``around`` is the number of bytes that are not of its body."""
    if not around <= size <= MOST_BLOCK:
        raise _DamageError(f"a block of {size} bytes")
    body = source.whole(((size + 3) & ~3) - around)
    (again,) = Struct(f"{order}I").unpack(source.whole(4))
    if again != size:
        raise _DamageError(f"a block whose two lengths are {size} and {again} bytes")
    return body


def _interface(order: str, body: bytes) -> _Interface:
    link_type, _, longest = _fields(order, "HHI", body)
    units, offset = 10**6, 0
    for code, value in _options(order, body[8:]):
        if code == _TIME_RESOLUTION and value:
            units = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == _TIME_OFFSET and len(value) == 8:
            (offset,) = Struct(f"{order}q").unpack(value)
    return _Interface(link_type, longest, units, offset)


def _options(order: str, data: bytes) -> Iterator[tuple[int, bytes]]:
    header, place = Struct(f"{order}HH"), 0
    while place + 4 <= len(data):
        code, length = header.unpack_from(data, place)
        if not code:
            return
        yield code, data[place + 4 : place + 4 + length]
        place += 4 + ((length + 3) & ~3)


def _fields(order: str, layout: str, body: bytes) -> tuple[int, ...]:
    struct = Struct(order + layout)
    if len(body) < struct.size:
        raise _DamageError(f"a block of {len(body)} bytes, too short for what it is")
    return struct.unpack_from(body)


def _packet(order: str, body: bytes, interfaces: list[_Interface]) -> Packet:
    number, high, low, captured, length = _fields(order, "IIIII", body)
    return _timed(number, high << 32 | low, length, body[20:], captured, interfaces)


def _old_packet(order: str, body: bytes, interfaces: list[_Interface]) -> Packet:
    number, _drops, high, low, captured, length = _fields(order, "HHIIII", body)
    return _timed(number, high << 32 | low, length, body[20:], captured, interfaces)


def _timed(
    number: int, ticks: int, length: int, data: bytes, captured: int, interfaces: list[_Interface]
) -> Packet:
    interface = _numbered(interfaces, number)
    if captured > len(data) or length > MOST_RECORD:
        raise _DamageError(f"a packet of {max(captured, length)} bytes")
    time = ticks / interface.units + interface.offset
    return Packet(time, max(length, captured), interface.link_type, data[:captured])


def _simple_packet(order: str, body: bytes, interfaces: list[_Interface]) -> Packet:
    """Read a packet without time and interface: it is of the first one."""
    (length,) = _fields(order, "I", body)
    interface = _numbered(interfaces, 0)
    if length > MOST_RECORD:
        raise _DamageError(f"a packet of {length} bytes")
    captured = min(length, interface.longest or length)
    if captured > len(body) - 4:
        raise _DamageError(f"a packet of {captured} bytes in a block of {len(body) + 12}")
    return Packet(None, length, interface.link_type, body[4 : 4 + captured])


def _numbered(interfaces: list[_Interface], number: int) -> _Interface:
    if number >= len(interfaces):
        raise _DamageError(f"a packet of interface {number}, which the file does not describe")
    return interfaces[number]


_PACKETS: dict[int, Callable[[str, bytes, list[_Interface]], Packet]] = {
    _PACKET: _packet,
    _SIMPLE_PACKET: _simple_packet,
    _OLD_PACKET: _old_packet,
}

_READERS: dict[bytes, Callable[[Source, bytes], Iterator[Packet]]] = {
    **dict.fromkeys(_FORMS, _pcap),
    _SECTION.to_bytes(4): _pcapng,
}
