"""Claims: on which of several ports a VM is, in every order of the events of a migration; conflicts are shown."""

from __future__ import annotations

from typing import Any

import pytest
from support.engine.scenario import HEAVY_GATE, small_policy
from support.engine.two_hosts import (
    ABLE,
    ARP,
    IDS,
    LIMITED,
    MAC,
    MAC_TEXT,
    OTHER_PORT,
    PORT,
    RARP,
    UPLINK,
    A,
    B,
    Hosts,
    udp,
)

from flowlane.core import events as ev
from flowlane.core.device.claims import HOLD, REFLECTED, RETURNS, SILENT
from flowlane.core.engine import Engine
from flowlane.core.model import PortFacts, PortReport
from flowlane.core.policy import Match, PortSecurity, Rule, VmSelector

SIGNS = {"RARP": RARP, "ARP": ARP, "a packet": udp()}


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("source", ["stays", "goes first", "goes last"])
def test_a_vm_is_where_it_sends_in_every_order_of_a_migration(sign: str, source: str) -> None:
    hosts = Hosts()
    hosts.plug(A)
    hosts.send(A, udp(dport=5000))
    hosts.plug(B)
    assert (hosts.place(), hosts.flows(A)) == ((A, PORT), 1), "it runs at the source"
    assert hosts.words() == {(A, PORT): "current", (B, PORT): "waiting"}
    if source == "goes first":
        hosts.unplug(A)
        assert hosts.place() == (B, PORT), "at once, without a sign"
    hosts.send(B, SIGNS[sign])
    assert (hosts.place(), hosts.flows(A)) == ((B, PORT), 0)
    assert hosts.predicted(B) == PORT
    assert hosts.predicted(A) != PORT
    if source == "goes last":
        hosts.unplug(A)
    assert hosts.place() == (B, PORT), "the port that it has left does not take it away"
    assert hosts.flows(B) >= (sign == "a packet")
    assert hosts.changes().count("moved") == 1
    assert "gone" not in hosts.changes()


def test_a_destination_that_is_plugged_last_finds_the_vm_again() -> None:
    hosts = Hosts()
    hosts.plug(A)
    number = hosts.device(A).port_vm[PORT]
    hosts.unplug(A)
    assert (hosts.place(), hosts.changes()) == (None, ["attached", "gone"])
    hosts.plug(B)
    assert (hosts.place(), hosts.device(B).port_vm[PORT]) == ((B, PORT), number)


def test_limits_and_rules_are_at_the_destination_before_the_vm() -> None:
    hosts = Hosts()
    hosts.plug(A)
    hosts.plug(B)
    number = hosts.device(A).port_vm[PORT]
    for dpid in (A, B):
        plan = hosts.device(dpid).plan
        assert plan is not None
        assert [port.vm_number for port in plan.ports if port.port_no == PORT] == [number]
        assert [meter.vm_number for meter in plan.vm_meters] == [number]


def test_a_port_without_ids_that_has_sent_with_the_address_takes_the_vm_with_its_row() -> None:
    """libvirt's hooks may write the ids after the VM has come."""
    hosts = Hosts()
    hosts.plug(A)
    hosts.plug(B, ids={})
    hosts.send(B, ARP)
    assert hosts.place() == (A, PORT)
    hosts.plug(B)
    assert hosts.place() == (B, PORT)


def test_a_packet_that_was_under_way_does_not_bring_the_vm_back() -> None:
    hosts = Hosts()
    hosts.plug(A)
    hosts.plug(B)
    hosts.send(B, RARP)
    hosts.now += HOLD / 2
    hosts.send(A, udp())
    assert (hosts.place(), hosts.conflicts()) == ((B, PORT), [])
    hosts.send(A, RARP)
    assert hosts.place() == (A, PORT), "an announcement does: the migration was taken back"


def test_a_port_whose_link_goes_down_loses_the_vm_to_the_other() -> None:
    hosts = Hosts()
    hosts.plug(A)
    hosts.plug(B)
    hosts.link(A, up=False)
    assert hosts.place() == (B, PORT)
    assert hosts.words()[A, PORT] == "inactive"
    hosts.link(A, up=True)
    assert hosts.place() == (A, PORT), "nothing has shown that it went"
    hosts.link(A, up=False)
    hosts.send(B, udp())
    hosts.link(A, up=True)
    assert hosts.place() == (B, PORT)


