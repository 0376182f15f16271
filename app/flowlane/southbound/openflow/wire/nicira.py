"""Open vSwitch's registers and actions that Flowlane uses, as bytes: load, resubmit, ct, learn and sample.

Layouts are those of Open vSwitch's lib/ofp-actions.c and ovs-actions(7). os-ken has classes for them. The
bytes are made here because a learn action of 20 parts is read back and compared at every connect, and because
the same action has to compare as equal in all OpenFlow versions.

A learn action makes an entry from the packet that it is applied to. Flowlane's (one for each protocol family)
make the exact entry of the packet's flow, which loads the queue that the device chose into a register.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct
from types import MappingProxyType
from typing import NamedTuple

from flowlane.core.flowkey import ICMP, ICMPV6, SCTP, TCP, UDP
from flowlane.core.frame import ETH_IPV4, ETH_IPV6
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.constants import (
    EXPERIMENTER,
    NICIRA,
    NX_CT,
    NX_LEARN,
    NX_RESUBMIT_TABLE,
    NX_SAMPLE,
    SEND_FLOW_REMOVED,
    SET_FIELD_ACTION,
)
from flowlane.southbound.openflow.wire.fields import FIELDS, IS_FRAGMENT, Match, match, port_fields

_KEEP_IN_PORT = 0xFFF8
"""OFPP_IN_PORT in 16 bits: resubmit with the packet's own in_port."""

_HEAD = Struct("!HHIH")
_SET_FIELD_HEAD = Struct("!HHI")
_RESUBMIT_BODY = Struct("!HB3x")
_LEARN_BODY = Struct("!HHHQHBxHH")
_CT_BODY = Struct("!HIHB3xH")
_SAMPLE_BODY = Struct("!HIII")
_SPEC = Struct("!H")
_SUBFIELD = Struct("!IH")
_IMMEDIATE = 1 << 13
_TO_ACTION = 1 << 11

SEEN, QUEUE, DSCP, PCP, METER = "reg0", "reg1", "reg2", "reg3", "reg4"
"""Registers: 1 for a flow with a learned entry; the id + 1 of its queue; DSCP and 802.1p priority of its
first packet; its class's meter."""

ZONE = "reg5"
"""The connection tracking zone of the port that the packet came in by."""

GROUP = "reg6"
"""The number + 1 of the group of a flow's learned entry, by which table learn counts it; 0 without one."""

MARK, LABEL = "ct_mark", "ct_label"
_ZONE_BITS = 16
_COMMIT = 1
_NO_TABLE = 0xFF
"""NX_CT_RECIRC_NONE: the packet goes on in the same table."""

_TRACK_SIZE = _HEAD.size + _CT_BODY.size
_MARK_SIZE = 16
_IN_PORT = 0x00000002
"""NXM_OF_IN_PORT: the 16-bit form of in_port, which a learn action copies."""

_NXM = MappingProxyType(
    {
        **{"eth_dst": 1 << 9 | 6, "eth_src": 2 << 9 | 6, "eth_type": 3 << 9 | 2, "ip_proto": 6 << 9 | 1},
        **{"ipv4_src": 7 << 9 | 4, "ipv4_dst": 8 << 9 | 4, "tcp_src": 9 << 9 | 2, "tcp_dst": 10 << 9 | 2},
        **{"udp_src": 11 << 9 | 2, "udp_dst": 12 << 9 | 2},
        **{"icmpv4_type": 13 << 9 | 1, "icmpv4_code": 14 << 9 | 1},
        **{"ipv6_src": 1 << 16 | 19 << 9 | 16, "ipv6_dst": 1 << 16 | 20 << 9 | 16},
        **{"icmpv6_type": 1 << 16 | 21 << 9 | 1, "icmpv6_code": 1 << 16 | 22 << 9 | 1},
    }
)
"""Field -> its older NXM header: in learn actions Open vSwitch reports these, whichever it was sent."""

