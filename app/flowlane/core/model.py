"""The words of Flowlane as data: queues, ports, devices' abilities, VMs, kinds of queue and reasons.

Plain values only; the tables that change live in :mod:`flowlane.core.state.device`. Rates are bit/s, times are
seconds of the caller's clock (monotonic), MAC addresses are 48-bit integers.
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
"""In the place of a queue id: the flow leaves its port without ``set_queue``."""

NOT_A_VM = 0
"""VM number of frames that no VM sent (they came in by an uplink)."""

UNRESOLVED_VM = 0xFFFFFFFF
"""VM number in a device's metadata: the device cannot tell the sender, the controller will (by its MAC)."""

NO_IDS: Mapping[str, str] = MappingProxyType({})


class Role(StrEnum):
    """What a device is to us (design: nic, vswitch, switch)."""

    NIC = "nic"
    VSWITCH = "vswitch"
    SWITCH = "switch"


class PortRole(StrEnum):
    """What hangs on a port."""

    VM = "vm"
    UPLINK = "uplink"
    HOST = "host"
    LINK = "link"


class QueueKind(IntEnum):
    """Where a queue lives; ``NONE`` is the kind of a flow that has no queue."""

    NONE = 0
    PHYSICAL = 1
    SOFTWARE = 2

    @property
    def word(self) -> str:
        """The word used in REST and OVSDB."""
        return self.name.lower()


class Reason(IntEnum):
    """Why a flow is where it is; the texts are in :mod:`flowlane.core.explain`."""

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


class HintSource(IntEnum):
    """How a VM's suggestion reached us [0057]."""

    NONE = 0
    DSCP = 1
    PCP = 2
    REST = 3
    OVSDB = 4


class Refusal(Enum):
    """Why a device refused an entry, as far as the core acts on it; the switch's own word is kept beside."""

    TABLE_FULL = "the table is full"
    NO_SUCH_METER = "the entry names a meter that the device does not have"
    OTHER = "any other reason"


class PinRef(NamedTuple):
    """Which flow a pin is of: its row in the device's flow table, and which use of that row it is.

    Both are in the pin's cookie, so a late message about an earlier flow of the row is recognised.
    """

    row: int
    generation: int


class LeftOut(NamedTuple):
    """Something that a device does not get: what, why, and what would help or stands in its place."""

    what: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue of one egress port. Rates are bit/s; None where nobody told."""

    queue_id: int
    kind: QueueKind = QueueKind.PHYSICAL
    min_rate: int | None = None
    max_rate: int | None = None


@dataclass(frozen=True, slots=True)
class PortReport:
    """A port as the switch reports it over OpenFlow. ``speed`` is bit/s, None when unknown.

    ``is_local``: it is the switch's own port, by which the host itself sends.
    """

    port_no: int
    name: str
    mac: int = 0
    up: bool = True
    speed: int | None = None
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """A queue as OVSDB describes it (OVS leaves rates out of OpenFlow)."""

    kind: QueueKind | None = None
    min_rate: int | None = None
    max_rate: int | None = None


@dataclass(frozen=True, slots=True)
class PortFacts:
    """A port as OVSDB describes it: its Interface row's ids, and the queues of its QoS row."""

    name: str
    external_ids: Mapping[str, str] = field(default_factory=lambda: NO_IDS)
    mac: int = 0
    interface_type: str = ""
    link_speed: int | None = None
    driver: str = ""
    qos_type: str = ""
    qos_max_rate: int | None = None
    queues: Mapping[int, QueueFacts] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a device can do, as probed: never guessed from a version.

    ``max_meters`` 0 means that the device has no meters. ``select_groups``: group type select is there.
    ``learn``: the Nicira learn action was accepted; ``conntrack``: its connection tracker too. ``port_masks``:
    masks on transport ports were accepted. ``pin_room``: pins for which its table has room, None when not known.
    """

    version: int = 4
    max_meters: int = 0
    meter_bands: int = 0
    meter_burst: bool = False
    meter_kbps: bool = True
    select_groups: bool = False
    max_groups: int = 0
    tables: int = 254
    learn: bool = False
    conntrack: bool = False
    port_masks: bool = False
    controller_meter: bool = False
    description: str = ""
    pin_room: int | None = None


@dataclass(frozen=True, slots=True)
class Vm:
    """A virtual machine's attachment. ``number`` marks it in flow keys and in the devices' metadata.

    ``id`` is, in this order, OVSDB's ``iface-id``, its ``vm-uuid``, the port's name
    (see :mod:`flowlane.core.device.vms`).
    ``macs`` are the addresses that may send from the port; empty when nobody told (any may).
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


@dataclass(frozen=True, slots=True)
class Hint:
    """A VM's suggestion handed over apart from the flow [0055]: flows that match should be of a class.

    ``match`` is read where the hint comes in, and ``given`` is what it was read from, for REST. ``expires`` is a
    time of the engine's clock, None for ever.
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