def test_a_host_that_is_gone_loses_its_vms_to_where_they_are_started_again() -> None:
    hosts = Hosts()
    hosts.plug(A)
    hosts.plug(B)
    hosts.do(ev.DeviceDown(A))
    assert hosts.place() == (A, PORT), "the connection alone says nothing"
    assert hosts.words() == {(A, PORT): "current", (B, PORT): "waiting"}
    hosts.do(ev.DescriptionRemoved(A))
    assert hosts.place() == (B, PORT)


def test_an_interface_that_ovsdb_calls_inactive_does_not_have_the_vm() -> None:
    hosts = Hosts()
    hosts.plug(A, PORT, {**IDS, "iface-status": "inactive"})
    hosts.plug(A, OTHER_PORT, {**IDS, "iface-status": "active"})
    assert hosts.place() == (A, OTHER_PORT)


def test_two_ports_that_both_send_as_one_vm() -> None:
    hosts = Hosts()
    hosts.plug(A)
    hosts.plug(B)
    hosts.send(A, udp(1))
    hosts.send(B, udp(2))
    assert hosts.place() == (B, PORT), "as in a migration that nothing announces"
    hosts.now += HOLD + 0.1
    hosts.send(A, udp(3))
    assert hosts.place() == (A, PORT), "both send: the older one has it"
    holder = f"{A:016x}/tap{PORT}"
    assert hosts.conflicts() == [("identity", holder)]
    assert hosts.words() == {(A, PORT): "current", (B, PORT): "contested"}
    for sport in range(10, 13):
        hosts.send(A, udp(sport))
        hosts.send(B, udp(sport))
    assert hosts.place() == (A, PORT)
    assert hosts.changes().count("conflict") == 1, "it is reported once"
    hosts.now += SILENT + 1
    hosts.send(B, udp(20))
    assert hosts.place() == (B, PORT), "the other one is silent"


def test_a_contest_ends_with_the_second_port_and_with_time() -> None:
    for end in ("unplug", "time"):
        hosts = Hosts()
        hosts.plug(A)
        hosts.plug(B)
        hosts.send(B, udp(2))
        hosts.now += HOLD + 0.1
        hosts.send(A, udp(3))
        assert hosts.conflicts()
        if end == "unplug":
            hosts.unplug(B)
        else:
            hosts.now += RETURNS
            hosts.tick()
        assert (hosts.place(), hosts.conflicts()) == ((A, PORT), [])


def test_of_two_vms_with_one_address_the_older_one_has_it() -> None:
    hosts = Hosts()
    hosts.plug(A)
    hosts.plug(A, OTHER_PORT, {**IDS, "iface-id": "late"})
    assert hosts.predicted(A) == PORT
    assert hosts.conflicts() == hosts.conflicts("late") == [("address", "vm")]
    assert hosts.changes().count("conflict") == 2, "of each VM, once"
    hosts.describe(A)
    hosts.plug(A, PORT, {**IDS, "owner": "changed"})
    assert (hosts.predicted(A), hosts.changes().count("conflict")) == (PORT, 2)
    hosts.unplug(A)
    assert (hosts.predicted(A), hosts.conflicts("late")) == (OTHER_PORT, [])


@pytest.mark.parametrize(
    ("first", "second"),
    [({"tag": 100}, {"tag": 200}), ({}, {"tag": 100})],
)
def test_one_address_in_two_vlans_is_no_conflict(first: dict[str, Any], second: dict[str, Any]) -> None:
    hosts = Hosts()
    hosts.plug(A, PORT, **first)
    hosts.plug(A, OTHER_PORT, {**IDS, "iface-id": "late"}, **second)
    assert "conflict" not in hosts.changes()


def test_nics_of_one_vm_may_share_an_address() -> None:
    hosts = Hosts()
    hosts.plug(A, PORT, {**IDS, "vm-uuid": "u"})
    hosts.plug(A, OTHER_PORT, {**IDS, "iface-id": "standby", "vm-uuid": "u"})
    assert "conflict" not in hosts.changes()