_VLAN_TCI = 0x00000802
"""NXM_OF_VLAN_TCI. Its low 13 bits are ``vlan_vid`` of OpenFlow, also of a packet without a tag (0)."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load a number into a register or another field."""

    field: str
    value: int


@dataclass(frozen=True, slots=True)
class Track:
    """Send the packet through the connection tracker, in a zone (None: the one in the packet's register).

    A new connection is committed. The connection gets the ``mark`` and the ``label``, if any. With
    ``table_id`` the packet goes on in that table only, with the state of its connection; without, it goes on
    in the same table.
    """

    zone: int | None = None
    table_id: int | None = None
    mark: int | None = None
    label: int | None = None


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Apply another table to the packet too, and then go on in the same table."""

    table_id: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Export packets by IPFIX, each with a probability of ``probability`` / 65535 (ovs-actions(7), ``sample``).

    ``collector_set``: id of the row of OVSDB's table Flow_Sample_Collector_Set that says where to. The records carry
    ``domain`` and ``point`` as observation domain and observation point.
    """

    probability: int
    collector_set: int
    domain: int
    point: int


class Family(NamedTuple):
    """The packets that one learn action is for: an ethertype (None: any) and an IP protocol (None: any).

    ``fragments``: fragments only, whose ports count as 0; in IPv6 they are one flow, whatever their protocol.
    """

    eth_type: int | None = None
    protocol: int | None = None
    fragments: bool = False


@dataclass(frozen=True, slots=True)
class Learn:
    """Make the exact entry of the packet's flow; it expires after ``idle_timeout`` s without packets.

    ``table_id``, ``priority`` and ``cookie`` are those of the entry that is made. It loads the number of the group
    in its cookie.
    """

    family: Family
    idle_timeout: int
    table_id: int
    priority: int
    cookie: int


FAMILIES: tuple[Family, ...] = (
    Family(),
    *(
        Family(eth_type, protocol)
        for eth_type, protocols in (
            (ETH_IPV4, (None, TCP, UDP, SCTP, ICMP)),
            (ETH_IPV6, (None, TCP, UDP, SCTP, ICMPV6)),
        )
        for protocol in protocols
    ),
    *(Family(ETH_IPV4, protocol, fragments=True) for protocol in (TCP, UDP, SCTP, ICMP)),
    Family(ETH_IPV6, fragments=True),
)
_ADDRESSES: Mapping[int | None, tuple[str, str]] = MappingProxyType(
    {
        None: ("eth_type", "eth_dst"),
        ETH_IPV4: ("ipv4_src", "ipv4_dst"),
        ETH_IPV6: ("ipv6_src", "ipv6_dst"),
    }
)
"""Ethertype -> address fields of a learned entry, beside eth_src, which tells apart the VMs behind one port."""


def match_of(family: Family) -> Match:
    """Return the match of the entry that learns a family's flows."""
    values = {
        "eth_type": family.eth_type,
        "ip_proto": family.protocol,
        "ip_frag": IS_FRAGMENT if family.fragments else None,
    }
    return match(**{name: value for name, value in values.items() if value is not None})


def write(step: Load | Resubmit | Track | Learn | Sample) -> bytes:
    """Write an action as bytes."""
    if isinstance(step, Sample):
        body = _SAMPLE_BODY.pack(step.probability, step.collector_set, step.domain, step.point)
        return _action(NX_SAMPLE, body)
    if isinstance(step, Track):
        return _action(NX_CT, _track(step))
    if isinstance(step, Load):
        return _set_field(step)
    if isinstance(step, Resubmit):
        return _action(NX_RESUBMIT_TABLE, _RESUBMIT_BODY.pack(_KEEP_IN_PORT, step.table_id))
    return _action(NX_LEARN, _learn(step))


