"""VMs beyond their quotas: what their packets meet, and that a switch decides about no more of them than NORMAL has to.

The judge of the latter is a real Open vSwitch: the megaflow and the actions of ``ofproto/trace``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from bench.hostile.attacks import ATTACKS
from lab.inside.private_ovs import PrivateOvs
from support.engine.plans import ABLE, OTHER_VM, OTHER_VM_NUMBER, PORTS, REST, UPLINK, VM, VM_NUMBER, plan
from support.openflow.client import NUMBERS, Client, controlled

from flowlane.core import flowkey
from flowlane.core.effects import DevicePlan, PlannedPort, StandingMatch, StandingRule, VmMeter
from flowlane.core.model import LIMIT_BY_VM, Capabilities, PortRole
from flowlane.southbound.openflow.session import encode
from flowlane.southbound.openflow.tables import desired, diff, over_quota, pipeline
from flowlane.southbound.openflow.tables.entries import EMPTY, FlowEntry, Goto, Meter, Standing
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.wire.fields import values
from flowlane.southbound.openflow.wire.nicira import METER, QUEUE, Load, Resubmit
from flowlane.southbound.openflow.wire.selection import BY_DATAPATH, BY_FIELDS

BRIDGE = "br0"
LEARNS = replace(ABLE, learn=True, normal=True, version=NUMBERS["OpenFlow15"])
WITHOUT_ADDRESSES = (
    PlannedPort(VM, PortRole.VM, VM_NUMBER),
    PlannedPort(OTHER_VM, PortRole.VM, OTHER_VM_NUMBER),
    PlannedPort(UPLINK, PortRole.UPLINK, 0, (), PORTS[UPLINK]),
)
SPREAD = REST._replace(queues=((0, 1), (2, 4), (3, 1)))
MAIL = StandingRule(
    5, StandingMatch(ip_proto=flowkey.TCP, dst_ports=((25, 25),)), UPLINK, "mail", ((1, 1),), meter_id=9
)
OF_OTHER = StandingRule(7, StandingMatch(vm_numbers=(OTHER_VM_NUMBER,)), UPLINK, "other", ((1, 1),))
INSIDE = tuple(StandingRule(0, StandingMatch(), port_no, "rest", ()) for port_no in (VM, OTHER_VM))


def beyond(*rules: StandingRule, **changes: object) -> DevicePlan:
    """The plan in which the VM with the known address is beyond its quota."""
    return plan(
        *(rules or (SPREAD, MAIL, *INSIDE)), **{"learned_idle": 10, "over_quota": (VM_NUMBER,), **changes}
    )


def compiled(wanted: DevicePlan, able: Capabilities = LEARNS) -> Standing:
    return desired.compile_plan(wanted, able, PORTS).standing


def of_vm(standing: Standing, number: int = VM_NUMBER) -> list[FlowEntry]:
    """The entries behind table ingress that only a VM's packets meet."""
    return [
        entry
        for entry in standing.flows
        if pipeline.sender_of(values(entry.match).get("metadata", 0)) == number
        and entry.table_id in (TableId.ASSIGN, TableId.SPREAD, TableId.LEARN)
    ]


def test_a_vm_beyond_its_quota_meets_its_rules_in_one_table_and_leaves() -> None:
    entries = of_vm(compiled(beyond()))
    assert {entry.table_id for entry in entries} == {TableId.ASSIGN}
    assert all(entry.steps[-1] == Goto(TableId.OUTPUT) for entry in entries)
    of_mail = [entry for entry in entries if entry.priority == Priority.OVER_QUOTA_RULE + MAIL.order]
    assert {entry.steps[:3] for entry in of_mail} == {(Meter(9), Load(METER, 9), Load(QUEUE, 1 + 1))}
    (rest,) = (entry for entry in entries if values(entry.match) == {"metadata": VM_NUMBER << 32 | UPLINK})
    assert rest.steps == (Load(QUEUE, (0, 2, 3)[VM_NUMBER % 3] + 1), Goto(TableId.OUTPUT))


def test_what_no_rule_matches_leaves_without_a_queue() -> None:
    entries = of_vm(compiled(beyond()))
    lowest = min(entries, key=lambda entry: entry.priority)
    assert values(lowest.match) == {"metadata": VM_NUMBER << 32}
    assert lowest.steps == (Goto(TableId.OUTPUT),)


