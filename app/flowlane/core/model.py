"""Data model: queues, ports, capabilities, VMs, hints, meters, and the enumerations that go with them.

These are values that never change in place; what changes is in :mod:`flowlane.core.state`. Rates are bit/s, times
are seconds of the caller's monotonic clock, MAC addresses are 48-bit integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.policy import Match

NO_QUEUE = -1
"""Queue id of a flow that leaves its port without ``set_queue``."""

NOT_A_VM = 0
"""VM number of frames that no VM of the host sent (they came in by an uplink)."""

NO_PORT = 0
"""Egress port of packets whose way is not predicted: multicast and unknown addresses where no one port carries them.

OpenFlow numbers ports from 1 (OpenFlow 1.3.5, 7.2.1).
"""

UNRESOLVED_VM = 0xFFFFFFFF
"""VM number in a device's metadata for frames from a link: the controller finds the VM by the source MAC."""

LIMIT_BY_VM = 1 << 31
"""From here on, the number in the place of a meter's id is that of a limit for which the meter depends on the VM."""

NO_IDS: Mapping[str, str] = MappingProxyType({})
"""No ``external_ids``."""


class Role(StrEnum):
    """Role of a device: an SR-IOV NIC's bridge, a host's software switch, a switch in the network."""

    NIC = "nic"
    VSWITCH = "vswitch"
    SWITCH = "switch"


class PortRole(StrEnum):
    """Role of a port: what is attached to it; ``ignore``: not to be served."""

    VM = "vm"
    UPLINK = "uplink"
    HOST = "host"
    LINK = "link"
    IGNORE = "ignore"


class QueueKind(IntEnum):
    """Kind of a queue: in hardware or in software; ``NONE`` is the kind of a flow without a queue."""

    NONE = 0
    PHYSICAL = 1
    SOFTWARE = 2

    @property
    def word(self) -> str:
        """Name the kind as REST and OVSDB do."""
        return self.name.lower()


class Admission(IntEnum):
    """Which flows a queue takes by the operator's word; ``DRAINING``: none, and those that it has are moved away."""

    OPEN = 0
    CORDONED = 1
    DRAINING = 2


class Reason(IntEnum):
    """Why a flow has its queue; the texts are in :mod:`flowlane.core.explain`."""

    UNPLACED = 0
    NO_QUEUES = 1
    SHARED = 2
    EXCLUSIVE = 3
    EXCLUSIVE_UNAVAILABLE = 4
    GROUPED = 5
    VM_TOGETHER = 6
    REBALANCED = 7
    QUEUE_GONE = 8
    OVERFLOW_TO_SOFTWARE = 9
    SOFTWARE_BY_RULE = 10
    PROMOTED = 11
    HARDWARE_ONLY_FULL = 12
    STRATEGY = 13
    METER_ONLY = 14
    ADOPTED = 15
    DEVICE_CHOSE = 16
    NO_ONE_PORT = 17
    GATHERED = 18
    DEMOTED = 19
    MARK_KEPT = 20
    VACATED = 21
    PINNED_BY_HAND = 22
    DRAINED = 23


class HintSource(IntEnum):
    """How a VM's hint reached the controller [0057]."""

    NONE = 0
    DSCP = 1
    PCP = 2
    REST = 3
    OVSDB = 4


class Refusal(Enum):
    """Why a device refused a message, as far as the core acts on it; the switch's own text is kept beside it."""

    TABLE_FULL = "the table is full"
    ID_TAKEN = "the device has a meter of that id, which is not Flowlane's"
    NO_SUCH_METER = "the entry names a meter that the device does not have"
    OTHER = "any other reason"


class PinRef(NamedTuple):
    """Reference to a pinned flow: its row in the device's flow table, and the generation of that row.

    Both are in the pin's cookie. A late message about an earlier flow of the row has another generation.
    """

    row: int
    generation: int


class LeftOut(NamedTuple):
    """Part of the policy or of the plan that a device does not get.

    ``why`` is the reason, ``remedy`` what would help or what is done in its place.
    """

    what: str
    why: str
    remedy: str


