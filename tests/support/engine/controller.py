"""A controller for REST's tests: the engine's real tables, filled by hand, and no network."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flowlane.cluster.membership import MemberView
from flowlane.core.classify.classifier import compile_rules
from flowlane.core.dry_run import Outcome, dry_run
from flowlane.core.effects import FlowReport, Report
from flowlane.core.engine import Engine
from flowlane.core.events import DeviceDescribed
from flowlane.core.flow.pins import adopt
from flowlane.core.flowkey import IPV4, IPV6, LAYER2, FlowParts, pack
from flowlane.core.model import (
    Capabilities,
    Hint,
    HintSource,
    LeftOut,
    ManualPin,
    MeterSpec,
    PortRole,
    Queue,
    QueueKind,
    Reason,
    Role,
    Vm,
)
from flowlane.core.policy import Match, Policy, Rule, TrafficClass
from flowlane.core.state.device import Device, Port, State
from flowlane.core.state.flows import PINNED
from flowlane.errors import PolicyError, Problem
from flowlane.northbound.controller import Check, Clock
from flowlane.northbound.feed import Feed
from flowlane.northbound.queue_history import QueueHistory
from flowlane.southbound.openflow.tables.entries import Bucket, GroupEntry
from flowlane.southbound.ovsdb.databases import Databases, DatabaseStatus
from flowlane.southbound.ovsdb.remote import TlsFiles
from flowlane.telemetry import Telemetry

if TYPE_CHECKING:
    from flowlane.core.events import Event
    from flowlane.core.topology.expected import Expected

NIC, TOR = 0x1, 0xABCDEF0123456789
WEB, DB = 0xAAAA0001, 0xBBBB0002
NOW = 1000.0
WALL = 1_800_000_000.0
POLICY = Policy(
    classes=(
        TrafficClass("default", 0),
        TrafficClass("heavy", 1, priority=3, exclusive=True),
        TrafficClass("capped", 2, rate_limit=50_000_000),
    ),
    rules=(Rule("backups", 0, Match(dst_ports=((873, 873),)), 2, line=9),),
    text="version: 1\n",
)
QUEUES = {n: Queue(n, QueueKind.PHYSICAL, 1_000_000, 100_000_000) for n in range(4)} | {
    10: Queue(10, QueueKind.SOFTWARE)
}


@dataclass
class FakeController:
    """Fits :class:`flowlane.northbound.controller.Controller`; tests set ``now``."""

    engine: Engine
    feed: Feed = field(default_factory=Feed)
    history: QueueHistory = field(default_factory=QueueHistory)
    started: float = WALL - 60
    faults: int = 0
    datagrams: dict[str, int] = field(default_factory=dict)
    expected: Expected | None = None
    now: float = NOW
    keeps: bool = True
    others: list[MemberView] = field(default_factory=list)
    telemetry: Telemetry = field(default_factory=Telemetry)
    kept: bool = False
    problems: list[Check] = field(default_factory=lambda: [Check("openflow"), Check("ovsdb")])
    submitted: list[Event] = field(default_factory=list)
    known: Databases = field(
        default_factory=lambda: Databases(["host1=tcp:127.0.0.1:1", "unix:/none"], TlsFiles(), print)
    )

    @property
    def state(self) -> State:
        return self.engine.state

    def clock(self) -> Clock:
        return Clock(self.now, WALL + self.now - NOW)

    def checks(self) -> list[Check]:
        return self.problems

    def groups(self, dpid: int) -> tuple[GroupEntry, ...]:
        buckets = tuple(Bucket(queue_id, 9, 1, 7) for queue_id in (0, 1))
        return (GroupEntry(5, buckets, "hash"), GroupEntry(3, buckets)) if dpid == NIC else ()

    def databases(self) -> list[DatabaseStatus]:
        return self.known.statuses()

    def members(self) -> list[MemberView]:
        return self.others

    def leader_of(self, dpid: int) -> MemberView | None:
        return next((member for member in self.others if dpid in member.leads), None)

    def announce(self, name: str, target: str, tls: tuple[str, str, str] | None) -> bool:
        return self.known.announce(name, target, None if tls is None else TlsFiles(*tls))

    def withdraw(self, name: str) -> None:
        self.known.withdraw(name)

    def submit(self, event: Event) -> None:
        self.submitted.append(event)
        for effect in self.engine.step_and_catch_up(event, self.now):
            if isinstance(effect, Report | FlowReport):
                self.feed.publish(effect, self.clock().wall)

    def wait_for_policy(self) -> None:
        assert not self.state.policy_awaited

    def keep_policy(self) -> bool:
        self.kept = self.keeps
        return self.keeps

    def is_policy_kept(self) -> bool:
        return self.kept

    def wait_for_changes(self, dpid: int) -> None:
        assert dpid not in self.state.due

    def try_policy(self, policy: Policy) -> Outcome:
        return dry_run(self.state, policy)

    def compile_policy(self, text: str) -> Policy:
        """A toy language: ``classes: a b c``; what begins with ``bad`` is refused."""
        if text.startswith("bad") or not text:
            raise PolicyError(
                (Problem(3, 7, "classes.bulk.limit", "'fast' is not a rate", "write 50Mbit/s"),)
            )
        names = text.partition("classes:")[2].split() or ["default"]
        classes = tuple(TrafficClass(name, index) for index, name in enumerate(names))
        return replace(POLICY, classes=classes, rules=(), text=text)


def world() -> FakeController:
    """Two devices, two VMs, and flows of every kind on the first one; the second one has one of them too."""
    engine = Engine(POLICY)
    state, rules = engine.state, compile_rules(POLICY)
    nic = Device(
        NIC, POLICY, rules, name="br-nic", role=Role.NIC, connected=True, since=NOW - 50, peer="127.0.0.1:1"
    )
    nic.capabilities = Capabilities(version=4, max_meters=100, select_groups=True)
    nic.ports = {
        1: Port(1, "vf0", PortRole.VM),
        2: Port(2, "vf1", PortRole.VM),
        9: Port(9, "uplink", PortRole.UPLINK, queues=dict(QUEUES)),
    }
    nic.queue_counters[9, 1] = (10, 9000, 0)
    nic.meter_pool.specs[7] = MeterSpec(7, 50_000_000, 5_000_000)
    nic.meter_pool.users[7] = 1
    tor = Device(TOR, POLICY, compile_rules(POLICY), name='tor "1"', role=Role.SWITCH)
    tor.ports = {5: Port(5, "up", PortRole.UPLINK)}
    state.devices = {TOR: tor, NIC: nic}
    state.vms = {
        WEB: Vm(WEB, "uuid-web", "web", NIC, 1, "vf0", (0x020000000001,), source="vm-uuid"),
        DB: Vm(DB, "ns/db", "db", NIC, 2, "vf1"),
    }
    state.vm_numbers = {vm.id: number for number, vm in state.vms.items()}
    nic.hosts = {(0x020000000001, None): 1, (0x020000000009, 7): 9}
    nic.described = DeviceDescribed(NIC, "br-nic", None, {}, "system", {}, "machine-1", "compute1")
    state.described = {NIC: nic.described}
    for key, where in FLOWS:
        put(nic, key, **where)
    put(tor, FLOWS[0][0], egress_port=5, in_port=1)
    return FakeController(engine)


def furnished() -> FakeController:
    """The same, with orders of an operator: a flow that is pinned by hand, and a hint of a name."""
    controller = world()
    for device in controller.engine.devices.values():
        device.policy_left_out = (LeftOut("rule backups", "the device has no meters", "give it meters"),)
    controller.engine.devices[NIC].manual_pins[FLOWS[0][0]] = ManualPin(9, 1, NOW - 5, NOW + 600)
    hint = Hint("rest:uuid-web:backup", "uuid-web", "heavy", Match(), HintSource.REST)
    controller.engine.state.hints[hint.id] = hint
    controller.others = [
        MemberView("other", "http://192.0.2.9:8080", "0.1", WALL - 9, False, 0.2, 1, (0x77,))
    ]
    return controller


HOSTILE = "\x1b[2J\n\u202e"
"""What an attacker adds to a name: clear the screen, begin a line, write from right to left."""


def hostile() -> FakeController:
    """The furnished one, in which all names that others choose end in :data:`HOSTILE`."""
    controller = furnished()
    # It leads nothing, so that nobody asks it, at an address that does not answer.
    controller.others = [member._replace(leads=()) for member in controller.others]
    state = controller.engine.state
    for device in state.devices.values():
        device.name += HOSTILE
        for port in device.ports.values():
            port.name += HOSTILE
            port.role_reason = f"external_ids say{HOSTILE}"
        device.conflicts = (f"entry of {HOSTILE} is not met",)
    for number, vm in state.vms.items():
        state.vms[number] = replace(
            vm, id=vm.id + HOSTILE, name=vm.name + HOSTILE, port_name=vm.port_name + HOSTILE
        )
    state.vm_numbers = {vm.id: number for number, vm in state.vms.items()}
    described = replace(state.described[NIC], name=f"br-nic{HOSTILE}", host_name=f"compute1{HOSTILE}")
    state.described[NIC] = state.devices[NIC].described = described
    return controller


def put(device: Device, key: bytes, seen: float = NOW - 10, **columns: float) -> int:
    """Put a flow into a device's table."""
    row = device.flows.add(key, seen)
    device.flows.vm_number[row] = number = struct.unpack_from("!I", key)[0]
    device.flows_of_vm[number] = device.flows_of_vm.get(number, 0) + 1
    for name, value in columns.items():
        getattr(device.flows, name)[row] = value
    if device.flows.flags[row] & PINNED:
        device.flows.flags[row] &= ~PINNED
        adopt(device, row, by_vm=False)
    return row


