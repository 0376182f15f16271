"""The operator's policy (406) as data: classes, rules, gates, shares, trust, settings for devices.

:mod:`flowlane.policy` makes it from YAML and finds every error there. Classes and rules are referred to by their
index in the operator's policy. Class 0 is the class of flows that no rule takes. Rates are bit/s, bursts bits,
times seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from flowlane.core.model import HintSource, Queue, Role


class PathPreference(StrEnum):
    """Kinds of queue that a class may use (M8)."""

    HARDWARE = "hardware"
    PREFER_HARDWARE = "prefer-hardware"
    SOFTWARE = "software"


class Alike(StrEnum):
    """Properties by which flows are alike, so that they share a queue (M9, M10, M11)."""

    RATE_LIMIT = "rate-limit"
    PRIORITY = "priority"
    QOS = "qos"
    VM = "vm"
    RATE_BAND = "rate-band"


class QueuesBy(StrEnum):
    """How a device is told the queue of a packet: by OpenFlow's ``set_queue``, or by a mark in the packet."""

    SET_QUEUE = "set-queue"
    DSCP = "dscp"
    PCP = "pcp"


class LimitScope(StrEnum):
    """Flows that share one limit, and so one meter (M10)."""

    FLOW = "flow"
    VM = "vm"
    CLASS = "class"


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """A class of flows. Rates are bit/s, ``burst`` bits.

    ``priority`` is 0 to 7, higher is served sooner. ``qos`` is a label of the operator's, by which flows may be alike.
    """

    name: str
    index: int
    priority: int = 0
    qos: str = ""
    rate_limit: int | None = None
    burst: int | None = None
    limit_scope: LimitScope = LimitScope.FLOW
    min_rate: int | None = None
    exclusive: bool = False
    alike: tuple[Alike, ...] = ()
    min_queues: int = 0
    max_queues: int | None = None
    path: PathPreference = PathPreference.PREFER_HARDWARE
    keep_vm_together: bool = False
    meter_only: bool = False


@dataclass(frozen=True, slots=True)
class RateGate:
    """Thresholds of a measured rate, in bit/s: high after ``hold`` s at ``at_least`` or more, until below ``below``.

    ``of_queue``: the thresholds are millionths of what a queue of the flow's egress port can carry.
    """

    at_least: int
    hold: float
    below: int
    of_queue: bool = False


@dataclass(frozen=True, slots=True)
class VmSelector:
    """Selector of VMs by globs of their id or name, and by external ids (key, glob); empty: all."""

    names: tuple[str, ...] = ()
    external_ids: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """Match of a rule or a hint: every part that is not empty must hold.

    Prefixes are (address bytes, length), spans (first, last); ``hint`` has class indexes.
    """

    vms: VmSelector | None = None
    eth_types: tuple[int, ...] = ()
    vlans: tuple[tuple[int, int], ...] = ()
    protocols: tuple[int, ...] = ()
    src: tuple[tuple[bytes, int], ...] = ()
    dst: tuple[tuple[bytes, int], ...] = ()
    src_ports: tuple[tuple[int, int], ...] = ()
    dst_ports: tuple[tuple[int, int], ...] = ()
    dscp: tuple[int, ...] = ()
    pcp: tuple[int, ...] = ()
    hint: tuple[int, ...] = ()
    gate: int | None = None
    """Index in ``Policy.gates`` of the gate that must be open."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: flows that match are of the class. ``line`` is its line in the policy file, 0: not known."""

    name: str
    index: int
    match: Match
    class_index: int
    line: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """A share of every port's physical queues for some VMs (M11)."""

    name: str
    vms: VmSelector
    weight: float


@dataclass(frozen=True, slots=True)
class Trust:
    """Trust in hints: of which VMs, from which sources, for which classes (M12).

    ``dscp`` and ``pcp`` are (value, class index). ``gate`` is the index in ``Policy.gates`` of a measured
    rate from which on the hints are not trusted; None: any rate.
    """

    vms: VmSelector
    sources: frozenset[HintSource]
    classes: frozenset[int]
    dscp: tuple[tuple[int, int], ...] = ()
    pcp: tuple[tuple[int, int], ...] = ()
    gate: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceSelector:
    """Selector of devices by role, by globs of their name, and by dpid; empty: all."""

    roles: tuple[Role, ...] = ()
    names: tuple[str, ...] = ()
    dpids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassChange:
    """Changes of a class on some devices (420: an altered copy); None leaves a value as it is."""

    class_index: int
    rate_limit: int | None = None
    no_rate_limit: bool = False
    exclusive: bool | None = None
    path: PathPreference | None = None
    max_queues: int | None = None
    meter_only: bool | None = None


