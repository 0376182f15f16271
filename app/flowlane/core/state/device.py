"""State of the engine: devices with their ports and flows, VMs, hints, the policy.

Only the engine changes it. Others (REST, explain, tests) read it between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core import marks
from flowlane.core.allocate.state import NEVER, Columns
from flowlane.core.flow.estimates import Samples
from flowlane.core.flow.readings import Readings
from flowlane.core.model import (
    NO_QUEUE,
    NOT_A_VM,
    Ambiguity,
    Capabilities,
    Hint,
    PortFacts,
    PortReport,
    PortRole,
    Queue,
    Role,
    Vm,
)
from flowlane.core.pacing import no_pause
from flowlane.core.policy import UNKNOWN_ORIGIN
from flowlane.core.state.audit import Audit
from flowlane.core.state.flows import FlowTable
from flowlane.core.state.meters import MeterPool
from flowlane.core.state.quotas import Bucket, CopyLimit, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.allocate.state import PortState
    from flowlane.core.classify.classifier import Classifier
    from flowlane.core.classify.gates import PortGate
    from flowlane.core.effects import DevicePlan
    from flowlane.core.events import DeviceDescribed, FoundPin
    from flowlane.core.flow.kept import KeptFlow
    from flowlane.core.flow.new_pins import NewPin
    from flowlane.core.marks import Marking
    from flowlane.core.model import Admission, Cordon, LeftOut, ManualPin, MeterSpec
    from flowlane.core.policy import PassiveSwitch, Policy, PolicyOrigin, TrafficClass
    from flowlane.core.state.claims import Carried, Claim, Claims, Conflict, Left, Origin, PathMove
    from flowlane.core.state.links import SeenLink
    from flowlane.core.state.meters import Owner
    from flowlane.core.state.senders import KnownSender


class Due(IntEnum):
    """What of a device is to be made anew at the next catch-up; each kind includes the ones before it."""

    NOTHING = 0
    PORTS = 1
    """What follows from single ports (``Device.news``); these may be due beside any other kind."""
    HOSTS = 2
    """The destinations of its plan: addresses were learned."""
    PLAN = 3
    """Its plan."""
    ALL = 4
    """Everything that follows from its raw inputs: ports, queues, VMs, policy, plan."""


@dataclass(slots=True)
class Port:
    """A port of a device. ``allocation`` is None while the port has no queues."""

    port_no: int
    name: str
    role: PortRole
    role_reason: str = ""
    """Why the port has its role; empty where somebody else made it."""
    report: PortReport | None = None
    facts: PortFacts | None = None
    queues: dict[int, Queue] = field(default_factory=dict)
    allocation: PortState | None = None
    shaped: tuple[Queue, ...] = ()
    """The queues that ``allocation`` was made or updated for."""
    next_balance: float = 0.0
    arrived: int = 0
    """Flows that ``allocation`` had taken in when the weights for new flows were computed last."""
    crowd: float = 0.0
    """Load of the largest crowd of new flows of the last minutes, in bit/s begun in a second."""
    crowd_at: float = 0.0
    """When ``arrived`` and ``crowd`` were brought up to date."""
    gates: tuple[tuple[PortGate, ...], float, Policy | None] = ((), 0.0, None)
    """The rate gates of a policy for flows that leave by the port, and since when they stand."""
    other_macs: dict[int, None] = field(default_factory=dict)
    """Source addresses that its VM has used, and that neither OVSDB nor the policy gives it."""
    senders: dict[tuple[int, int | None], int] = field(default_factory=dict)
    """Of a link: (MAC, VLAN) of a VM behind it -> its number; VLAN 0: untagged, None: any."""
    vms_behind: frozenset[int] = frozenset()
    """Numbers of the VMs in ``senders``: table ingress writes them for frames from the port."""
    host_count: int = 0
    """How many source addresses were learned on the port."""
    is_guess: bool = False
    """Whether nothing but its queues, or nothing at all, says which role it has."""
    has_neighbour: bool = False
    """Whether a probe of another device has come in by it."""
    probe_at: float | None = None
    """When it sends its next probe (see :mod:`flowlane.core.topology.discovery`); None: it sends none."""
    fast_probes: int = 0
    """How many of the next probes follow soon after one another."""
    up: bool = True
    """Whether its link is up; of a bond, whether one of its members is."""
    bond_rate: int | None = None
    """Rate of the bond that it stands for, in bit/s; None when it stands for none, or the rate is not known."""

    @property
    def label(self) -> str:
        """Name for people: of its bond where it is a member of one, else of the port."""
        return self.facts.port if self.facts and self.facts.members else self.name

    @property
    def rate(self) -> int | None:
        """Rate of the port, or of the bond that it stands for, in bit/s; None when not known."""
        return self.own_rate if self.bond_rate is None else self.bond_rate

    @property
    def own_rate(self) -> int | None:
        """Rate of the port in bit/s: its QoS row's max-rate, else its link's speed; None when not known."""
        if self.facts and self.facts.qos_max_rate:
            return self.facts.qos_max_rate
        if self.facts and self.facts.link_speed:
            return self.facts.link_speed
        return self.report.speed if self.report else None


class Passive(NamedTuple):
    """A passive switch behind a port of a device, and the ports by which flows enter and leave it."""

    device: Device
    in_port: int
    egress_port: int


@dataclass(slots=True)
class Device:
    """One datapath. ``policy`` is the part of the operator's policy that applies to it (420)."""

    dpid: int
    policy: Policy
    classifier: Classifier
    columns: Columns = field(default_factory=Columns)
    name: str = ""
    role: Role = Role.NIC
    connected: bool = False
    awaits_database: bool = False
    """There is a connection, and nothing is changed in the device until a database has been read that describes it."""
    queues_unread: bool = False
    """Its queues may have changed since they were last requested."""
    news: set[int] = field(default_factory=set)
    """Numbers of the ports that have come, changed or gone since what follows from them was made."""
    names_vms: bool | None = None
    """Whether ``policy`` has single VMs in it (:func:`.patching.names_vms`); None: not looked at yet."""
    since: float = 0.0
    peer: str = ""
    capabilities: Capabilities = field(default_factory=Capabilities)
    unusable: str = ""
    """Why the device cannot be used; '': it can."""
    conflicts: tuple[str, ...] = ()
    """Where entries of other controllers conflict with ours."""
    rivals: tuple[str, ...] = ()
    """Addresses of the switches that connect with its dpid in turns."""
    reported_ports: dict[int, PortReport] = field(default_factory=dict)
    reported_queues: dict[int, tuple[int, ...]] = field(default_factory=dict)
    described: DeviceDescribed | None = None
    ports: dict[int, Port] = field(default_factory=dict)
    ambiguities: tuple[Ambiguity, ...] = ()
    """Ports whose role is a guess."""
    flows: FlowTable = field(default_factory=FlowTable)
    hosts: dict[tuple[int, int | None], int] = field(default_factory=dict)
    """(MAC, VLAN inside of the bridge) -> port number of every address that was learned; VLAN None: any."""
    set_aside: dict[int, dict[tuple[int, int | None], float]] = field(default_factory=dict)
    """Number of a port whose link was down -> addresses learned on it that have not sent since -> when it was up."""
    queues_to_vms: bool = False
    """Whether ports to its VMs or to the host have queues to choose from."""
    has_links: bool = True
    """Whether VMs may be behind links of it whose other end OVSDB does not name."""
    queues_inward: bool = False
    """Whether they have, or those of bridges behind patch ports: what comes in by the uplinks is placed, too."""
    bonds: dict[int, int] = field(default_factory=dict)
    """Number of a port that is a member of a bond -> number of the port that stands for the bond."""
    host_seen: dict[tuple[int, int | None], float] = field(default_factory=dict)
    """The same keys -> when the address was the source of a copied packet, or of a counted flow, last."""
    next_aging: float = 0.0
    """When the addresses are looked at for whether they are to be forgotten."""
    next_address_plan: float = 0.0
    """From when on an address that was learned may have the whole plan made anew."""
    address_waits: bool = False
    """An address was learned for which the whole plan is to be made anew then."""
    doubtful: dict[int, float] = field(default_factory=dict)
    """MAC of an address without a sign for long -> since when it is in doubt."""
    port_vm: dict[int, int] = field(default_factory=dict)
    """Port number -> number of the VM that the port claims; the VM may be at another port that claims it."""
    claims: dict[int, Claim] = field(default_factory=dict)
    """Port number -> its claim to that VM."""
    away: dict[int, int] = field(default_factory=dict)
    """Number of a VM of the device, or behind its patch ports, by OVSDB -> the uplink or link that announced it."""
    vm_groups: dict[int, int] = field(default_factory=dict)
    """VM number -> the number that stands for all NICs of its VM on the device, where it has several."""
    shares: dict[int, int] = field(default_factory=dict)
    """VM number -> index of its share of the hardware."""
    meter_pool: MeterPool = field(default_factory=MeterPool)
    shared_limits: dict[Owner, TrafficClass] = field(default_factory=dict)
    """Owner of a meter that is to stand with the rules -> the class whose limit it is."""
    nearer: dict[int, tuple[Device, ...]] = field(default_factory=dict, repr=False, compare=False)
    """Number of a VM behind a link -> the devices between the VM and this one, the VM's own first."""
    enforced_elsewhere: frozenset[tuple[str, int]] = frozenset()
    """(class name, VM number) of the limits that a device nearer to the VM enforces."""
    vm_meters: dict[tuple[int, int], int] = field(default_factory=dict)
    """(number of a limit, VM number) -> the meter to which the standing rules lead."""
    meter_owner: dict[int, Owner] = field(default_factory=dict)
    """Row -> owner of the flow's meter, for the flows that have one."""
    meters_to_delete: set[int] = field(default_factory=set)
    """Meters that were released while the device was not connected: it may still have them."""
    groups: dict[tuple[object, ...], int] = field(default_factory=dict)
    """What makes flows alike -> the number of the group in the allocator."""
    policy_left_out: tuple[LeftOut, ...] = ()
    """Parts of the operator's policy that the device does not get."""
    meters_left_out: tuple[LeftOut, ...] = ()
    """Limits of classes, and of VMs, for which the device has no meter left."""
    plan_left_out: tuple[LeftOut, ...] = ()
    """Parts of its plan for which the device has no entries, as reported by the southbound side."""
    refused_left_out: dict[str, LeftOut] = field(default_factory=dict)
    """What was refused (``pin``, ``meter``) -> what the device does not get for that reason."""
    plan: DevicePlan | None = None
    pinned: int = 0
    new_pins: dict[int, NewPin] = field(default_factory=dict)
    """Row -> its pin, for flows that have just got one (see :mod:`flowlane.core.flow.new_pins`)."""
    looks: float = 0.0
    """New flows that may be looked at for whether their queue carries too much, at ``looks_at``; below 0: a storm."""
    looks_at: float = NEVER
    in_adoption: bool = False
    """The device has just connected: flows found on it stay (see :mod:`flowlane.core.device.takeover`)."""
    unknown_pins: list[FoundPin] = field(default_factory=list)
    """Pins found on the device whose VM, behind a link, is not known yet."""
    found_meters: dict[int, MeterSpec] = field(default_factory=dict)
    """Meters of the pins that the device had when it connected, as they were then."""
    adopting: bool = False
    """The flow that is being placed was found on the device."""
    pins_when_full: int | None = None
    """Pins that the device had when its table was full; None: it was not. Tried again at ``pin_retry``."""
    pin_retry: float = 0.0
    meter_retry: float | None = None
    """When a device that refused a meter is tried again; None: it refused none since it connected."""
    pins_by_worth: tuple[dict[int, None], ...] = field(default_factory=lambda: tuple({} for _ in range(6)))
    """Rows with a pin, by its worth (see :mod:`flowlane.core.flow.pins`), the oldest first."""
    pins_of_vm: dict[int, tuple[dict[int, None], ...]] = field(default_factory=dict)
    """VM number -> rows of its flows with a pin, as in ``pins_by_worth``."""
    pin_counts: dict[int, int] = field(default_factory=dict)
    """VM number -> how many pins its flows have; VMs without a pin are not there."""
    manual_pins: dict[bytes, ManualPin] = field(default_factory=dict)
    """Key of a flow -> the queue to which an operator has pinned it (see :mod:`flowlane.core.flow.manual`)."""
    cordons: dict[tuple[int, int], Cordon] = field(default_factory=dict)
    """(port number, queue id) -> that the queue takes no new flows (see :mod:`flowlane.core.device.cordons`)."""
    marking: Marking | None = None
    """How it chooses its queue by mark; None: by ``set_queue`` (see :mod:`flowlane.core.device.marking`)."""
    declared: PassiveSwitch | None = None
    """It is a passive switch of the policy, without a connection (see :mod:`flowlane.core.device.passive`)."""
    passives: dict[int, Passive] = field(default_factory=dict, repr=False, compare=False)
    """Port number -> the passive switch behind it that gets the marks."""
    upstream: dict[int, Device] = field(default_factory=dict, repr=False, compare=False)
    """Of a passive switch: ingress port -> the device whose port leads to it."""
    replaced: set[int] = field(default_factory=set)
    """Of a passive switch: rows whose queue has changed, so that their mark is to be written."""
    relearn: set[int] = field(default_factory=set)
    """Ports whose learned entries are deleted with the next plan, so that the device places the flows anew."""
    spreads: dict[tuple[int, int], tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """(class index, port number) -> (queue id, weight) of the queues for new flows, as last planned."""
    found_groups: dict[int, dict[int, int]] = field(default_factory=dict)
    """Id of a group that was found in the device -> weight of each choice, until the end of the adoption."""
    next_weighing: float = 0.0
    next_tick: float = 0.0
    """When its next tick may have something to do, while it has no flows."""
    begun: dict[int, int] = field(default_factory=dict)
    """Port number -> flows that have begun there since ``arrivals_at``."""
    arrival_rates: dict[int, float] = field(default_factory=dict)
    """Port number -> its new flows per second (EWMA)."""
    arrivals_at: float = 0.0
    tracked: dict[int, float] = field(default_factory=dict)
    """Ports whose young flows the device counts -> since when (see :mod:`flowlane.core.device.arrivals`)."""
    known_senders: dict[bytes, KnownSender] = field(default_factory=dict, repr=False, compare=False)
    """Source MAC -> what the last packet from it has shown (see :mod:`flowlane.core.state.senders`)."""
    usages: dict[int, Usage] = field(default_factory=dict)
    """VM number -> what it uses of the device (see :mod:`flowlane.core.device.quotas`)."""
    flows_of_vm: dict[int, int] = field(default_factory=dict)
    """VM number -> its flows in ``flows``; VMs without flows are not there."""
    copies: Bucket = field(default_factory=Bucket)
    """Copies of VMs' packets that have come."""
    copy_limit: CopyLimit = field(default_factory=CopyLimit)
    refusals: dict[str, int] = field(default_factory=dict)
    queue_counters: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)
    meter_counters: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    counted_meters: set[Owner] = field(default_factory=set)
    """Owners of shared meters whose last counters say what passed."""
    passed_shares: dict[Owner, float] = field(default_factory=dict)
    """Owner of a shared meter -> the share of what its flows send that passes; 1 where there is none."""
    copies_dropped: int | None = None
    """Copies of packets that the device's limit on packet-ins dropped; None when it does not count them."""
    readings: Readings = field(default_factory=Readings)
    audit: Audit = field(default_factory=Audit)
    next_probe: float = 0.0
    """When the first of its ports sends a probe."""
    samples: Samples = field(default_factory=Samples)
    sweep_from: int = 0
    refit_from: int | None = None
    """The first row that is not placed under a new policy yet (:mod:`flowlane.core.device.refit`); None: all are."""
    origins: dict[int, Origin] = field(default_factory=dict)
    """Row -> where the flow was before, for flows that have come from another interface, or with their VM."""
    left: dict[bytes, Left] = field(default_factory=dict)
    """Key of a flow that goes on by another interface -> what it left behind."""

    def limit_owner(self, number: int) -> int:
        """Return the VM number under which limits of scope ``vm`` are kept: one for all NICs of a VM."""
        return self.vm_groups.get(number, number)

    def of_bond(self, port_no: int) -> int:
        """Return the port that stands for a port: of its bond, else itself."""
        return self.bonds.get(port_no, port_no)

    def choice(self, queue_id: int, mark: int = marks.NO_MARK) -> int:
        """Return what entries name for a queue of the device, and a mark for the passive switch behind its port."""
        if self.marking is None:
            return marks.join(queue_id, mark)
        if queue_id == NO_QUEUE:
            return queue_id
        return marks.join(NO_QUEUE, self.marking.mark_of(queue_id))

    def chosen(self, choice: int | None, dscp: int = 0, pcp: int = 0) -> int | None:
        """Return the queue that an entry's choice gives a packet with its own marks; None where none was reported."""
        if choice is None or choice == NO_QUEUE:
            return choice
        if self.marking is None:
            return marks.split(choice)[0]
        if self.marking.kept(dscp, pcp):
            return NO_QUEUE
        queue_id, mark = marks.split(choice)
        return queue_id if mark == marks.NO_MARK else self.marking.queue_of(mark)

    def passive_row(self, row: int) -> tuple[Device, int] | None:
        """Return a flow's passive switch and its row there; None where it has none."""
        passive = self.passives.get(self.flows.egress_port[row])
        key = self.flows.keys[row]
        if passive is None or key is None:
            return None
        there = passive.device.flows.rows.get(key)
        is_same = there is not None and passive.device.flows.in_port[there] == passive.in_port
        return (passive.device, there) if there is not None and is_same else None

    def manual_pin(self, row: int) -> ManualPin | None:
        """Return the pin that an operator gave a flow, where it has the queue and leaves by its port; None else."""
        pin = self.manual_pins.get(self.flows.keys[row] or b"") if self.manual_pins else None
        port = None if pin is None else self.ports.get(pin.port_no)
        if pin is None or port is None or self.flows.egress_port[row] != pin.port_no:
            return None
        return pin if pin.queue_id in port.queues else None

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Everything that the device does not get, with the reasons."""
        planned = self.policy_left_out + self.meters_left_out + self.plan_left_out
        return planned + tuple(self.refused_left_out.values())

    @property
    def pin_budget(self) -> int:
        """How many pins the device may have: as the policy says, or fewer where its table was full."""
        budget = self.policy.pins.budget
        return budget if self.pins_when_full is None else min(budget, self.pins_when_full)

    @property
    def meters(self) -> Mapping[int, MeterSpec]:
        """The device's meters by their ids."""
        return self.meter_pool.specs