def test_a_migration_keeps_the_age_of_a_vm() -> None:
    hosts = Hosts()
    hosts.plug(A)
    hosts.plug(B, OTHER_PORT, {**IDS, "iface-id": "late"})
    hosts.plug(B)
    hosts.send(B, RARP)
    hosts.unplug(A)
    assert hosts.predicted(B) == PORT
    assert hosts.conflicts() == [("address", "vm")]


def test_a_vm_that_is_announced_behind_the_uplink_is_predicted_there() -> None:
    """It has moved to a host without Flowlane, and its port here stays."""
    hosts = Hosts(normal=False)
    hosts.plug(A)
    assert hosts.predicted(A) == PORT
    hosts.send(A, udp(), port=UPLINK, egress=None)
    assert hosts.predicted(A) == PORT, "anybody may send with its address"
    hosts.send(A, RARP, port=UPLINK, egress=None)
    assert (hosts.predicted(A), hosts.place()) == (UPLINK, (A, PORT))
    hosts.send(A, udp())
    assert hosts.predicted(A) == PORT, "it sends from its port"


def test_its_own_announcement_that_comes_back_is_not_followed() -> None:
    hosts = Hosts()
    hosts.plug(A)
    hosts.send(A, ARP)
    hosts.now += REFLECTED / 2
    hosts.send(A, ARP, port=UPLINK, egress=None)
    assert hosts.predicted(A) == PORT


def test_a_strict_policy_follows_no_announcement_from_the_network() -> None:
    hosts = Hosts(small_policy(port_security=PortSecurity.STRICT))
    hosts.plug(A)
    hosts.send(A, RARP, port=UPLINK, egress=None)
    assert hosts.predicted(A) == PORT


def test_a_heavy_flow_has_its_class_at_the_destination_from_its_first_packet() -> None:
    hosts = Hosts()
    hosts.plug(A)
    hosts.plug(B)
    hosts.send(A, udp())
    flows = hosts.device(A).flows
    (row,) = flows
    for second in range(1, 7):
        hosts.tick()
        key = flows.device_key(row)
        learned = ev.LearnedFlow(key, PORT, UPLINK, MAC, 0, second * 1000, second * 2_000_000)
        if flows.class_index[row] == 0:
            hosts.do(ev.LearnedCounters(A, (learned,)))
    assert hosts.device(A).policy.classes[flows.class_index[row]].name == "heavy"
    hosts.send(B, RARP)
    hosts.send(B, udp())
    there = hosts.device(B).flows
    moved = there.rows[next(key for key in there.rows if key[6] != 2)]
    assert hosts.device(B).policy.classes[there.class_index[moved]].name == "heavy"
    assert there.rate[moved] > HEAVY_GATE.below
    assert not hosts.engine.state.carried


def test_external_ids_of_the_destination_count_when_the_vm_is_there() -> None:
    gold = Rule("gold", 0, Match(vms=VmSelector(external_ids=(("plan", "gold"),))), 1)
    hosts = Hosts(small_policy(rules=(gold,), gates=()))
    hosts.plug(A)
    hosts.plug(B, ids={**IDS, "plan": "gold"})
    hosts.send(A, udp())
    (row,) = hosts.device(A).flows
    assert hosts.device(A).flows.class_index[row] == 0
    hosts.send(B, udp())
    (row,) = hosts.device(B).flows
    assert hosts.device(B).flows.class_index[row] == 1


