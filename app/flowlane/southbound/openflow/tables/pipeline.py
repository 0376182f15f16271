"""The OpenFlow pipeline, declared as data: what each table is for, matches, does and leads to.

:func:`check` checks every entry against this declaration when it is made, so an undeclared match, action or
goto fails in a test and never reaches a device. To add a table, add a row to ``TABLES`` and name it in the
rows that lead to it. OpenFlow 1.3 is enough for all tables but track, gate, seen and learn. These need
actions of Open vSwitch (see :mod:`flowlane.southbound.openflow.wire.nicira`) and stay empty on devices
without them.

Metadata (64 bits) carries a packet's sender and egress port from table to table::

     63                              32 31                               0
    +----------------------------------+----------------------------------+
    |  number of the sending VM        |  egress port                     |
    +----------------------------------+----------------------------------+

On devices that learn, register 0 is 1 for a flow that has a learned entry, register 1 is the id + 1 of the
queue that the device chose for it, and register 4 is the meter that its class shares (0: none), or the number of a
limit for which table seen has the meter of each VM.

VM number 0: no VM sent the packet. 0xffffffff: a VM behind a link sent it, which the controller finds by its
MAC.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from flowlane.southbound.openflow.wire.fields import Match
from flowlane.southbound.openflow.wire.nicira import GROUP, METER, QUEUE, SEEN


class Act(StrEnum):
    """What an entry may do with a packet."""

    METER = "meter"
    COPY = "copy to the controller"
    SET_QUEUE = "set_queue"
    SET_MARK = "write DSCP or PCP"
    OUTPUT = "output"
    GROUP = "group"
    WRITE_METADATA = "write_metadata"
    LOAD = "load a register"
    RESUBMIT = "resubmit"
    LEARN = "learn"
    TRACK = "track the connection"
    SAMPLE = "sample"


class TableId(IntEnum):
    """Tables in the order in which packets meet them; a goto only leads forward (OpenFlow 1.3.5 section 5.1).

    SEEN and LEARN stay empty on a device without the learn action, TRACK and GATE also on one without
    connection tracking.
    """

    INGRESS = 0
    FORWARD = 1
    TRACK = 2
    GATE = 3
    ASSIGN = 4
    SEEN = 5
    SPREAD = 6
    LEARN = 7
    OUTPUT = 8


class Priority(IntEnum):
    """The priorities of all entries. A standing rule has STANDING + its order."""

    MISS = 0
    MARK = 1
    UNKNOWN = 50
    SAMPLE = 60
    STANDING = 100
    YOUNG = 1000
    FIRST = 1001
    PIN = 1000
    HOST = 1000
    HOST_BY_PORT = 1001
    HOST_IN_VLAN = 1002
    OUTPUT = 1000
    QUEUE = 1001
    MARK_OF_QUEUE = 1002
    KEPT_MARK = 1003
    PORT = 1000
    PORT_AND_VLAN = 1001
    NO_LIMIT = 1999
    LIMIT = 2000
    MULTICAST = 2000
    SOURCE = 2000
    SOURCE_IN_VLAN = 2001
    NEIGHBOUR = 3000
    OVER_QUOTA = 3001
    OVER_QUOTA_RULE = 3002
    RESERVED = 4000
    PROBE = 4001
    FORGED_PROBE = 4002
    REMEMBERED = 64999
    READ_BY_SWITCH = 64999
    NOT_A_VM = 65000
    SEEN = 65001
    SEEN_LIMITED = 65002
    SEEN_NEIGHBOUR = 65003
    SEEN_NEIGHBOUR_LIMITED = 65004
    GROUP = 65002
    NOT_FOLLOWED = 65003


STANDING_ORDERS = Priority.REMEMBERED - Priority.STANDING
"""A standing rule's order is below this, so that its priority stays below REMEMBERED."""


@dataclass(frozen=True, slots=True)
class Table:
    """The declaration of one table.

    ``miss``: the next table of a packet that no entry matches, None to drop it. ``miss_is_planned``: the
    table-miss entry is made from the plan, not from this declaration. ``extension``: the action of Open
    vSwitch without which the table stays empty. ``applies``: tables that are applied by resubmit, after which the
    packet goes on in this one.
    """

    table_id: TableId
    purpose: str
    matches: frozenset[str]
    acts: frozenset[Act]
    goes_to: frozenset[TableId]
    miss: TableId | None
    miss_is_planned: bool = False
    extension: Act | None = None
    applies: frozenset[TableId] = frozenset()

    @property
    def name(self) -> str:
        """The table's name in lower case."""
        return self.table_id.name.lower()


