"""Checks of lengths in messages, to be combined like the rules of a grammar.

A :data:`Shape` checks ``data[start:end]`` and raises :class:`~flowlane.errors.ProtocolError` when the lengths
in it contradict each other. It reads nothing beyond ``end`` and takes time linear in the number of bytes. A
parser that trusts the lengths of a checked message comes to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct

from flowlane.errors import ProtocolError

Shape = Callable[[bytes, int, int], None]

_U16 = Struct("!H").unpack_from
_TLV = Struct("!HH").unpack_from


def anything(_data: bytes, _start: int, _end: int) -> None:
    """Accept any bytes: they have no lengths that a parser uses."""


def at_least(name: str, size: int) -> Shape:
    """Accept ``size`` bytes or more."""

    def check(_data: bytes, start: int, end: int) -> None:
        if end - start < size:
            raise ProtocolError(f"{name} cut short: {end - start} of {size} bytes")

    return check


def records(name: str, size: int) -> Shape:
    """Accept a whole number of structures of ``size`` bytes each."""

    def check(_data: bytes, start: int, end: int) -> None:
        if (end - start) % size:
            raise ProtocolError(f"{name} cut short: {(end - start) % size} of {size} bytes")

    return check


def after(size: int, shape: Shape) -> Shape:
    """Skip ``size`` bytes, which must exist, and check the rest."""

    def check(data: bytes, start: int, end: int) -> None:
        if end - start < size:
            raise ProtocolError(f"{end - start} bytes where at least {size} belong")
        shape(data, start + size, end)

    return check


def elements(name: str, head: int, *, length_at: int = 2, inside: Shape = anything, pad: int = 1) -> Shape:
    """Accept a list of structures that carry their own length.

    Args:
        name: what one structure is called in the error.
        head: length of its fixed part in bytes, which is its least length.
        length_at: where in the structure its 16-bit length is.
        inside: the check of one structure, its fixed part included.
        pad: each structure begins at a multiple of so many bytes after the first.
    """

    def check(data: bytes, start: int, end: int) -> None:
        while start < end:
            if end - start < head:
                raise ProtocolError(f"{name} cut short: {end - start} of {head} bytes")
            (length,) = _U16(data, start + length_at)
            if length < head or start + length > end:
                raise ProtocolError(f"{name} of length {length} where {head} to {end - start} fit")
            inside(data, start, start + length)
            start += length + -length % pad

    return check


def by_type(shapes: Mapping[int, Shape], other: Shape = anything) -> Shape:
    """Check a structure by the 16-bit type at its start."""

    def check(data: bytes, start: int, end: int) -> None:
        (kind,) = _U16(data, start)
        shapes.get(kind, other)(data, start, end)

    return check


def exactly(name: str, *sizes: int) -> Shape:
    """Accept a structure of certain sizes only: a parser of its type skips it by such a size."""
    allowed = " or ".join(map(str, sizes))

    def check(_data: bytes, start: int, end: int) -> None:
        if end - start not in sizes:
            raise ProtocolError(f"{name} of length {end - start}, must be {allowed}")

    return check


def fields_then(name: str, rest: Shape) -> Shape:
    """Accept an ``ofp_match`` or ``ofp_stats`` (OXM or OXS fields, padded to 8 bytes), then ``rest``."""

    def check(data: bytes, start: int, end: int) -> None:
        if end - start < 4:
            raise ProtocolError(f"{name} cut short: {end - start} of 4 bytes")
        (_, length) = _TLV(data, start)
        stop = start + length + -length % 8
        if length < 4 or stop > end:
            raise ProtocolError(f"{name} of length {length} in {end - start} bytes")
        position, last = start + 4, start + length
        while position < last:
            position += 4 + data[position + 3] if position + 4 <= last else 4
        if position != last:
            raise ProtocolError(f"{name} whose fields end {position - last} bytes beyond it")
        rest(data, stop, end)

    return check


def once(shape: Shape, *, most: int, longest: int) -> Shape:
    """Check what comes again and again once: the same bytes are then accepted without another look.

    Args:
        most: how many of them are stored.
        longest: bytes beyond which they are not stored.
    """
    accepted: set[bytes] = set()

    def check(data: bytes, start: int, end: int) -> None:
        if end - start > longest:
            shape(data, start, end)
            return
        part = data[start:end]
        if part in accepted:
            return
        shape(data, start, end)
        if len(accepted) >= most:
            accepted.clear()
        accepted.add(part)

    return check