def test_a_limit_of_a_vm_is_shared_by_its_nics_on_a_device() -> None:
    hosts = Hosts()
    hosts.plug(A, PORT, {**IDS, "vm-uuid": "u"})
    plan = hosts.device(A).plan
    assert plan is not None
    (alone,) = plan.vm_meters
    hosts.plug(A, OTHER_PORT, {"iface-id": "nic2", "vm-uuid": "u", "attached-mac": "02:00:00:00:00:02"})
    hosts.plug(B, PORT, {"iface-id": "nic3", "vm-uuid": "u", "attached-mac": "02:00:00:00:00:03"})
    plan = hosts.device(A).plan
    assert plan is not None
    assert len(plan.vm_meters) == 2
    assert len({meter.meter_id for meter in plan.vm_meters}) == 1, "one token bucket"
    for port in (PORT, OTHER_PORT):
        hosts.send(A, udp(dport=5000, mac=MAC + port - 1), port=port)
    flows = hosts.device(A).flows
    assert {flows.meter_id[row] for row in flows} == {plan.vm_meters[0].meter_id}
    hosts.unplug(A, OTHER_PORT)
    plan = hosts.device(A).plan
    assert plan is not None
    assert [meter.vm_number for meter in plan.vm_meters] == [alone.vm_number]


def test_nics_without_iface_id_are_told_apart_by_their_addresses() -> None:
    hosts = Hosts()
    second = {"vm-uuid": "u", "attached-mac": "02:00:00:00:00:02"}
    hosts.plug(A, PORT, {"vm-uuid": "u", "attached-mac": MAC_TEXT})
    hosts.plug(A, OTHER_PORT, second)
    ids = {vm.id for vm in hosts.engine.vms.values()}
    assert ids == {"u", "u/02:00:00:00:00:02"}
    hosts.plug(B, 5, second)
    assert {vm.id for vm in hosts.engine.vms.values()} == ids, "the second NIC, on its way to another host"
    assert hosts.words("u/02:00:00:00:00:02") == {(A, OTHER_PORT): "current", (B, 5): "waiting"}


def test_a_restarted_controller_finds_the_vm_where_its_flows_are() -> None:
    hosts = Hosts()
    hosts.plug(A)
    hosts.plug(B)
    hosts.send(B, udp())
    (row,) = hosts.device(B).flows
    key = hosts.device(B).flows.device_key(row)
    again = Engine(LIMITED)
    learned = {A: (), B: (ev.LearnedFlow(key, PORT, UPLINK, MAC, 0, 5, 500),)}
    for dpid in (A, B):
        again.step_and_catch_up(hosts.engine.state.described[dpid], 1.0)
        reports = (PortReport(PORT, "tap1"), PortReport(UPLINK, "up"))
        up = ev.DeviceUp(dpid, ABLE, reports, {UPLINK: (0, 1, 2, 3)}, learned=learned[dpid])
        again.step_and_catch_up(up, 2.0 + dpid)
    assert [(vm.dpid, vm.port_no) for vm in again.vms.values()] == [(B, PORT)]


def test_bridges_behind_patch_ports_follow_too() -> None:
    """Each host has its VMs on one bridge, and the uplink on another."""
    engine, now = Engine(LIMITED), 1.0

    def patched(name: str, peer: str) -> PortFacts:
        return PortFacts(name, interface_type="patch", options={"peer": peer}, port=name)

    for host in (A, B):
        vms = {1: PortFacts("tap1", IDS), 2: patched(f"int{host}", f"ex{host}")}
        network = {
            3: patched(f"ex{host}", f"int{host}"),
            UPLINK: PortFacts("up", {"flowlane-port": "uplink"}),
        }
        for dpid, facts in ((host, vms), (10 + host, network)):
            engine.step_and_catch_up(ev.DeviceDescribed(dpid, f"br{dpid}", "nic", {}, "system", facts), now)
            reports = tuple(PortReport(number, port.name) for number, port in facts.items())
            engine.step_and_catch_up(ev.DeviceUp(dpid, ABLE, reports, {}), now)
            now += 1

    def predicted() -> dict[int, int | None]:
        plans = {dpid: engine.devices[dpid].plan for dpid in (A, 10 + A, B, 10 + B)}
        return {dpid: dict(plan.hosts).get(MAC) for dpid, plan in plans.items() if plan is not None}

    number = engine.devices[A].port_vm[1]
    assert predicted() == {A: 1, 10 + A: 3, B: None, 10 + B: None}
    assert number in engine.devices[10 + B].nearer, "the bridge with the destination's uplink is ready"
    engine.step_and_catch_up(ev.FlowSeen(B, 1, RARP, 2), now)
    assert predicted() == {A: None, 10 + A: None, B: 1, 10 + B: 3}
