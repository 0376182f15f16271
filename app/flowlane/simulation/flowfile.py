"""Reader of flow files: CSV with a header, or a JSON list of objects. Errors name the line and the field.

CSV may be what spreadsheets write (:mod:`flowlane.simulation.csv_rows`) or what other programs export
(:mod:`flowlane.simulation.exports`); files may be compressed.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from io import TextIOWrapper
from ipaddress import ip_address
from math import inf
from pathlib import Path
from stat import S_ISREG
from sys import intern
from typing import Any

from flowlane.closest import did_you_mean
from flowlane.core.classify.matching import DSCP_NAMES, PROTOCOL_NUMBERS
from flowlane.core.device.vms import parse_mac
from flowlane.core.flowkey import ICMP, ICMPV6, LAYER2
from flowlane.core.frame import VLAN_TYPES
from flowlane.errors import RequestError, UnitError
from flowlane.simulation.compression import DAMAGE, open_uncompressed
from flowlane.simulation.csv_rows import read_rows
from flowlane.simulation.exports import is_end, program_of
from flowlane.simulation.flowspec import FlowSpec
from flowlane.units import parse_rate

MOST_FLOWS = 1_000_000
"""Flows in a file at most."""

MOST_BYTES = 1 << 30
"""Bytes of a file at most: more than enough for as many flows."""

MOST_RATE = 10**15
"""bit/s; no link carries that much."""

FIELDS = (
    "vm",
    "protocol",
    "src",
    "dst",
    "src_port",
    "dst_port",
    "rate",
    "start",
    "end",
    "dscp",
    "pcp",
    "vlan",
    "ethertype",
    "packets",
    "octets",
)
NEEDED = ("src", "dst", "rate")


EPOCH = 1e8
"""Seconds from which on a time is one since 1970: no simulation lasts three years."""

Row = Mapping[str, object]


def read_flows(path: Path) -> list[FlowSpec]:
    """Read the flows of a file: JSON if its name ends with ``.json``, else CSV.

    Times of day count from the first start.

    Raises:
        RequestError: the file cannot be read, or a flow is wrong; the text names file, line and field.
    """
    flows: list[FlowSpec] = []
    clock = _Clock()
    try:
        for place, row in _rows(path):
            if len(flows) >= MOST_FLOWS:
                raise RequestError(f"{path}: more than {MOST_FLOWS} flows; split the file")
            flows.append(_flow(f"{path}, {place}", row, clock))
    except DAMAGE as error:
        what = getattr(error, "strerror", None) or f"its compressed data are damaged: {error}"
        raise RequestError(f"{path}: {what}") from None
    except RecursionError:
        raise RequestError(
            f"{path}: nested too deeply; a list of objects is needed, one for each flow"
        ) from None
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: no UTF-8 text: {error}; save it as CSV in UTF-8") from None
    except (ValueError, csv.Error) as error:
        raise RequestError(f"{path}: {error}") from None
    return clock.since_first(flows)


def _check(path: Path) -> None:
    """Check that a file has an end, which devices and pipes may not have.

    Raises:
        RequestError: it is no regular file, or too large.
        OSError: there is no such file.
    """
    status = path.stat()
    if not S_ISREG(status.st_mode):
        raise RequestError(f"{path}: no regular file; write the flows into a file, and give its name")
    if status.st_size > MOST_BYTES:
        raise RequestError(f"{path}: larger than {MOST_BYTES >> 20} MiB; split the file")


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Read the rows, each with its place in the file: the line of a CSV file, the number of a flow in JSON."""
    _check(path)
    with open_uncompressed(path) as file:
        if ".json" in path.suffixes:
            with TextIOWrapper(file, "utf-8-sig") as text:
                rows = json.load(text)
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise RequestError(f"{path}: not a list of objects, one for each flow")
            yield from ((f"flow {number}", row) for number, row in enumerate(rows, start=1))
            return
        lines = read_rows(file)
        _, header = next(lines)
        program = program_of(header)
        if program is None:
            yield from ((f"line {line}", row) for line, row in lines)
            return
        for line, row in lines:
            if is_end(row):
                return
            try:
                yield f"line {line}", program.convert(row)
            except ValueError as error:
                raise RequestError(f"{path}, line {line}: {error} ({program.name})") from None


class _Clock:
    """How the flows of a file say when they start: in seconds from the beginning, or with times of day.

    ``first``: the earliest time of day, None where there is none.
    """

    def __init__(self) -> None:
        self.first: float | None = None
        self._place = ""

    def check(self, place: str, start: float) -> None:
        """Take note of the start of a flow, in seconds (0.0: not given), or since 1970.

        Raises:
            RequestError: flows before it say it in another way.
        """
        absolute = start >= EPOCH
        if self._place and absolute != (self.first is not None):
            ways = "seconds from the beginning", "a time of day"
            raise RequestError(
                f"{place}: start: this is {ways[absolute]}, and {self._place} has {ways[not absolute]}; "
                "give all starts in one way"
            )
        self._place = self._place or place.rpartition(", ")[2]
        if absolute:
            self.first = start if self.first is None else min(self.first, start)

    def since_first(self, flows: list[FlowSpec]) -> list[FlowSpec]:
        """Return the flows with times from the beginning."""
        first = self.first
        if first is None:
            return flows
        return [flow._replace(start=flow.start - first, end=flow.end - first) for flow in flows]