class Ambiguity(NamedTuple):
    """Ports of one device whose role is a guess that the operator should confirm; names by port number."""

    ports: tuple[str, ...]
    role: PortRole
    why: str


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue of one egress port. Rates are bit/s, None when not known.

    ``priority``: of two queues the one with the smaller number is served first; None is 0.
    """

    queue_id: int
    kind: QueueKind = QueueKind.PHYSICAL
    min_rate: int | None = None
    max_rate: int | None = None
    priority: int | None = None
    admission: Admission = Admission.OPEN


@dataclass(frozen=True, slots=True)
class ManualPin:
    """An operator's order that a flow be on a queue of a port; times are of the engine's clock, in seconds."""

    port_no: int
    queue_id: int
    since: float
    expires: float


@dataclass(frozen=True, slots=True)
class Cordon:
    """A queue that takes no new flows, since when; ``flows``: how many it had then. ``done``: its drain is reported."""

    admission: Admission
    since: float
    flows: int
    done: bool = False


@dataclass(frozen=True, slots=True)
class PortReport:
    """A port as the switch reports it over OpenFlow. ``speed`` is bit/s, None when not known.

    ``is_local``: this is the bridge's own port, by which the host itself is attached.
    """

    port_no: int
    name: str
    mac: int = 0
    up: bool = True
    speed: int | None = None
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """A queue as OVSDB describes it; Open vSwitch does not report rates over OpenFlow. Rates are bit/s.

    ``priority``: a smaller number is served first; None is 0.
    """

    kind: QueueKind | None = None
    min_rate: int | None = None
    max_rate: int | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class PortFacts:
    """A port as OVSDB describes it: its Interface row, its Port row, and the queues of its QoS row. Rates are bit/s.

    Attributes:
        name: name of the interface.
        external_ids: those of the Interface row, and ``flowlane-port`` of the Port row.
        options: the interface's options: the peer of a patch port, the devargs of a DPDK port.
        port: name of the Port row. Several interfaces of one Port row are a bond.
        members: port numbers of the bond's interfaces, itself among them; empty when the port is no bond.
        bond_mode: as in OVSDB (ovs-vswitchd.conf.db(5), table Port); empty for the default, ``active-backup``.
        tag: access VLAN, or native VLAN of a trunk; None for none.
        trunks: the VLANs of a trunk; empty for all.
        vlan_mode: as in OVSDB; empty for the default (access with a tag, else trunk).
    """

    name: str
    external_ids: Mapping[str, str] = field(default_factory=lambda: NO_IDS)
    mac: int = 0
    interface_type: str = ""
    options: Mapping[str, str] = field(default_factory=lambda: NO_IDS)
    port: str = ""
    members: tuple[int, ...] = ()
    bond_mode: str = ""
    tag: int | None = None
    trunks: tuple[int, ...] = ()
    vlan_mode: str = ""
    link_speed: int | None = None
    driver: str = ""
    qos_type: str = ""
    qos_max_rate: int | None = None
    queues: Mapping[int, QueueFacts] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a device can do, found by asking and probing, never by its version.

    Attributes:
        version: OpenFlow version on the wire.
        max_meters: how many meters it can have; 0: it has none.
        meter_burst: its meters take a burst size.
        meter_kbps: its meters measure kbit/s.
        select_groups: it has groups of type select, ``max_groups`` of them.
        tables: how many flow tables it has.
        normal: it can forward by itself (OpenFlow NORMAL): its VLANs, bonds, MAC learning, snooping apply.
        learn: it accepted the learn action of Open vSwitch.
        conntrack: it accepted the connection tracking action of Open vSwitch.
        sample: it accepted the sample action of Open vSwitch.
        port_masks: it accepted masks on transport ports.
        controller_meter: it can limit its packet-ins.
        pin_room: pins for which the table of pins has room; None when not known.
    """

    version: int = 4
    max_meters: int = 0
    meter_burst: bool = False
    meter_kbps: bool = True
    select_groups: bool = False
    max_groups: int = 0
    tables: int = 254
    normal: bool = False
    learn: bool = False
    conntrack: bool = False
    sample: bool = False
    port_masks: bool = False
    controller_meter: bool = False
    description: str = ""
    pin_room: int | None = None


@dataclass(frozen=True, slots=True)
class Vm:
    """A virtual machine on a port. ``number`` stands for it in flow keys and in the devices' metadata.

    ``id`` is the first that exists of OVSDB's ``iface-id``, its ``vm-uuid`` and the port's name (see
    :mod:`flowlane.core.device.vms`); ``source`` says which. ``macs`` are the addresses that may send from the port;
    empty when not known, then any may.
    """

    number: int
    id: str
    name: str
    dpid: int
    port_no: int
    port_name: str
    macs: tuple[int, ...] = ()
    external_ids: Mapping[str, str] = field(default_factory=lambda: NO_IDS)
    source: str = "port"

    @property
    def uuid(self) -> str:
        """The ``vm-uuid`` that all NICs of one virtual machine have in common; empty when not known."""
        return self.external_ids.get("vm-uuid", "")

    def is_called(self, name: str) -> bool:
        """Check whether a name is the VM's id, its name, or the ``vm-uuid`` that it has with other NICs."""
        return name in (self.id, self.name) or (name != "" and name == self.uuid)


@dataclass(frozen=True, slots=True)
class Hint:
    """A VM's suggestion, apart from the packets [0055], that flows that match are of a class.

    ``given`` is what ``match`` was parsed from, for REST. ``expires`` is a time of the engine's clock in seconds,
    None for no end.
    """

    id: str
    vm: str
    class_name: str
    match: Match
    source: HintSource
    expires: float | None = None
    given: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


class MeterSpec(NamedTuple):
    """A meter with one drop band: ``rate`` in bit/s, ``burst`` in bits, of layer-2 bytes (ovs-issues 316)."""

    meter_id: int
    rate: int
    burst: int
