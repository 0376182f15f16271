"""Reader of flow files: CSV with a header, or a JSON list of objects. Errors name the line and the field."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from math import inf
from pathlib import Path

from flowlane.closest import did_you_mean
from flowlane.core.classify.matching import DSCP_NAMES, PROTOCOL_NUMBERS
from flowlane.core.device.vms import parse_mac
from flowlane.core.flowkey import ICMP, ICMPV6, LAYER2
from flowlane.core.frame import VLAN_TYPES
from flowlane.errors import RequestError, UnitError
from flowlane.simulation.flowspec import FlowSpec
from flowlane.units import parse_rate

MOST_FLOWS = 1_000_000
"""Flows in a file at most."""

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
)
NEEDED = ("src", "dst", "rate")


def read_flows(path: Path) -> list[FlowSpec]:
    """Read the flows of a file: JSON if its name ends with ``.json``, else CSV.

    Raises:
        RequestError: the file cannot be read, or a flow is wrong; the text names file, line and field.
    """
    try:
        rows = list(_rows(path))
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise RequestError(
            f"{path}: nested too deeply; a list of objects is needed, one for each flow"
        ) from None
    except (ValueError, csv.Error) as error:
        raise RequestError(f"{path}: {error}") from None
    return [_flow(path, place, row) for place, row in rows]


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Read the rows, each with its place in the file: the line of a CSV file, the number of a flow in JSON."""
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".json":
            rows = json.load(file)
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise RequestError(f"{path}: not a list of objects, one for each flow")
            _check_count(path, len(rows))
            yield from ((f"flow {number}", row) for number, row in enumerate(rows, start=1))
            return
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            _check_count(path, reader.line_num - 1)
            if None in row:
                raise RequestError(f"{path}, line {reader.line_num}: more values than the header has fields")
            yield f"line {reader.line_num}", row


def _check_count(path: Path, flows: int) -> None:
    if flows > MOST_FLOWS:
        raise RequestError(f"{path}: more than {MOST_FLOWS} flows; split the file")


def _flow(path: Path, place: str, row: Mapping[str, object]) -> FlowSpec:
    given = {key: value for key, value in row.items() if value is not None and value != ""}
    unknown = [key for key in given if key not in FIELDS]
    if unknown:
        raise RequestError(
            f"{path}, {place}: unknown field {unknown[0]!r}; {did_you_mean(unknown[0], FIELDS)}"
        )
    for key in NEEDED:
        if key not in given:
            raise RequestError(f"{path}, {place}: {key} is missing")
    values: dict[str, object] = {}
    for key, value in given.items():
        try:
            values[key] = _READERS[key](value)
        except (ValueError, UnitError) as error:
            raise RequestError(f"{path}, {place}: {key}: {error}") from None
    return _spec(path, place, values)


def _number(lowest: int, highest: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = int(str(value), 0)
        if not lowest <= number <= highest:
            raise ValueError(f"{value!r} is not between {lowest} and {highest}")
        return number

    return read


def _named(names: Mapping[str, int], highest: int) -> Callable[[object], int]:
    number = _number(0, highest)
    return lambda value: names[str(value).lower()] if str(value).lower() in names else number(value)


def _seconds(value: object) -> float:
    seconds = float(str(value))
    if not 0 <= seconds < inf:
        raise ValueError(f"{value!r} is not a number of seconds")
    return seconds


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


_READERS: dict[str, Callable[[object], object]] = {
    "vm": str,
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
}


def _spec(path: Path, place: str, values: Mapping[str, object]) -> FlowSpec:
    source, target = values["src"], values["dst"]
    assert isinstance(source, bytes) and isinstance(target, bytes)
    kind = {4: 4, 16: 6, 6: LAYER2}[len(source)]
    if not float(str(values.get("start", 0.0))) <= float(str(values.get("end", inf))):
        raise RequestError(f"{path}, {place}: end is before start")
    if len(source) != len(target):
        raise RequestError(f"{path}, {place}: src and dst are not both IPv4, both IPv6 or both MAC addresses")
    protocol = values.get("protocol", 0 if kind == LAYER2 else 6)
    fields = {
        "protocol": protocol,
        "src_port": values.get("ethertype", 0x88B5) if kind == LAYER2 else values.get("src_port", 0),
        "dst_port": values.get("dst_port", 0),
        "vm": values.get("vm", f"vm-{source.hex()}"),
        **{key: values[key] for key in ("start", "end", "dscp", "pcp", "vlan") if key in values},
    }
    if kind == LAYER2 and fields["src_port"] in VLAN_TYPES and "vlan" not in values:
        raise RequestError(f"{path}, {place}: ethertype: this is a VLAN tag; give the VLAN by vlan")
    if protocol in {ICMP, ICMPV6}:
        fields["src_port"] = min(255, int(str(fields["src_port"])))
    return FlowSpec(kind=kind, src=source, dst=target, rate=values["rate"], **fields)  # type: ignore[arg-type]