def read_learn(data: bytes) -> Learn | None:
    """Read a learn action; None when it is not as :func:`write` makes one."""
    if len(data) < _HEAD.size + _LEARN_BODY.size:
        return None
    idle_timeout, _, priority, cookie, _, table_id, _, _ = _LEARN_BODY.unpack_from(data, _HEAD.size)
    candidates = (Learn(family, idle_timeout, table_id, priority, cookie) for family in FAMILIES)
    return next((learn for learn in candidates if write(learn) == data), None)


def text(step: Load | Resubmit | Track | Learn | Sample) -> str:
    """Write the step in ovs-ofctl's language; of a learn action only the table and the timeout."""
    if isinstance(step, Load):
        return f"load:0x{step.value:x}->NXM_NX_{step.field.upper()}[]"
    if isinstance(step, Resubmit):
        return f"resubmit(,{step.table_id})"
    if isinstance(step, Track):
        return _track_text(step)
    if isinstance(step, Sample):
        return (
            f"sample(probability={step.probability},collector_set_id={step.collector_set},"
            f"obs_domain_id={step.domain},obs_point_id={step.point})"
        )
    return f"learn(table={step.table_id:d},idle_timeout={step.idle_timeout})"


def _track_text(step: Track) -> str:
    zone = f"NXM_NX_{ZONE.upper()}[0..15]" if step.zone is None else str(step.zone)
    table = (f"table={step.table_id}",) if step.table_id is not None else ()
    parts = ["commit", *table, f"zone={zone}"]
    sets = ((MARK, step.mark), (LABEL, step.label))
    marks = [f"set_field:0x{value:x}->{field}" for field, value in sets if value is not None]
    if marks:
        parts.append(f"exec({','.join(marks)})")
    return f"ct({','.join(parts)})"


def _track(step: Track) -> bytes:
    """Write ``struct nx_action_conntrack`` from its flags on."""
    zone = (_header(ZONE), _ZONE_BITS - 1) if step.zone is None else (0, step.zone)
    table_id = _NO_TABLE if step.table_id is None else step.table_id
    sets = ((MARK, step.mark), (LABEL, step.label))
    marked = b"".join(_set_field(Load(field, value)) for field, value in sets if value is not None)
    return _CT_BODY.pack(_COMMIT, *zone, table_id, 0) + marked


def read_track(data: bytes) -> Track | None:
    """Read a ct action; None when it is not as :func:`write` makes one."""
    if len(data) < _HEAD.size + _CT_BODY.size:
        return None
    _, zone_src, zone, table_id, _ = _CT_BODY.unpack_from(data, _HEAD.size)
    marked, labelled = data[_TRACK_SIZE:][:_MARK_SIZE], data[_TRACK_SIZE + _MARK_SIZE :]
    step = Track(
        None if zone_src else zone,
        None if table_id == _NO_TABLE else table_id,
        int.from_bytes(marked[8:12], "big") if marked else None,
        int.from_bytes(labelled[8:24], "big") if labelled else None,
    )
    return step if write(step) == data else None


