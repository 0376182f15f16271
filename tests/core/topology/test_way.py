"""The way of a flow: hops in order, those without an assignment, and what is not known."""

from __future__ import annotations

from typing import Any

from support.engine.links import LINK, UPLINK, Network, cable, patch

from flowlane.core import events as ev
from flowlane.core.flowkey import unpack
from flowlane.core.model import PortFacts
from flowlane.core.topology.adjacency import device_name, port_names
from flowlane.core.topology.way import MAX_ADDRESSES, way

VSW, NIC, TOR, FAR = 1, 2, 3, 4
HERE, THERE = 0x020000000001, 0x020000000002


def vm(name: str, mac: int) -> PortFacts:
    text = mac.to_bytes(6).hex(":")
    return PortFacts(f"{name}-if", {"iface-id": name, "attached-mac": text}, port=name)


class Way(Network):
    """A VM on a software switch (1), the NIC's bridge (2), a top-of-rack (3), the far NIC (4) with a VM."""

    def __init__(self, vswitch: bool = True, **without: bool) -> None:
        super().__init__()
        self.device(VSW, {1: vm("vm1", HERE), 2: patch("to-nic", "to-vsw")}, "h", connected=vswitch)
        self.device(NIC, {1: patch("to-vsw", "to-nic"), 2: cable("pf0", UPLINK)}, "h")
        self.device(TOR, {1: cable("down0", LINK), 2: cable("down1", LINK), 3: cable("up0", UPLINK)})
        self.device(FAR, {1: vm("vm2", THERE), 2: cable("pf1", UPLINK)})
        if not without.get("cables"):
            self.connect((NIC, 2), (TOR, 1))
            self.connect((TOR, 2), (FAR, 2))

    def send(
        self, dpid: int, ports: tuple[int, int], back: bool = False, far: int = 2, number: int = 1
    ) -> None:
        macs, ends = (THERE, HERE), (number, far)
        (dst, src), (first, second) = (macs, ends) if not back else (macs[::-1], ends[::-1])
        ip = bytes.fromhex("0800450000200000000040110000") + bytes((10, 0, 0, first, 10, 0, 0, second))
        frame = dst.to_bytes(6) + src.to_bytes(6) + ip + bytes.fromhex("03e907d9000c0000") + bytes(20)
        self.do(ev.FlowSeen(dpid, ports[0], frame, ports[1]))

    def hops(self, dpid: int = NIC) -> list[tuple[Any, ...]]:
        """The way of the first flow of a device: device, ports, whether it is assigned; or a note."""
        (key, *_) = self.state.devices[dpid].flows.rows
        found: list[tuple[Any, ...]] = []
        for hop in way(self.state, unpack(key), key):
            if hop.dpid is None:
                found.append((hop.note,))
                continue
            names = port_names(self.state, hop.dpid)
            ends = [names.get(port) if port is not None else None for port in (hop.in_port, hop.out_port)]
            found.append((device_name(self.state, hop.dpid), *ends, hop.note or hop.row is not None))
        return found


def test_every_device_in_order_and_the_receivers_without_an_assignment() -> None:
    on = Way()
    on.send(FAR, (1, 2), back=True)  # vm2's address is known from here on
    for dpid, ports in ((TOR, (1, 2)), (NIC, (1, 2)), (VSW, (1, 2))):
        on.send(dpid, ports)
    assert on.hops() == [
        ("d1", "vm1-if", "to-nic", True),
        ("d2", "to-vsw", "pf0", True),
        ("d3", "down0", "down1", True),
        ("d4", "pf1", "vm2-if", "what comes in by its uplink is placed only where ports to VMs have queues"),
    ]


def test_a_bridge_without_a_connection_is_on_the_way() -> None:
    on = Way(vswitch=False)
    on.send(NIC, (1, 2))
    assert on.hops()[:2] == [
        ("d1", "vm1-if", "to-nic", "it has no connection to Flowlane"),
        ("d2", "to-vsw", "pf0", True),
    ]


def test_where_no_link_is_known_the_way_says_so_and_goes_on() -> None:
    on = Way(cables=True)
    for dpid, ports in ((VSW, (1, 2)), (NIC, (1, 2)), (TOR, (1, 2))):
        on.send(dpid, ports)
    assert on.hops(VSW) == [
        ("d1", "vm1-if", "to-nic", True),
        ("d2", "to-vsw", "pf0", True),
        ("what is behind port pf0 of d2 is not known",),
        ("d3", "down0", "down1", True),
        ("what is behind port down1 of d3 is not known",),
    ]


def test_a_flow_to_the_world_leaves_what_is_known() -> None:
    on = Way()
    for dpid, ports in ((VSW, (1, 2)), (NIC, (1, 2)), (TOR, (1, 3))):
        on.send(dpid, ports, far=99)
    assert on.hops()[-2:] == [
        ("d3", "down0", "up0", True),
        ("what is behind port up0 of d3 is not known",),
    ]


def test_a_device_that_has_not_reported_the_flow_is_on_the_way() -> None:
    on = Way()
    on.send(FAR, (1, 2), back=True)
    on.send(VSW, (1, 2))
    on.send(NIC, (1, 2))
    on.state.devices[TOR].hosts[THERE, None] = 2
    assert [hop[:3] for hop in on.hops()] == [
        ("d1", "vm1-if", "to-nic"),
        ("d2", "to-vsw", "pf0"),
        ("d3", "down0", "down1"),
        ("d4", "pf1", "vm2-if"),
    ]
    assert on.hops()[2][3] == "the VM that sends it is not known behind port down0"


def test_between_vms_of_one_device_the_way_has_one_hop() -> None:
    on = Way()
    on.send(VSW, (1, 1), far=7)
    on.device(VSW, {1: vm("vm1", HERE), 2: patch("to-nic", "to-vsw"), 3: vm("vm3", 0x020000000003)}, "h")
    on.send(VSW, (1, 3), far=8)
    (key,) = on.state.devices[VSW].flows.rows
    assert [hop.out_port for hop in way(on.state, unpack(key), key)] == [3]


def test_devices_of_the_way_before_a_move_are_not_on_the_way() -> None:
    """The receiver has moved to the sender's device; the others have the flow until it is idle there."""
    on = Way()
    ports = {1: vm("vm1", HERE), 2: patch("to-nic", "to-vsw"), 3: vm("vm2", THERE)}
    for dpid in (TOR, NIC, VSW):
        on.send(dpid, (1, 2))
    on.device(FAR, {2: cable("pf1", UPLINK)})
    on.device(VSW, ports, "h")
    on.send(VSW, (3, 1), back=True)
    on.send(VSW, (1, 3))
    assert on.hops() == [("d1", "vm1-if", "vm2-if", True)]


def test_what_is_not_known_behind_a_bond_is_named_by_the_bond() -> None:
    on = Way(cables=True)
    bond = [PortFacts(name, UPLINK, port="bond0", members=(2, 3)) for name in ("pf0", "pf1")]
    on.device(NIC, {1: patch("to-vsw", "to-nic"), 2: bond[0], 3: bond[1]}, "h")
    for dpid in (NIC, VSW):
        on.send(dpid, (1, 2))
    assert on.hops()[2:] == [("what is behind port bond0 of d2 is not known",)]


def test_a_vm_that_makes_addresses_up_fills_no_memory() -> None:
    on = Way()
    for number in range(3, MAX_ADDRESSES + 50):
        on.send(VSW, (1, 2), number=number)
    assert len(on.state.addresses) == MAX_ADDRESSES
