"""Query parameters of REST: their readers, and the filters over flow tables that they make.

:func:`read_query` reads the parameters of a request. :func:`selections` makes one condition on a row for each
device. :func:`check_names` refuses names of things that do not exist.
"""

from __future__ import annotations

import re
from datetime import datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from flowlane.closest import did_you_mean
from flowlane.core.flowkey import ETHERTYPE_NAMES, PROTOCOL_NAMES
from flowlane.core.model import NO_QUEUE, QueueKind, Reason
from flowlane.errors import UnitError
from flowlane.northbound.http.problems import ProblemError, bad_field
from flowlane.northbound.key_conditions import KEY_CONDITIONS
from flowlane.northbound.sorting import COLUMNS, order_of
from flowlane.northbound.types import EventKind, PortRoleWord, forms
from flowlane.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from webob import Request

    from flowlane.core.state.device import Device, State
    from flowlane.core.state.flows import FlowTable
    from flowlane.northbound.key_conditions import Wildcard
    from flowlane.northbound.paging import Condition

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
LONGEST = 256
"""Characters of a query parameter's value."""

MAX_LAST = 50_000
"""Events that a request may ask for: as many of flows as are kept."""

SHORTEST_STEP, LONGEST_STEP = 5.0, 3600.0
"""Seconds of a step of a queue's history."""

LAST_QUEUE = 0xFFFFFFFE
"""Largest queue id of OpenFlow: 0xffffffff is OFPQ_ALL, all queues."""

FIRST_ETHERTYPE = 0x0600
"""Smallest ethertype: a lower number in its place is the frame's length (IEEE 802.3)."""


class Parameter(NamedTuple):
    """A query parameter. ``read`` raises ValueError that says what is accepted; ``schema`` is for OpenAPI."""

    name: str
    read: Callable[[str], Any]
    about: str
    schema: Mapping[str, Any]