def _set_field(step: Load) -> bytes:
    """Write ``struct ofp12_action_set_field``, which sets a whole field, padded to 8 octets."""
    octets = FIELDS[step.field].octets
    size = -(-(_SET_FIELD_HEAD.size + octets) // 8) * 8
    head = _SET_FIELD_HEAD.pack(SET_FIELD_ACTION, size, _header(step.field))
    return (head + step.value.to_bytes(octets, "big")).ljust(size, b"\0")


def _action(subtype: int, body: bytes) -> bytes:
    length = -(-(_HEAD.size + len(body)) // 8) * 8
    return (_HEAD.pack(EXPERIMENTER, length, NICIRA, subtype) + body).ljust(length, b"\0")


def _header(field: str) -> int:
    return _NXM.get(field) or oxm_header(field)


def oxm_header(field: str) -> int:
    """Return a field's OXM header (OpenFlow 1.3.5 section 7.2.3.2)."""
    oxm_class, number, octets = FIELDS[field].oxm_class, FIELDS[field].number, FIELDS[field].octets
    return oxm_class << 16 | number << 9 | octets


_GROUP_HEADER = oxm_header(GROUP).to_bytes(4, "big")


def _learn(step: Learn) -> bytes:
    head = _LEARN_BODY.pack(
        step.idle_timeout, 0, step.priority, step.cookie, SEND_FLOW_REMOVED, step.table_id, 0, 0
    )
    return head + b"".join(_specs(step.family, cookies.group_of(step.cookie)))


def _specs(family: Family, group: int) -> Iterator[bytes]:
    """Yield the parts of a learn action: the entry's match, prerequisites first, then what it loads."""
    yield _match_packet(_IN_PORT, 16)
    yield _match_packet(_header("metadata"), 64)
    yield _match_packet(_header("eth_src"), 48)
    yield _match_packet(_VLAN_TCI, 13)
    if family.eth_type is not None:
        yield _match_value("eth_type", family.eth_type)
    if family.protocol is not None:
        yield _match_value("ip_proto", family.protocol)
    elif family.fragments:
        yield _match_bit("ip_frag")
    elif family.eth_type is not None:
        yield _match_packet(_header("ip_proto"), 8)
    for name in _ADDRESSES[family.eth_type]:
        yield _match_packet(_header(name), FIELDS[name].bits)
    if family.eth_type is not None and family.protocol is not None:
        for name in port_fields(family.eth_type, family.protocol) or ():
            of_packet = _match_packet(_header(name), FIELDS[name].bits)
            yield _match_value(name, 0) if family.fragments else of_packet
    yield _load_value(SEEN, 1)
    yield _load(_header(QUEUE), 0, QUEUE, 32)
    yield _load(_header(METER), 0, METER, 32)
    if family.eth_type is not None:
        yield _load(_header("ip_dscp"), 0, DSCP, 6)
    yield _load(_VLAN_TCI, 13, PCP, 3)
    yield _load_value(GROUP, group_value(group))


def _match_packet(header: int, bits: int) -> bytes:
    """Write a part by which the learned entry matches the packet's own value."""
    return _SPEC.pack(bits) + _SUBFIELD.pack(header, 0) * 2


def _match_value(field: str, value: int) -> bytes:
    """Write a part by which the learned entry matches a given value."""
    bits = FIELDS[field].bits
    octets = -(-bits // 16) * 2
    return _SPEC.pack(_IMMEDIATE | bits) + value.to_bytes(octets, "big") + _SUBFIELD.pack(_header(field), 0)


def _match_bit(field: str) -> bytes:
    """Write a part by which the learned entry matches packets that have a field's lowest bit."""
    return _SPEC.pack(_IMMEDIATE | 1) + (1).to_bytes(2, "big") + _SUBFIELD.pack(_header(field), 0)


def group_value(group: int) -> int:
    """Return what register :data:`GROUP` holds for a group."""
    return group + 1 & 0xFFFFFFFF


def without_group(instructions: bytes) -> bytes:
    """Return a learned entry's instructions without the number of its group, which is the last that they load.

    The number follows the header of its register, and takes 8 octets with padding, as ``ofp12_action_set_field``
    and as ``nx_action_reg_load``.
    """
    at = instructions.rfind(_GROUP_HEADER)
    return instructions if at < 0 else instructions[: at + 4] + instructions[at + 12 :]


def _load_value(register: str, value: int) -> bytes:
    """Write a part by which the learned entry loads a given value."""
    return (
        _SPEC.pack(_IMMEDIATE | _TO_ACTION | 32)
        + value.to_bytes(4, "big")
        + _SUBFIELD.pack(_header(register), 0)
    )


def _load(header: int, start: int, register: str, bits: int) -> bytes:
    """Write a part by which the learned entry loads a value of the packet that it was learned from."""
    return (
        _SPEC.pack(_TO_ACTION | bits) + _SUBFIELD.pack(header, start) + _SUBFIELD.pack(_header(register), 0)
    )
