"""Flows on the receiver's NIC: VMs behind its uplink, and the devices between them and it."""

from __future__ import annotations

from typing import Any

from support.engine.links import ABLE, LINK, UPLINK, Network, cable, patch

from flowlane.core import events as ev
from flowlane.core.model import NO_QUEUE, PortFacts, PortReport, PortRole, QueueFacts, Role
from flowlane.core.state.device import Device

FAR, TOR, NIC, VSW = 1, 2, 3, 4
HERE, THERE = 0x020000000001, 0x020000000002
QUEUES = {number: QueueFacts() for number in range(4)}


def vm(name: str, mac: int | None, **settings: Any) -> PortFacts:
    ids = {"iface-id": name, **({} if mac is None else {"attached-mac": mac.to_bytes(6).hex(":")})}
    return PortFacts(name, ids, port=name, **settings)


class Receiver(Network):
    """vm2 on the far NIC (1), a top-of-rack (2), the receiver's NIC (3) with vm1."""

    def __init__(self, queues: bool = True, attached: bool = True) -> None:
        super().__init__()
        self.device(FAR, {1: vm("vm2", THERE if attached else None), 2: cable("pf1", UPLINK)})
        self.device(TOR, {1: cable("down0", LINK), 2: cable("down1", LINK)})
        of_vm = {"queues": QUEUES, "qos_max_rate": 10**9} if queues else {}
        self.device(NIC, {1: vm("vm1", HERE, **of_vm), 2: cable("pf0", UPLINK)})
        if queues:
            self.do(ev.QueuesReported(NIC, {1: tuple(QUEUES)}))
        self.connect((FAR, 2), (TOR, 1))
        self.connect((TOR, 2), (NIC, 2))

    def send(self, dpid: int, ports: tuple[int, int], src: int = THERE, dst: int = HERE) -> None:
        ip = bytes.fromhex("0800450000200000000040110000") + bytes((10, 0, 0, 2, 10, 0, 0, 1))
        frame = dst.to_bytes(6) + src.to_bytes(6) + ip + bytes.fromhex("03e907d9000c0000") + bytes(20)
        self.do(ev.FlowSeen(dpid, ports[0], frame, ports[1]))

    def behind(self, dpid: int, port_no: int) -> set[str]:
        port = self.state.devices[dpid].ports[port_no]
        return {self.state.vms[number].id for number in port.vms_behind}

    def nearer(self, dpid: int) -> list[int]:
        (passed,) = self.state.devices[dpid].nearer.values()
        return [device.dpid for device in passed]


def test_a_flow_is_assigned_on_the_receivers_nic_where_ports_to_vms_have_queues() -> None:
    on = Receiver()
    for dpid, ports in ((FAR, (1, 2)), (TOR, (1, 2)), (NIC, (2, 1))):
        on.send(dpid, ports)
    nic: Device = on.state.devices[NIC]
    assert on.behind(NIC, 2) == {"vm2"}
    (key,) = on.state.devices[FAR].flows.rows
    assert nic.flows.queue_id[nic.flows.rows[key]] != NO_QUEUE
    assert nic.plan is not None
    uplink = next(port for port in nic.plan.ports if port.port_no == 2)
    assert {sender[0] for sender in uplink.senders} == {THERE}
    assert [port for port, _ in nic.plan.learning_ports] == [2], (
        "addresses of further VMs have to become known"
    )


def test_without_queues_to_vms_what_comes_in_by_the_uplink_costs_nothing() -> None:
    on = Receiver(queues=False)
    on.send(FAR, (1, 2))
    on.send(NIC, (2, 1))
    nic = on.state.devices[NIC]
    assert (len(nic.flows), on.behind(NIC, 2)) == (0, set())
    assert nic.plan is not None
    assert nic.plan.learning_ports == ()


def test_the_devices_between_are_known_by_the_links() -> None:
    on = Receiver()
    on.send(TOR, (1, 2))
    on.send(NIC, (2, 1))
    assert (on.nearer(TOR), on.nearer(NIC)) == ([FAR], [FAR, TOR])
    on.carrier(TOR, 2, up=False)
    on.carrier(TOR, 2, up=True)
    on.send(NIC, (2, 1))
    assert on.nearer(NIC) == [FAR], "where no link is known, the VM's own device counts alone"


def test_an_address_that_a_link_showed_before_its_vm_is_known_afterwards() -> None:
    on = Receiver(attached=False)
    on.send(TOR, (1, 2))
    assert on.behind(TOR, 1) == set()
    on.send(FAR, (1, 2))
    assert on.behind(TOR, 1) == {"vm2"}


def test_what_comes_back_by_a_standby_does_not_move_the_vm_of_another_bridge() -> None:
    on = Receiver()
    on.device(NIC, {2: cable("pf0", UPLINK), 3: patch("to-vsw", "to-nic")}, "h")
    on.device(VSW, {1: vm("vm1", HERE, queues=QUEUES), 2: patch("to-nic", "to-vsw")}, "h")
    on.do(ev.QueuesReported(VSW, {1: tuple(QUEUES)}))
    on.send(NIC, (3, 2), src=HERE, dst=THERE)
    on.send(NIC, (2, 3), src=HERE, dst=0xFFFFFFFFFFFF)
    assert on.behind(NIC, 3) == {"vm1"}
    assert {port for (mac, _), port in on.state.devices[NIC].hosts.items() if mac == HERE} <= {3}
    on.send(NIC, (2, 3))
    assert on.behind(VSW, 2) == {"vm2"}, "behind the patch port is what is behind the NIC's uplink"


def test_vms_behind_a_bond_are_behind_each_member_and_reached_by_the_one_that_stands_for_it() -> None:
    on = Receiver()
    bond: dict[str, Any] = {"members": (2, 3), "bond_mode": "active-backup"}
    on.device(
        NIC,
        {1: vm("vm1", HERE, queues=QUEUES), 2: cable("pf0", UPLINK, **bond), 3: cable("pf1", UPLINK, **bond)},
    )
    on.do(ev.QueuesReported(NIC, {1: tuple(QUEUES)}))
    on.send(NIC, (3, 1))
    assert on.behind(NIC, 2) == on.behind(NIC, 3) == {"vm2"}
    plan = on.state.devices[NIC].plan
    assert plan is not None
    assert (THERE, 2) in plan.hosts


def test_a_device_in_no_database_between_others_is_a_switch() -> None:
    on = Receiver()
    reports = tuple(PortReport(number, f"p{number}") for number in (1, 2, 3))
    on.do(ev.DeviceUp(9, ABLE, reports, {1: (0, 1)}))
    device = on.state.devices[9]
    assert (device.role, device.ports[1].role) == (Role.NIC, PortRole.UPLINK)
    for port_no, end in ((1, (FAR, 2)), (2, (NIC, 2))):
        on.do(ev.LinkSeen(9, port_no, *end))
    assert device.role is Role.SWITCH
    assert [device.ports[number].role for number in (1, 2, 3)] == [PortRole.LINK, PortRole.LINK, PortRole.VM]
