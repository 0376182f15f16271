"""Rates, sizes and durations with units: ``50Mbit/s``, ``64kB``, ``2s``; parsed and formatted; counts of things.

Prefixes of rates are decimal (k = 1000), as in IEEE Std 802 and in Open vSwitch's ``max-rate``. A size may also have a
binary prefix (``KiB``). A number without a unit is refused: limits without a unit have been wrong by factors of 8 and
1000 (openvswitch/ovs-issues 161 and 277).
"""

from __future__ import annotations

import math
import re

from flowlane.errors import UnitError

_PREFIX = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_NUMBER = r"\s*([0-9]+(?:\.[0-9]+)?)\s*"
_RATE = re.compile(_NUMBER + r"([kKMGT]?)(bit/s|bps|B/s)\s*\Z")
_SIZE = re.compile(_NUMBER + r"((?:[KMG]i)?|[kKMGT]?)(bit|B)\s*\Z")
_TIME = re.compile(_NUMBER + r"(ms|s|min|h)\s*\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


def parse_rate(text: object) -> int:
    """Parse a rate such as ``100Mbit/s`` or ``2MB/s``; return bit/s.

    Raises:
        UnitError: the text is not a positive number with one of the units bit/s, bps or B/s.
    """
    match = _RATE.match(text) if isinstance(text, str) else None
    if match is None:
        raise UnitError(f"{text!r} is not a rate; write a number and a unit, such as 50Mbit/s or 2.5Gbit/s")
    number, prefix, unit = match.groups()
    return round(float(number) * _PREFIX[prefix] * (8 if unit == "B/s" else 1))


def parse_size(text: object) -> int:
    """Parse a size such as ``64kB``, ``1MiB`` or ``12kbit``; return bytes, rounded up.

    Raises:
        UnitError: the text is not a number with the unit B or bit.
    """
    match = _SIZE.match(text) if isinstance(text, str) else None
    if match is None:
        raise UnitError(f"{text!r} is not a size; write a number and a unit, such as 64kB or 1MiB")
    number, prefix, unit = match.groups()
    amount = float(number) * (_BINARY.get(prefix) or _PREFIX[prefix])
    return math.ceil(amount if unit == "B" else amount / 8)


def parse_duration(text: object) -> float:
    """Parse a duration such as ``500ms``, ``2s`` or ``5min``; return seconds.

    Raises:
        UnitError: the text is not a number with the unit ms, s, min or h.
    """
    match = _TIME.match(text) if isinstance(text, str) else None
    if match is None:
        raise UnitError(f"{text!r} is not a duration; write a number and a unit, such as 500ms, 2s or 5min")
    return float(match[1]) * _SECONDS[match[2]]


def format_rate(bits_per_second: float | None) -> str:
    """Format a rate in bit/s with three digits and the largest prefix with which it is 1 or more; None is ``-``."""
    if bits_per_second is None:
        return "-"
    for prefix in ("T", "G", "M", "k"):
        if abs(bits_per_second) >= 0.9995 * _PREFIX[prefix]:
            return f"{bits_per_second / _PREFIX[prefix]:.3g}{prefix}bit/s"
    return f"{bits_per_second:.3g}bit/s"


def counted(count: int, singular: str, plural: str = "") -> str:
    """Write a number of things: ``1 bridge``, ``2 bridges``.

    Args:
        plural: default is ``singular`` with an s.
    """
    return f"{count} {singular if count == 1 else plural or singular + 's'}"