def ipv4(
    vm: int, protocol: int, src_port: int, dst_port: int, last: int = 1, vlan: int | None = None
) -> bytes:
    """Key of a flow from 10.0.0.<last> to 192.0.2.1."""
    return pack(
        FlowParts(
            vm, vlan, IPV4, protocol, src_port, dst_port, bytes((10, 0, 0, last)), bytes((192, 0, 2, 1))
        )
    )


PHYSICAL = {"egress_port": 9, "kind": QueueKind.PHYSICAL, "flags": PINNED}
FLOWS: list[tuple[bytes, dict[str, float]]] = [
    (
        ipv4(WEB, 6, 1234, 80),
        {
            **PHYSICAL,
            "queue_id": 1,
            "class_index": 1,
            "rate": 9.5e7,
            "reason": Reason.EXCLUSIVE,
            "packets": 5,
            "octets": 700,
        },
    ),
    (
        ipv4(WEB, 6, 1235, 873),
        {**PHYSICAL, "queue_id": 2, "class_index": 2, "meter_id": 7, "reason": Reason.SHARED},
    ),
    (
        ipv4(DB, 17, 53, 5353, last=2, vlan=0),
        {**PHYSICAL, "queue_id": 2, "reason": Reason.SHARED, "dscp": 46},
    ),
    (
        pack(FlowParts(DB, 7, IPV6, 58, 128, 0, bytes(15) + b"\1", b"\x20\x01" + bytes(14))),
        {"egress_port": 9, "queue_id": 10, "kind": QueueKind.SOFTWARE, "reason": Reason.OVERFLOW_TO_SOFTWARE},
    ),
    (
        pack(
            FlowParts(
                DB, None, LAYER2, 0, 0x88F7, 0, bytes.fromhex("020000000002"), bytes.fromhex("0300000000ff")
            )
        ),
        {"egress_port": 9, "reason": Reason.NO_QUEUES, "hint_class": 2, "hint_source": 3},
    ),
]