def test_rules_of_other_vms_are_not_among_them() -> None:
    with_other, without = (of_vm(compiled(beyond(*rules))) for rules in ((SPREAD, OF_OTHER), (SPREAD,)))
    assert with_other == without


def test_limits_of_vms_hold() -> None:
    limit = LIMIT_BY_VM | 1
    limited = REST._replace(meter_id=limit)
    standing = compiled(beyond(limited, vm_meters=(VmMeter(limit, VM_NUMBER, 9),)))
    (rest,) = (entry for entry in of_vm(standing) if entry.priority == Priority.OVER_QUOTA_RULE)
    assert rest.steps[:2] == (Load(METER, limit), Resubmit(TableId.SEEN))


def test_weights_that_change_move_nothing_and_other_vms_are_spread_as_before() -> None:
    heavier = SPREAD._replace(queues=((3, 8), (0, 1), (2, 1)))
    assert of_vm(compiled(beyond(SPREAD))) == of_vm(compiled(beyond(heavier)))
    (group,) = compiled(beyond()).groups
    assert group.select_by == BY_FIELDS
    assert compiled(beyond()).groups == compiled(beyond(over_quota=())).groups


def test_vms_for_which_there_is_no_room_are_led_past_the_tables_that_tell_flows_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = len(of_vm(compiled(beyond())))
    monkeypatch.setattr(over_quota, "MAX_SHORT", short)
    standing = compiled(beyond(over_quota=(VM_NUMBER, OTHER_VM_NUMBER)))
    assert len(of_vm(standing)) == short
    long = {entry.table_id: entry.steps for entry in of_vm(standing, OTHER_VM_NUMBER)}
    assert long == {TableId.ASSIGN: (Goto(TableId.SPREAD),), TableId.LEARN: (Goto(TableId.OUTPUT),)}
    assert {group.select_by for group in standing.groups} == {BY_DATAPATH}


def test_a_device_that_does_not_learn_has_none() -> None:
    assert of_vm(compiled(beyond(), replace(LEARNS, learn=False))) == []


@pytest.fixture
def client(ovs: PrivateOvs) -> Iterator[Client]:
    with controlled(ovs, BRIDGE, "OpenFlow15", ("vm1", "vm2", "up")) as connected:
        yield connected


def program(client: Client, wanted: DevicePlan) -> None:
    changes = diff.changes(compiled(wanted), EMPTY)
    assert client.apply(encode.messages(client.datapath, changes)) == []


def decided(ovs: PrivateOvs, frame: bytes) -> tuple[set[str], str]:
    """The fields that the decision about a frame of the VM looks at, and its actions."""
    traced = ovs.trace(BRIDGE, f"in_port={VM}", frame)
    (megaflow,) = re.findall(r"^Megaflow: (\S+)$", traced, re.MULTILINE)
    actions = re.findall(r"^Datapath actions: (\S+)$", traced, re.MULTILINE)
    assert len(actions) == 1, traced
    return {word.split("=")[0] for word in megaflow.split(",")}, actions[0]


@pytest.mark.ovs
def test_a_flood_takes_no_more_decisions_than_under_normal(ovs: PrivateOvs, client: Client) -> None:
    """The megaflow of each packet has NORMAL's fields, and the packet passes the datapath once, to the same ports.

    Besides it has the priority by which a packet comes in, which is 0 of all of them.
    """
    chance = random.Random(1)
    frames = {name: attack.frame(chance) for name, attack in ATTACKS.items()}
    ovs.ofctl("add-flow", BRIDGE, "actions=NORMAL")
    by_normal = {name: decided(ovs, frame) for name, frame in frames.items()}
    ovs.ofctl("del-flows", BRIDGE)
    program(client, beyond(SPREAD, *INSIDE, ports=WITHOUT_ADDRESSES))
    for name, frame in frames.items():
        fields, actions = decided(ovs, frame)
        queue = re.match(r"set\(skb_priority\(\w+\)\),", actions)
        assert fields - {"skb_priority"} == by_normal[name][0], name
        assert actions.removeprefix(queue[0] if queue else "") == by_normal[name][1], name
        assert (queue is not None) == (by_normal[name][1] != "drop"), name