@dataclass(frozen=True, slots=True)
class DeviceRules:
    """Settings for some devices: which classes they get, changes of classes, their role, their uplinks (M2).

    ``marks`` are (DSCP or PCP, queue id), empty for the usual ones (see :mod:`flowlane.core.marks`); ``keep_marks`` are
    values that are not written over. Of several entries for a device, the last that has ``queues_by`` counts for all
    three.
    ``sampling``: as in :class:`Policy`; None leaves it as it is there.
    """

    devices: DeviceSelector
    only: tuple[int, ...] | None = None
    changes: tuple[ClassChange, ...] = ()
    role: Role | None = None
    uplinks: tuple[str, ...] = ()
    queues_by: QueuesBy | None = None
    marks: tuple[tuple[int, int], ...] = ()
    keep_marks: tuple[int, ...] = ()
    sampling: int | None = None


@dataclass(frozen=True, slots=True)
class PassivePort:
    """A port of a passive switch, with its queues; ``rate`` is bit/s, None when not known."""

    name: str
    queues: tuple[Queue, ...]
    rate: int | None = None


@dataclass(frozen=True, slots=True)
class Behind:
    """Ports of controlled devices that lead to a passive switch, by globs; ``leaves_by``: the index of its port."""

    device: str
    port: str
    leaves_by: int = 0


@dataclass(frozen=True, slots=True)
class PassiveSwitch:
    """A switch without OpenFlow that chooses its queues by mark; ``marks`` and ``keep_marks`` as of ``DeviceRules``."""

    name: str
    queues_by: QueuesBy
    ports: tuple[PassivePort, ...]
    behind: tuple[Behind, ...]
    marks: tuple[tuple[int, int], ...] = ()
    keep_marks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Balance:
    """Allocation strategy, and when and how much flows are moved to rebalance queues.

    Attributes:
        imbalance: load of the busiest queue over the mean load, minus 1, above which flows are moved. The default
            of 2 % is RSS++'s (Barbette et al., CoNEXT 2019).
        moves_per_second: share of the port's flows that may be moved.
        window: seconds within which no flow is moved twice.
        interval: seconds between two rebalancings.
        flows_per_queue: how many flows a hardware queue takes on average before flows overflow to software queues;
            None: any number.
    """

    strategy: str = "combined"
    imbalance: float = 0.02
    moves_per_second: float = 0.02
    window: float = 5.0
    interval: float = 1.0
    flows_per_queue: int | None = None


@dataclass(frozen=True, slots=True)
class Pins:
    """Which flows get a pin: ``worthy`` only where it is worth it, ``all`` every flow, ``reactive`` see below.

    ``reactive``: every flow, and no packet of it is forwarded before.
    ``budget`` is how many pins a device may have, ``idle_timeout`` is in seconds.
    """

    which: str = "worthy"
    budget: int = 10_000
    idle_timeout: int = 10


class PortSecurity(StrEnum):
    """What becomes of frames from a VM's port with a source address that is not the VM's, where OVSDB gives it any.

    ``off``: they are the VM's. ``report``: they are the VM's, and the address is reported. ``strict``: they are
    dropped, and reported.
    """

    OFF = "off"
    REPORT = "report"
    STRICT = "strict"


@dataclass(frozen=True, slots=True)
class ExtraAddresses:
    """Source addresses that some VMs may use beside those that OVSDB gives them, such as those of VRRP."""

    vms: VmSelector
    macs: tuple[int, ...]


class PolicyOrigin(NamedTuple):
    """Where the policy in force came from.

    Attributes:
        source: ``built-in``, ``file`` (given at start) or ``rest``; empty: not known.
        hash: SHA-256 of the policy's text, in hexadecimal digits.
        time: Unix time in seconds: of the request, of the file's last change, or of the start.
        by: name of the token or certificate with which it came over REST; empty: none was needed.
        address: IP address from which it came over REST.
        file: the file.
    """

    source: str = ""
    hash: str = ""
    time: float = 0.0
    by: str = ""
    address: str = ""
    file: str = ""


UNKNOWN_ORIGIN = PolicyOrigin()


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's policy, or the part of it that one device gets. ``text`` is the document that it was read from.

    ``copy_rate``: packet-ins per second that a device may send. ``learn_after``: packets of a young flow.
    ``track_above``: new flows per second of a port from which on the device counts these packets; 0: always.
    ``sampling``: one packet in so many of flows without a pin is sampled; 0: none. ``vm_flows``: flows of one VM that a
    device may know, and connections of it that it may track; 0: no limit.
    """

    classes: tuple[TrafficClass, ...]
    rules: tuple[Rule, ...] = ()
    gates: tuple[RateGate, ...] = ()
    shares: tuple[Share, ...] = ()
    trust: tuple[Trust, ...] = ()
    devices: tuple[DeviceRules, ...] = ()
    passive_switches: tuple[PassiveSwitch, ...] = ()
    balance: Balance = field(default_factory=Balance)
    pins: Pins = field(default_factory=Pins)
    copy_rate: int = 1000
    learn_after: int = 8
    track_above: int = 200
    port_security: PortSecurity = PortSecurity.REPORT
    extra_addresses: tuple[ExtraAddresses, ...] = ()
    sampling: int = 0
    vm_flows: int = 50_000
    text: str = ""
