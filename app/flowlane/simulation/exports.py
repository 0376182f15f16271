"""CSV of other programs: nfdump 1.6 and 1.7, CICFlowMeter; their rows as rows of a flow file.

A flow's rate is its bytes over its duration, or over one second where it is shorter. It starts when it was first seen.
CICFlowMeter's rows are of both directions of a conversation. The forward one, of the sender of its first packet, is
the flow; its bytes are those of the payload, as there are no others in the row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import NamedTuple

from flowlane.core.classify.matching import PROTOCOL_NUMBERS
from flowlane.core.flowkey import ICMP, ICMPV6

Row = Mapping[str, str]

_NUMBERS = PROTOCOL_NUMBERS | {"icmp6": ICMPV6, "ipv6-icmp": ICMPV6, "eigrp": 88, "ospfigp": 89, "pim": 103}
"""Names of protocols, in lower case -> number (IANA)."""


class Program(NamedTuple):
    """A program that writes CSV.

    ``fields``: names of columns that tell its files. ``convert``: makes a row of a flow file of one of its rows.
    """

    name: str
    fields: Collection[str]
    convert: Callable[[Row], dict[str, object]]


def program_of(header: Collection[str]) -> Program | None:
    """Return the program that writes CSV with this header, None for a flow file of our own."""
    return next((program for program in PROGRAMS if set(program.fields) <= set(header)), None)


def is_end(row: Row) -> bool:
    """Return whether the flows end here: nfdump 1.6 goes on with a summary, or says that there are none."""
    return len(row) == 1 and next(iter(row.values())) in ("Summary", "No matched flows")


def _field(row: Row, *names: str) -> str:
    """Return the value of the first of the columns that has one.

    Raises:
        ValueError: none has.
    """
    for name in names:
        if name in row:
            return row[name]
    raise ValueError(f"{names[0]} is missing")


def _number(row: Row, *names: str) -> float:
    value = _field(row, *names)
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{names[0]}: {value!r} is not a number") from None
    if not isfinite(number) or number < 0:
        raise ValueError(f"{names[0]}: {value!r} is not a number of 0 or more")
    return number


def _protocol(text: str) -> object:
    return int(text) if text.isdecimal() else _NUMBERS.get(text.lower(), text)


def _measured(octets: float, duration: float, packets: float | None) -> dict[str, object]:
    return {
        "rate": 8 * octets / max(1.0, duration),
        "octets": round(octets),
        "packets": None if packets is None else round(packets),
    }


def _lasting(start: datetime, duration: float) -> dict[str, object]:
    return {"start": start.timestamp(), "end": start.timestamp() + max(1.0, duration)}


def _time(name: str, text: str, *layouts: str) -> datetime:
    for layout in layouts:
        try:
            return datetime.strptime(text, layout).replace(tzinfo=UTC)
        except ValueError:
            continue
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _nfdump(names: Mapping[str, str]) -> Callable[[Row], dict[str, object]]:
    def convert(row: Row) -> dict[str, object]:
        protocol = _protocol(_field(row, names["protocol"]))
        duration = _number(row, names["duration"])
        octets, packets = _number(row, names["octets"]), _number(row, names["packets"])
        ports = {name: row[names[name]] for name in ("src_port", "dst_port") if names[name] in row}
        start = _time(names["start"], _field(row, names["start"]))
        return {
            "src": _field(row, names["src"]),
            "dst": _field(row, names["dst"]),
            "protocol": protocol,
            **(_icmp(ports.get("dst_port", "0")) if protocol in (ICMP, ICMPV6) else ports),
            **_measured(octets, duration, packets),
            **_lasting(start, duration),
        }

    return convert


def _icmp(field: str) -> dict[str, object]:
    """Read ICMP's type and code in the place of the destination port: ``8.0``, or 256 times the type and the code."""
    kind, point, code = field.partition(".")
    try:
        numbers = (int(kind), int(code)) if point else divmod(int(kind), 256)
    except ValueError:
        raise ValueError(f"dst_port: {field!r} is not ICMP's type and code") from None
    return {"src_port": numbers[0], "dst_port": numbers[1]}


_NFDUMP_7 = {
    "start": "firstseen",
    "duration": "duration",
    "protocol": "proto",
    "src": "srcaddr",
    "src_port": "srcport",
    "dst": "dstaddr",
    "dst_port": "dstport",
    "packets": "packets",
    "octets": "bytes",
}
_NFDUMP_6 = {
    "start": "ts",
    "duration": "td",
    "protocol": "pr",
    "src": "sa",
    "src_port": "sp",
    "dst": "da",
    "dst_port": "dp",
    "packets": "ipkt",
    "octets": "ibyt",
}

_MICROSECONDS = 1e6
_CIC_TIMES = ("%d/%m/%Y %I:%M:%S %p", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M")
"""How CICFlowMeter writes times: the day comes first."""


def _cic(row: Row) -> dict[str, object]:
    duration = _number(row, "flow_duration") / _MICROSECONDS
    forward = ("totlen_fwd_pkts", "total_length_of_fwd_packets", "total_length_of_fwd_packet")
    if any(name in row for name in forward):
        octets = _number(row, *forward)
    else:
        octets = _number(row, "flow_byts_s", "flow_bytes_s") * duration if duration else 0.0
    counts = ("tot_fwd_pkts", "total_fwd_packets", "total_fwd_packet")
    packets = _number(row, *counts) if any(name in row for name in counts) else None
    start = _time("timestamp", _field(row, "timestamp"), *_CIC_TIMES)
    protocol = _protocol(_field(row, "protocol"))
    ports = {"src_port": row.get("src_port", row.get("source_port", "0"))}
    ports["dst_port"] = row.get("dst_port", row.get("destination_port", "0"))
    if protocol in (ICMP, ICMPV6):
        ports = {}
    return {
        "src": _field(row, "src_ip", "source_ip"),
        "dst": _field(row, "dst_ip", "destination_ip"),
        "protocol": protocol,
        **ports,
        **_measured(octets, duration, packets),
        **_lasting(start, duration),
    }


PROGRAMS = (
    Program("nfdump 1.7", ("firstseen", "duration", "srcaddr", "dstaddr", "bytes"), _nfdump(_NFDUMP_7)),
    Program("nfdump 1.6", ("ts", "td", "sa", "da", "ibyt"), _nfdump(_NFDUMP_6)),
    Program("CICFlowMeter", ("src_ip", "dst_ip", "flow_duration"), _cic),
    Program("CICFlowMeter", ("source_ip", "destination_ip", "flow_duration"), _cic),
)