def _flow(place: str, row: Row, clock: _Clock) -> FlowSpec:
    values: dict[str, Any] = {}
    for key, value in row.items():
        if value is None or value == "":
            continue
        try:
            values[key] = _read_text(key, value) if type(value) is str else _READERS[key](value)
        except KeyError:
            raise RequestError(f"{place}: unknown field {key!r}; {did_you_mean(key, FIELDS)}") from None
        except (ValueError, UnitError) as error:
            raise RequestError(f"{place}: {key}: {error}") from None
    for key in NEEDED:
        if key not in values:
            raise RequestError(f"{place}: {key} is missing")
    clock.check(place, values.get("start", 0.0))
    return _spec(place, values)


def _number(lowest: int, highest: int) -> Callable[[object], int]:
    """Make a reader of whole numbers; pandas writes 443.0 where a column has empty fields."""

    def read(value: object) -> int:
        text = str(value)
        try:
            number = int(text, 0)
        except ValueError:
            number = _whole(text)
        if not lowest <= number <= highest:
            raise ValueError(f"{value!r} is not between {lowest} and {highest}")
        return number

    return read


def _whole(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = inf
    if not number.is_integer():
        raise ValueError(f"{text!r} is not a whole number")
    return int(number)


def _named(names: Mapping[str, int], highest: int) -> Callable[[object], int]:
    number = _number(0, highest)
    return lambda value: names[str(value).lower()] if str(value).lower() in names else number(value)


def _seconds(value: object) -> float:
    """Read a time: seconds from the beginning; or seconds (ms, us, ns) since 1970, or a date, as seconds since 1970."""
    text = str(value)
    try:
        seconds = float(text)
    except ValueError:
        seconds = _date(text)
    if not 0 <= seconds < inf:
        raise ValueError(f"{value!r} is not a number of seconds")
    for unit in (1e9, 1e6, 1e3):
        if seconds >= EPOCH * unit:
            return seconds / unit
    return seconds


def _date(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a number of seconds nor a time such as 2026-01-31 12:00:00"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _address(value: object) -> bytes:
    mac = parse_mac(str(value))
    return mac.to_bytes(6) if mac is not None else ip_address(str(value)).packed


def _rate(value: object) -> float:
    """Read a rate with its unit, or in JSON a number of bit/s."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return float(parse_rate(value))
    if not 0 <= value <= MOST_RATE:
        raise ValueError(f"{value!r} is not a number of bit/s")
    return float(value)


_whole_number = _number(0, 1 << 64)

_READERS: dict[str, Callable[[object], object]] = {
    "vm": lambda value: intern(str(value)),
    "protocol": _named(PROTOCOL_NUMBERS, 255),
    "src": _address,
    "dst": _address,
    "src_port": _number(0, 65535),
    "dst_port": _number(0, 65535),
    "rate": _rate,
    "start": _seconds,
    "end": _seconds,
    "dscp": _named(DSCP_NAMES, 63),
    "pcp": _number(0, 7),
    "vlan": _number(0, 4095),
    "ethertype": _number(0x600, 0xFFFF),
    "packets": _whole_number,
    "octets": _whole_number,
}
"""Field -> reader of its value."""


@lru_cache(maxsize=1 << 14)
def _read_text(key: str, text: str) -> object:
    """Read a value of CSV: most are the same in many rows."""
    return _READERS[key](text)


def _spec(place: str, values: Mapping[str, Any]) -> FlowSpec:
    source, target = values["src"], values["dst"]
    kind = {4: 4, 16: 6, 6: LAYER2}[len(source)]
    if not values.get("start", 0.0) <= values.get("end", inf):
        raise RequestError(f"{place}: end is before start")
    if len(source) != len(target):
        raise RequestError(f"{place}: src and dst are not both IPv4, both IPv6 or both MAC addresses")
    protocol = values.get("protocol", 0 if kind == LAYER2 else 6)
    port = values.get("ethertype", 0x88B5) if kind == LAYER2 else values.get("src_port", 0)
    if kind == LAYER2 and port in VLAN_TYPES and "vlan" not in values:
        raise RequestError(f"{place}: ethertype: this is a VLAN tag; give the VLAN by vlan")
    return FlowSpec(
        vm=values.get("vm") or intern(f"vm-{source.hex()}"),
        kind=kind,
        protocol=protocol,
        src=source,
        dst=target,
        src_port=min(255, port) if protocol in {ICMP, ICMPV6} else port,
        dst_port=values.get("dst_port", 0),
        rate=values["rate"],
        **{key: values[key] for key in _OPTIONAL if key in values},
    )


_OPTIONAL = ("start", "end", "dscp", "pcp", "vlan", "packets", "octets")
