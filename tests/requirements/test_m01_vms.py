"""M1: the VMs of every host with their ports; VMs that appear, move or go."""

from __future__ import annotations

from support.engine.example_policies import policy
from support.engine.twin_engines import DPID, Mirror

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.model import PortReport
from flowlane.simulation.host import CAPABILITIES

FROM_VM3 = bytes.fromhex("020000000003")


def reports(effects: list[fx.Effect], change: str) -> list[object]:
    return [
        e.data["vm"]
        for e in effects
        if isinstance(e, fx.Report) and e.kind == "vm" and e.data["change"] == change
    ]


def places(host: Mirror) -> dict[str, tuple[int, int]]:
    return {vm.id: (vm.dpid, vm.port_no) for vm in host.engines[0].vms.values()}


def test_vms_appear_move_and_go() -> None:
    host = Mirror(policy("m04"), CAPABILITIES)
    assert places(host) == {f"vm{n}": (DPID, n) for n in (1, 2, 3, 4)}
    number = {vm.id: vm.number for vm in host.engines[0].vms.values()}
    host.ids = {1: "vm1", 2: "vm2", 4: "vm3"}
    host.do(host.described())
    assert places(host)["vm3"] == (DPID, 4)
    assert "vm4" not in places(host)
    assert {vm.id: vm.number for vm in host.engines[0].vms.values()}["vm3"] == number["vm3"]
    gone = host.do(ev.PortRemoved(DPID, 1))
    assert reports(gone, "gone") == ["vm1"]
    back = host.do(ev.PortChanged(DPID, PortReport(1, "tap1")))
    assert reports(back, "attached") == ["vm1"]
    assert {vm.id: vm.number for vm in host.engines[0].vms.values()}["vm1"] == number["vm1"]
    programmed = [e.plan for e in back if isinstance(e, fx.Program)]
    assert number["vm1"] in {port.vm_number for port in programmed[-1].ports}


def test_a_vm_that_moves_to_another_host_is_one_vm() -> None:
    host = Mirror(policy("m04"), CAPABILITIES)
    other = ev.DeviceDescribed(8, "br-2", "nic", {}, "netdev", {1: host.described().ports[3]})
    host.do(other)
    host.do(ev.DeviceUp(8, CAPABILITIES, (PortReport(1, "tap3"),), {}))
    assert places(host)["vm3"] == (DPID, 3), "it has not come yet: nothing was sent from there"
    rarp = bytes.fromhex("ffffffffffff") + FROM_VM3 + bytes.fromhex("8035") + bytes(46)
    assert reports(host.do(ev.FlowSeen(8, 1, rarp)), "moved") == ["vm3"]
    assert places(host)["vm3"] == (8, 1)