@dataclass(slots=True)
class State:
    """State of the engine. ``now`` is the time of the last step, in seconds of the caller's clock."""

    policy: Policy
    now: float = 0.0
    devices: dict[int, Device] = field(default_factory=dict)
    described: dict[int, DeviceDescribed] = field(default_factory=dict)
    unattached: dict[int, Device] = field(default_factory=dict)
    """Bridges without a connection behind patch ports of devices (see :mod:`flowlane.core.device.unattached`)."""
    passive_switches: tuple[PassiveSwitch, ...] = ()
    """Those of the expected network; one of the policy with the same name takes its place."""
    passive: list[Device] = field(default_factory=list)
    """The passive switches among the devices."""
    vms: dict[int, Vm] = field(default_factory=dict)
    vm_numbers: dict[str, int] = field(default_factory=dict)
    """VM id -> its number, also of VMs that are gone, for a while."""
    numbers_taken: set[int] = field(default_factory=set)
    gone_vms: dict[str, float] = field(default_factory=dict)
    """Id of a VM that is gone -> since when, the oldest first; its number is not used for another one meanwhile."""
    macs: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """MAC -> numbers of the VMs that own it, by OVSDB, the one that is known longest first."""
    claims: dict[int, Claims] = field(default_factory=dict)
    """VM number -> the ports that claim the VM (see :mod:`flowlane.core.device.claims`)."""
    conflicts: dict[int, tuple[Conflict, ...]] = field(default_factory=dict)
    """VM number -> what of it others claim, too."""
    renamed: set[int] = field(default_factory=set)
    """Numbers of VMs that have moved and have other external ids there: their flows are to be classified anew."""
    carried: dict[bytes, Carried] = field(default_factory=dict)
    """Key of a flow of a VM that has moved -> what is known of it, until it is seen on the other device."""
    nics: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """``vm-uuid`` -> numbers of the NICs that have it."""
    kept: dict[int, dict[bytes, KeptFlow]] = field(default_factory=dict)
    """dpid -> key of a flow -> what was known of it before the controller was restarted, until it is adopted."""
    path_moves: dict[tuple[int, bytes], PathMove] = field(default_factory=dict)
    """(dpid, key) of a flow that came from another interface of its VM -> the move, until the flow has left the other
    one (see :mod:`flowlane.core.flow.paths`)."""
    addresses: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    """IP address -> numbers of the VMs that have sent from it (see :func:`flowlane.core.topology.way.note_address`)."""
    addresses_noted: dict[int, int] = field(default_factory=dict)
    """VM number -> how many addresses of it are noted."""
    patch_ports: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """(machine, name of a patch port) -> (dpid, port number)."""
    links: dict[int, dict[int, tuple[SeenLink, ...]]] = field(default_factory=dict)
    """dpid -> port number -> the links that probes have crossed (see :mod:`flowlane.core.topology.discovery`)."""
    hints: dict[str, Hint] = field(default_factory=dict)
    hints_of_vm: dict[str, tuple[Hint, ...]] = field(default_factory=dict)
    """VM id, or ``vm-uuid`` -> its hints apart from packets, the most specific first (see :meth:`hints_of`)."""
    due: dict[int, Due] = field(default_factory=dict)
    """dpid -> what waits for the next catch-up (see :func:`put_off`)."""
    policy_origin: PolicyOrigin = UNKNOWN_ORIGIN
    given_roles: dict[int, Role] = field(default_factory=dict)
    """dpid -> the role that an operator gave the device over REST."""
    refits: dict[int, None] = field(default_factory=dict)
    """dpids of the devices with flows that are not placed under a new policy yet."""
    cordons_ahead: dict[int, dict[tuple[int, int], Admission]] = field(default_factory=dict)
    """dpid -> (port number, queue id) -> what was ordered of a queue whose device has not connected yet."""
    pins_ahead: dict[int, dict[bytes, ManualPin]] = field(default_factory=dict)
    """dpid -> key -> the pin by hand of a flow that is not known there yet."""
    policy_changes: int = 0
    policy_awaited: set[int] = field(default_factory=set)
    """dpids of the devices that do not have their part of the policy in force yet."""
    awake: set[int] = field(default_factory=set)
    """dpids of the devices that are polled as often as may be: those where flows are."""
    with_flows: int = 0
    """How many of them there were at the last poll."""
    next_poll_of_all: float = 0.0
    """When the others are polled as well."""
    beyond_quota: dict[int, set[int]] = field(default_factory=dict)
    """VM number -> dpids of the devices where it is, or has been, beyond its quota."""
    restless: set[int] = field(default_factory=set)
    """dpids of the devices where flows have changed their classes since the last rebalance."""
    collects_samples: bool = False
    """Whether the controller receives samples of devices."""
    sends_probes: bool = True
    """Whether devices send probes, by which links are found (see :mod:`flowlane.core.topology.discovery`)."""
    pace: Callable[[], None] = field(default=no_pause, repr=False, compare=False)
    """Called now and then in long loops, where others may be served (see :mod:`flowlane.core.pacing`)."""
    busy: int | None = None
    """dpid of the device whose work makes pauses: what happens meanwhile does not begin anything there."""
    classifier: Classifier | None = field(default=None, repr=False, compare=False)
    """The last one that was compiled, of which others of the same rules take what is theirs, too."""

    def hints_of(self, vm: Vm, origin: Origin | None = None) -> tuple[Hint, ...]:
        """List the hints for a VM apart from packets: those of the NIC, then those of all NICs of its ``vm-uuid``.

        Args:
            origin: where a flow came from; it brings the hints of the NIC there along, which come last.
        """
        own = self.hints_of_vm.get(vm.id, ())
        if vm.uuid and vm.uuid != vm.id:
            own += self.hints_of_vm.get(vm.uuid, ())
        other = self.vms.get(origin.vm) if origin is not None and origin.vm != vm.number else None
        return own if other is None else own + self.hints_of_vm.get(other.id, ())

    def vm_on(self, dpid: int, port_no: int) -> Vm | None:
        """Find the VM that is attached to a port."""
        return self.vms.get(self.devices[dpid].port_vm.get(port_no, NOT_A_VM))


def device_of(state: State, dpid: int) -> Device | None:
    """Find a device, or a bridge that is known by OVSDB only."""
    return state.devices.get(dpid) or state.unattached.get(dpid)


def put_off(state: State, device: Device, what: Due) -> None:
    """Leave work on a device to the next catch-up, so that it is done once for all news that came together."""
    state.due[device.dpid] = max(what, state.due.get(device.dpid, Due.NOTHING))


def rows_of_vm(device: Device, number: int) -> Iterator[int]:
    """List the rows of a VM's flows; the flows may be removed meanwhile."""
    column = device.flows.vm_number
    return (row for row in list(device.flows) if column[row] == number)