_ADDRESSES = frozenset(("eth_type", "ip_proto", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst"))
_PORTS = frozenset(("tcp_src", "tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst"))
_ICMP = frozenset(("icmpv4_type", "icmpv4_code", "icmpv6_type", "icmpv6_code"))
_FLOW = _ADDRESSES | _PORTS | _ICMP | {"metadata", "vlan_vid"}

TABLES: tuple[Table, ...] = (
    Table(
        TableId.INGRESS,
        "The VM that sent the frame; frames for the switch itself are forwarded as the bridge does, or dropped; probes",
        frozenset(("in_port", "eth_src", "eth_dst", "eth_type", "vlan_vid")),
        frozenset((Act.WRITE_METADATA, Act.COPY, Act.OUTPUT)),
        frozenset((TableId.FORWARD,)),
        miss=None,
    ),
    Table(
        TableId.FORWARD,
        "Destination to the predicted egress port; what no VM sent is forwarded at once where none is predicted",
        frozenset(("in_port", "eth_dst", "eth_type", "ip_proto", "icmpv6_type", "metadata", "vlan_vid")),
        frozenset((Act.WRITE_METADATA, Act.COPY, Act.OUTPUT)),
        frozenset((TableId.TRACK, TableId.ASSIGN)),
        miss=None,
        miss_is_planned=True,
    ),
    Table(
        TableId.TRACK,
        "TCP and UDP from a VM through the connection tracker, which counts a flow's first packets",
        frozenset(("in_port", "eth_type", "ip_proto", "ip_frag", "vlan_vid")),
        frozenset((Act.LOAD, Act.TRACK)),
        frozenset((TableId.GATE, TableId.ASSIGN)),
        miss=TableId.ASSIGN,
        extension=Act.TRACK,
    ),
    Table(
        TableId.GATE,
        "Young flows go to the standing rules at once: no exact entry is looked up or made for them",
        frozenset(("ct_state", "ct_mark")),
        frozenset(),
        frozenset((TableId.SPREAD, TableId.ASSIGN)),
        miss=TableId.ASSIGN,
        extension=Act.TRACK,
    ),
    Table(
        TableId.ASSIGN,
        "Pins: exact entries of single flows, with their meter and queue; standing rules of VMs beyond their quotas",
        _FLOW | {"in_port", "eth_src", "eth_dst", "ip_frag", "ip_dscp", "vlan_pcp"},
        frozenset((Act.METER, Act.SET_QUEUE, Act.SET_MARK, Act.LOAD, Act.COPY, Act.RESUBMIT, Act.SAMPLE)),
        frozenset((TableId.SEEN, TableId.SPREAD, TableId.OUTPUT)),
        miss=TableId.SPREAD,
        miss_is_planned=True,
    ),
    Table(
        TableId.SEEN,
        "Learned entries: a flow that the device has seen, and the queue that it chose for the flow; meters of VMs",
        frozenset(("metadata", METER)),
        frozenset((Act.METER,)),
        frozenset(),
        miss=None,
        extension=Act.LEARN,
    ),
    Table(
        TableId.SPREAD,
        "Standing rules: the device itself places new flows, and copies their packets to the controller",
        _FLOW | {"ip_dscp", "vlan_pcp", "ip_frag", SEEN, METER, "ct_state", "ct_label"},
        frozenset((Act.METER, Act.COPY, Act.SET_QUEUE, Act.GROUP, Act.LOAD, Act.RESUBMIT)),
        frozenset((TableId.LEARN, TableId.OUTPUT)),
        miss=TableId.OUTPUT,
        applies=frozenset((TableId.SEEN,)),
    ),
    Table(
        TableId.LEARN,
        "Copy a flow's first packet to the controller, count the first ones, then learn its entry in table seen; "
        "count the flows with learned entries by group",
        frozenset(
            ("eth_type", "ip_proto", "ip_frag", "metadata", SEEN, QUEUE, METER, GROUP, "ct_state", "ct_mark")
        ),
        frozenset((Act.LEARN, Act.COPY, Act.TRACK)),
        frozenset((TableId.OUTPUT,)),
        miss=None,
        extension=Act.LEARN,
    ),
    Table(
        TableId.OUTPUT,
        "Egress port, and the queue that the device chose, to output; where a queue is chosen by mark, the mark",
        frozenset(
            (
                "metadata",
                QUEUE,
                "eth_type",
                "ip_proto",
                "ip_frag",
                "vlan_vid",
                "ip_dscp",
                "vlan_pcp",
                "in_port",
            )
        ),
        frozenset((Act.SET_QUEUE, Act.SET_MARK, Act.OUTPUT, Act.TRACK)),
        frozenset(),
        miss=None,
    ),
)

BY_ID = {table.table_id: table for table in TABLES}

_SENDER_SHIFT = 32
EGRESS_MASK = 0xFFFFFFFF
SENDER_MASK = EGRESS_MASK << _SENDER_SHIFT


def egress(port_no: int) -> tuple[int, int]:
    """Return the metadata (value, mask) of an egress port."""
    return port_no, EGRESS_MASK


def sender(vm_number: int) -> tuple[int, int]:
    """Return the metadata (value, mask) of the VM that sent a packet."""
    return vm_number << _SENDER_SHIFT, SENDER_MASK


def egress_and_sender(port_no: int, vm_number: int | None) -> tuple[int, int]:
    """Return the metadata (value, mask) of an egress port and, unless it is None, of the sending VM."""
    if vm_number is None:
        return egress(port_no)
    return vm_number << _SENDER_SHIFT | port_no, SENDER_MASK | EGRESS_MASK


def egress_of(metadata: int) -> int:
    """Return the egress port in metadata; 0 when none was written."""
    return metadata & EGRESS_MASK


def sender_of(metadata: int) -> int:
    """Return the number of the sending VM in metadata."""
    return metadata >> _SENDER_SHIFT


class PipelineError(AssertionError):
    """An entry is not as the pipeline declares: a bug of Flowlane's, which a test should find."""


def check(table_id: int, match: Match, acts: Collection[Act], goto: int | None) -> None:
    """Check an entry against the declaration.

    Raises:
        PipelineError: the table, a match field, an act or the next table is not declared.
    """
    table = BY_ID.get(TableId(table_id)) if table_id in BY_ID else None
    if table is None:
        raise PipelineError(f"table {table_id} is not declared")
    for term in match:
        if term.field not in table.matches:
            raise PipelineError(f"table {table.name} does not match {term.field}")
    for act in acts:
        if act not in table.acts:
            raise PipelineError(f"table {table.name} does not {act.value}")
    if goto is not None and goto not in table.goes_to | table.applies:
        raise PipelineError(f"table {table.name} does not lead to table {goto}")