def read_query(request: Request, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Read a request's query by the parameters of its route.

    Raises:
        ProblemError: a parameter is unknown, given twice, too long or cannot be read; the text names it.
    """
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {}
    for name, text in _pairs(request):
        if name not in known:
            raise bad_field(name, f"there is no parameter {name!r} here; {_known_text(known)}")
        if name in values:
            raise bad_field(name, f"parameter {name!r} is given twice")
        values[name] = _read(known[name], text)
    return values


def _pairs(request: Request) -> list[tuple[str, str]]:
    try:
        return list(request.GET.items())
    except UnicodeDecodeError as error:
        raise bad_field("query", "the query is not UTF-8") from error


def _known_text(known: Mapping[str, Parameter]) -> str:
    return f"there are: {', '.join(known)}" if known else "there are none"


def _read(parameter: Parameter, text: str) -> Any:
    if len(text) > LONGEST:
        raise bad_field(parameter.name, f"parameter {parameter.name!r} is longer than {LONGEST} characters")
    try:
        return parameter.read(text)
    except ValueError as error:
        raise bad_field(parameter.name, f"{text!r} is not a value of {parameter.name!r}: {error}") from error


def whole_number(text: str, lowest: int, highest: int) -> int:
    """Read a decimal number within bounds; signs, blanks and non-ASCII digits are refused."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and lowest <= int(text) <= highest):
        raise ValueError(f"a number from {lowest} to {highest}")
    return int(text)


def _limit(text: str) -> int:
    return whole_number(text, 1, MAX_LIMIT)


def _layer4_port(text: str) -> int:
    return whole_number(text, 0, 0xFFFF)


def _queue(text: str) -> int:
    return NO_QUEUE if text == "none" else whole_number(text, 0, LAST_QUEUE)


def _text(text: str) -> str:
    if not text:
        raise ValueError("it is empty")
    return text


def _member(words: Mapping[str, int]) -> Callable[[str], int]:
    def read(text: str) -> int:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return words[text]

    return read


def _word(words: Collection[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text

    return read


def _protocol(text: str) -> int | str:
    """Read an IP protocol as its number, or an ethertype as its name or number in text."""
    numbers = {name: number for number, name in PROTOCOL_NAMES.items()}
    word = text.lower()
    if word in numbers:
        return numbers[word]
    if re.fullmatch("[0-9]{1,3}", word) and int(word) <= 255:
        return int(word)
    if word in ETHERTYPE_NAMES.values():
        return word
    if re.fullmatch("0x[0-9a-f]+", word) and FIRST_ETHERTYPE <= (ethertype := int(word, 16)) <= 0xFFFF:
        return ETHERTYPE_NAMES.get(ethertype, f"0x{ethertype:04x}")
    raise ValueError("tcp, udp, sctp, icmp, icmpv6, 0 to 255, or an ethertype such as arp or 0x88f7")


def _address(text: str) -> Wildcard:
    if re.fullmatch("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text):
        return bytes.fromhex(text.replace(":", ""))
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ValueError("an address, a prefix or a MAC address") from None


def _id_prefix(text: str) -> tuple[bytes, str]:
    """Read the beginning of a flow's id: (whole bytes, the last digit where their number is odd)."""
    if not re.fullmatch("[0-9a-fA-F]+", text):
        raise ValueError("hexadecimal digits")
    whole = len(text) // 2 * 2
    return bytes.fromhex(text[:whole]), text[whole:]


def _event_kinds(text: str) -> frozenset[str]:
    kinds = frozenset(text.split(","))
    for kind in kinds:
        if kind not in EVENT_KINDS:
            subject = "it" if kind == text else repr(kind)
            raise ValueError(f"{subject} is no kind of event; {did_you_mean(kind, EVENT_KINDS)}")
    return kinds


class Since(NamedTuple):
    """A moment: Unix time in seconds, or so many seconds ago."""

    time: float
    ago: bool

    def unix(self, wall: float) -> float:
        """Return it as Unix time."""
        return wall - self.time if self.ago else self.time


def _since(text: str) -> Since:
    try:
        return Since(parse_duration(text), ago=True)
    except UnitError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("an RFC 3339 time such as 2026-01-31T12:00:00Z, or a duration such as 90s or 5min")
    return Since(moment.timestamp(), ago=False)


def _last(text: str) -> int:
    return whole_number(text, 1, MAX_LAST)


def _step(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except UnitError:
        seconds = 0.0
    if not SHORTEST_STEP <= seconds <= LONGEST_STEP:
        raise ValueError(f"a duration from {SHORTEST_STEP:g}s to {LONGEST_STEP:g}s, such as 15s")
    return seconds


EVENT_KINDS: tuple[str, ...] = get_args(EventKind)
ROLES: tuple[str, ...] = get_args(PortRoleWord)
KINDS = {kind.word: int(kind) for kind in QueueKind}
REASONS = {reason.name.lower().replace("_", "-"): int(reason) for reason in Reason}
_STRING = {"type": "string", "minLength": 1, "maxLength": LONGEST}
_PORT = {"type": "integer", "minimum": 0, "maximum": 0xFFFF}

_QUEUE = {
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": LAST_QUEUE}, {"type": "string", "enum": ["none"]}]
}

LIMIT = Parameter(
    "limit",
    _limit,
    "largest number of items in the page",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
CURSOR = Parameter("cursor", _text, "next of the page before", _STRING)
PAGE = (LIMIT, CURSOR)
DEVICE = Parameter("device", _text, "a device's dpid or name", _STRING)
PORT = Parameter("port", _text, "the egress port's name or number", _STRING)
QUEUE = Parameter("queue", _queue, "a queue id, or none for flows without set_queue", _QUEUE)
VM = Parameter("vm", _text, "a VM's id, its name, or its vm-uuid, which all of its NICs have", _STRING)
CLASS = Parameter("class", _text, "a class of the policy", _STRING)
KIND = Parameter("kind", _member(KINDS), "the queue's kind", {"type": "string", "enum": list(KINDS)})
REASON = Parameter(
    "reason", _member(REASONS), "why a flow is on its queue", {"type": "string", "enum": list(REASONS)}
)
ROLE = Parameter("role", _word(ROLES), "the port's role", {"type": "string", "enum": list(ROLES)})
PROTO = Parameter(
    "proto",
    _protocol,
    "tcp, udp, sctp, icmp, icmpv6, a number, or an ethertype (arp, 0x88f7)",
    forms.PROTOCOL,
)
SRC = Parameter("src", _address, "source: an address, a prefix or a MAC address", forms.ADDRESS)
DST = Parameter("dst", _address, "destination: an address, a prefix or a MAC address", forms.ADDRESS)
ADDRESS = Parameter("address", _address, "either end: an address, a prefix or a MAC address", forms.ADDRESS)
SRC_PORT = Parameter("src_port", _layer4_port, "source port", _PORT)
DST_PORT = Parameter("dst_port", _layer4_port, "destination port", _PORT)
L4_PORT = Parameter("l4_port", _layer4_port, "source or destination port", _PORT)
EVENT_KIND = Parameter(
    "kind",
    _event_kinds,
    "kinds of event, with commas between",
    {"type": "array", "minItems": 1, "items": {"type": "string", "enum": list(EVENT_KINDS)}},
)

_MOMENT = "an RFC 3339 time, or a duration before now such as 90s or 5min"
SINCE = Parameter(
    "since",
    _since,
    f"only what is later: {_MOMENT}",
    {"anyOf": [forms.DURATION, {"type": "string", "format": "date-time"}]},
)
LAST = Parameter(
    "last",
    _last,
    "the last events that are kept, so many of them at most",
    {"type": "integer", "minimum": 1, "maximum": MAX_LAST},
)
STEP = Parameter(
    "step",
    _step,
    "length of a step: a duration such as 15s (default), rounded to samples of 5 s",
    {"type": "string", "pattern": "^([5-9]|[1-9][0-9]{1,2}|[12][0-9]{3}|3[0-5][0-9]{2}|3600)s$"},
)

FLOW_ID = Parameter(
    "id",
    _id_prefix,
    "a flow's id, or the beginning of one",
    {"type": "string", "pattern": "^[0-9a-fA-F]{1,256}$"},
)
SORT = Parameter(
    "sort",
    order_of,
    "order of the list: a column, with - in front for the largest first",
    {"type": "string", "enum": [f"{sign}{name}" for name in COLUMNS for sign in ("", "-")]},
)

FLOW_FILTERS = (FLOW_ID, DEVICE, VM, CLASS, PROTO, ADDRESS, SRC, DST, L4_PORT, SRC_PORT, DST_PORT)
ASSIGNMENT_FILTERS = (*FLOW_FILTERS, PORT, QUEUE, KIND, REASON)


def selections(state: State, query: Mapping[str, Any]) -> list[tuple[Device, Condition]]:
    """Select the devices of a query, in order of dpid, each with the condition for its rows.

    Devices for which the query means the same have one condition: thousands of functions for each list would be work
    for the garbage collector.
    """
    made: dict[tuple[tuple[str, frozenset[int]], ...], Condition] = {}
    found: list[tuple[Device, Condition]] = []
    numbers = None
    if "vm" in query:
        numbers = frozenset(number for number, vm in state.vms.items() if vm.is_called(query["vm"]))
    for device in devices_named(state, query.get("device")):
        values = tuple(_column_values(device, query, numbers))
        if not all(of_column for _, of_column in values):
            continue  # No row of the device can meet them.
        if values not in made:
            made[values] = _condition(values, query)
        found.append((device, made[values]))
    return found


def devices_named(state: State, name: str | None) -> list[Device]:
    """Find devices by dpid (16 hex digits) or name, in order of dpid; None finds all."""
    return [
        device
        for dpid, device in sorted(state.devices.items())
        if name is None or f"{dpid:016x}" == name.lower() or device.name == name
    ]


def check_names(state: State, query: Mapping[str, Any]) -> None:
    """Refuse a filter that names something that does not exist.

    Only the first page of a list is checked: what the filter names may go away until the next one.

    Raises:
        ProblemError: 404; the text has the name and the closest known name.
    """
    if "cursor" in query:
        return
    if "device" in query and not devices_named(state, query["device"]):
        known = [device.name or f"{dpid:016x}" for dpid, device in sorted(state.devices.items())]
        raise not_found("device", query["device"], known)
    if "vm" in query and not any(vm.is_called(query["vm"]) for vm in state.vms.values()):
        raise not_found("vm", query["vm"], [vm.name for vm in state.vms.values()])
    classes = [item.name for item in state.policy.classes]
    if "class" in query and query["class"] not in classes:
        raise not_found("class", query["class"], classes)
    _check_queue(devices_named(state, query.get("device")), query)


def _check_queue(devices: Sequence[Device], query: Mapping[str, Any]) -> None:
    """Refuse a port that none of the devices has, and a queue that none of these ports has."""
    ports = [port for device in devices for port in device.ports.values()]
    if "port" in query:
        known = list(dict.fromkeys(port.label for port in ports))
        ports = [device.ports[number] for device in devices for number in ports_named(device, query["port"])]
        if not ports:
            raise not_found("port", query["port"], known)
    queues = {str(queue_id) for port in ports for queue_id in port.queues}
    if query.get("queue", NO_QUEUE) != NO_QUEUE and str(query["queue"]) not in queues:
        raise not_found("queue", str(query["queue"]), queues)


def not_found(field: str, name: str, known: Iterable[str]) -> ProblemError:
    """Word the error 404 for a name that a query parameter gives."""
    return ProblemError(404, f"there is no {_THINGS[field]} {name!r}; {did_you_mean(name, known)}", field)


_THINGS = {"device": "device", "vm": "VM", "class": "class", "port": "port", "queue": "queue"}


def _condition(values: Iterable[tuple[str, frozenset[int]]], query: Mapping[str, Any]) -> Condition:
    """Combine all conditions of a query into one."""
    conditions = [
        *(_in_column(column, of_column) for column, of_column in values),
        *(KEY_CONDITIONS[name](query[name]) for name in KEY_CONDITIONS if name in query),
    ]
    if len(conditions) <= 1:
        return conditions[0] if conditions else every_row
    return lambda flows, row: all(condition(flows, row) for condition in conditions)


def every_row(_flows: FlowTable, _row: int) -> bool:
    """Meet no condition in particular: that of a query without filters."""
    return True


def _column_values(
    device: Device, query: Mapping[str, Any], numbers: frozenset[int] | None
) -> Iterator[tuple[str, frozenset[int]]]:
    """Make the conditions on columns: the column, and the values that match.

    Args:
        numbers: of the VMs that the query names; None: it names none.
    """
    if numbers is not None:
        yield "vm_number", numbers
    if "class" in query:
        yield "class_index", frozenset(c.index for c in device.policy.classes if c.name == query["class"])
    if "port" in query:
        yield "egress_port", frozenset(ports_named(device, query["port"]))
    for name, column in (("queue", "queue_id"), ("kind", "kind"), ("reason", "reason")):
        if name in query:
            yield column, frozenset((query[name],))


def ports_named(device: Device, name: str) -> list[int]:
    """Find a device's ports by name or number, a bond also by those of its members; return their numbers."""
    return sorted(
        {
            device.of_bond(number)
            for number, port in device.ports.items()
            if name in (port.name, port.label, str(number))
        }
    )


def _in_column(column: str, values: frozenset[int]) -> Condition:
    return lambda flows, row: getattr(flows, column)[row] in values


def vms_of_several(devices: Iterable[Device]) -> dict[int, list[Device]]:
    """Return VM number -> the devices that have flows of the VM, in their order, of VMs of which several have."""
    first: dict[int, Device] = {}
    several: dict[int, list[Device]] = {}
    for device in devices:
        for number in device.flows_of_vm:
            before = first.setdefault(number, device)
            if before is not device:
                several.setdefault(number, [before]).append(device)
    return several


def first_of_its_flow(several: Mapping[int, Sequence[Device]], as_of: float) -> Condition:
    """Make the condition that lists a flow once: under the device of the lowest dpid that had it at a moment.

    Args:
        several: those of the devices whose flows are listed, of :func:`vms_of_several`, in order of dpid.
        as_of: the moment, in seconds of the engine's clock.
    """

    def check(flows: FlowTable, row: int) -> bool:
        key = flows.keys[row]
        assert key is not None
        for device in several.get(flows.vm_number[row], ()):
            if device.flows is flows:
                break
            other = device.flows.rows.get(key)
            if other is not None and device.flows.first_seen[other] <= as_of:
                return False
        return True

    return check
