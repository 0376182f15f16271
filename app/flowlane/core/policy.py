"""The operator's policy (406) as data: classes, rules, gates, shares, trust, settings for devices.

:mod:`flowlane.policy` makes it from YAML and finds every error there. Classes and rules are referred to by their
index in the operator's policy. Class 0 is the class of flows that no rule takes. Rates are bit/s, bursts bits,
times seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from flowlane.core.model import HintSource, Role


class PathPreference(StrEnum):
    """Which kinds of queue a class may use (M8)."""

    HARDWARE = "hardware"
    PREFER_HARDWARE = "prefer-hardware"
    SOFTWARE = "software"


class Alike(StrEnum):
    """What can make flows similar, so that they share a queue (M9, M10, M11)."""

    RATE_LIMIT = "rate-limit"
    PRIORITY = "priority"
    QOS = "qos"
    VM = "vm"
    RATE_BAND = "rate-band"


class LimitScope(StrEnum):
    """Which flows share one limit, and so one meter (M10)."""

    FLOW = "flow"
    VM = "vm"
    CLASS = "class"


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """A class of flows. ``priority`` 0 to 7, higher is served sooner; ``qos`` is a label of the operator's."""

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
    """A rate that counts once it was at least ``at_least`` for ``hold`` s, until it falls below ``below``."""

    at_least: int
    hold: float
    below: int


@dataclass(frozen=True, slots=True)
class VmSelector:
    """VMs by glob patterns of id or name, or by OVSDB external ids (key, glob); empty selects all."""

    names: tuple[str, ...] = ()
    external_ids: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule matches: every part that is not empty must hold. Prefixes are (address bytes, length)."""

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
    """Index into ``Policy.gates`` of the measured rate that must hold."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An ordered rule: flows that match are of the class. ``line`` is its place in the policy file."""

    name: str
    index: int
    match: Match
    class_index: int
    line: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """A part of every port's physical queues for some VMs (M11: divide the hardware among VMs)."""

    name: str
    vms: VmSelector
    weight: float


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose hints are believed, from which sources, for which classes (M12); in-band values name classes.

    ``dscp`` and ``pcp`` map a value to a class index. ``at_most`` is a measured rate (bit/s) above which the
    hint is no longer believed, None for any; ``gate`` is that rate's index in ``Policy.gates``, so that a
    rate that swings around it does not make the belief flap.
    """

    vms: VmSelector
    sources: frozenset[HintSource]
    classes: frozenset[int]
    dscp: tuple[tuple[int, int], ...] = ()
    pcp: tuple[tuple[int, int], ...] = ()
    at_most: int | None = None
    gate: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceSelector:
    """Devices by role, by glob patterns of their name, or by dpid; empty selects all."""

    roles: tuple[Role, ...] = ()
    names: tuple[str, ...] = ()
    dpids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassChange:
    """How a class differs on some devices (420: an altered copy). None leaves a value as it is."""

    class_index: int
    rate_limit: int | None = None
    no_rate_limit: bool = False
    exclusive: bool | None = None
    path: PathPreference | None = None
    max_queues: int | None = None
    meter_only: bool | None = None


@dataclass(frozen=True, slots=True)
class DeviceRules:
    """What of the rules a device gets: all, changed, or only some classes (M2)."""

    devices: DeviceSelector
    only: tuple[int, ...] | None = None
    changes: tuple[ClassChange, ...] = ()
    role: Role | None = None
    uplinks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Balance:
    """When and how much flows are moved. ``imbalance``: busiest over mean load minus 1, above which to act.

    At most ``moves_per_second`` (share of the port's flows), no flow twice within ``window`` s. The default
    of 2 % is RSS++'s (Barbette et al., CoNEXT 2019). ``flows_per_queue``: how many flows a hardware queue
    takes on average before flows that may do without hardware overflow to software queues; None: any number.
    """

    strategy: str = "combined"
    imbalance: float = 0.02
    moves_per_second: float = 0.02
    window: float = 10.0
    interval: float = 1.0
    flows_per_queue: int | None = None


@dataclass(frozen=True, slots=True)
class Pins:
    """Exact entries: ``worthy`` only where they pay, ``all`` for every flow.

    ``reactive`` lets no packet of a new flow out before the controller has placed it (the textbook way).
    """

    which: str = "worthy"
    budget: int = 10_000
    idle_timeout: int = 10


@dataclass(frozen=True, slots=True)
class Policy:
    """One whole policy. ``text`` is the document it was made from."""

    classes: tuple[TrafficClass, ...]
    rules: tuple[Rule, ...] = ()
    gates: tuple[RateGate, ...] = ()
    shares: tuple[Share, ...] = ()
    trust: tuple[Trust, ...] = ()
    devices: tuple[DeviceRules, ...] = ()
    balance: Balance = field(default_factory=Balance)
    pins: Pins = field(default_factory=Pins)
    copy_rate: int = 1000
    learn_after: int = 8
    text: str = ""
