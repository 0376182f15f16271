"""Flows of every kind are learnt with the right names, and a VM's coming and going is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.inside.compare import Key, differences, placements_in_rest, placements_in_switch
from lab.inside.dump_flows import dump
from support.hosts.network import eventually

if TYPE_CHECKING:
    from support.hosts.network import Controller, Network

VM1, REMOTE = "52:54:00:00:00:01", "52:54:00:00:01:00"
KINDS: set[tuple[object, ...]] = {
    ("icmp", "10.0.0.1", 8, "10.0.0.100", 0, None),
    ("icmpv6", "fd00::1", 128, "fd00::100", 0, None),
    ("sctp", "10.0.0.1", 6001, "10.0.0.100", 36412, None),
    ("udp", "10.0.0.1", 6002, "10.0.0.100", 7000, 100),
    ("0x88b5", VM1, -1, REMOTE, -1, None),
}


def rest_keys(controller: Controller) -> dict[Key, object]:
    return dict(placements_in_rest(controller.all("/v1/assignments")))


def is_consistent(network: Network, controller: Controller) -> bool:
    return not differences(
        placements_in_switch(dump(network.bridge)), placements_in_rest(controller.all("/v1/assignments"))
    )


def test_every_kind(small: tuple[Network, Controller]) -> None:
    network, controller = small
    network.serve("7000")
    assert network.run("vm1", "ping", "-c", "1", "10.0.0.100").returncode == 0
    network.start("vm1", "ping", "-i", "0.5", "10.0.0.100")
    network.start("vm1", "ping", "-i", "0.5", "fd00::100")
    network.start_frames("vm1", "sctp", port=36412, source_port=6001)
    network.start_frames("vm1", "vlan", port=7000, source_port=6002, vlan=100, pcp=5)
    network.start_frames("vm1", "ethertype")
    six = network.start_requests("vm1", to="fd00::100", udp=3, tcp=3)
    expected = KINDS | {(*flow, None) for flow in six.flows}

    def missing() -> set[tuple[object, ...]]:
        return expected - {tuple(key[:6]) for key in rest_keys(controller)}

    eventually("every kind of flow is known", lambda: not missing() or print(missing()), 15)
    eventually("REST and the switch agree", lambda: is_consistent(network, controller), 5)
    tagged = [flow for flow in controller.all("/v1/flows") if flow["vlan"] == 100]
    assert [flow["pcp"] for flow in tagged] == [5]
    summary = six.stop()
    assert summary["answered"] >= 0.98 * summary["sent"] > 0


def test_a_vm_goes_and_comes(small: tuple[Network, Controller]) -> None:
    network, controller = small
    network.serve("7000")
    names = {vm["name"]: vm for vm in controller.all("/v1/vms")}
    assert set(names) == {"vm1", "vm2"}
    asking = network.start_requests("vm1", udp=5, dscp=46)
    stays = network.start_requests("vm2", udp=5)
    flows = {tuple(flow) for flow in asking.flows}

    def known() -> int:
        return len(flows & {tuple(key[:5]) for key in rest_keys(controller)})

    eventually("its flows are known", lambda: known() == 5, 10)
    network.change_hosts(do="remove", host="vm1")
    eventually("the VM is gone", lambda: "vm1" not in {vm["name"] for vm in controller.all("/v1/vms")}, 5)
    eventually("so are its flows", lambda: known() == 0, 5)
    eventually("REST and the switch agree", lambda: is_consistent(network, controller), 5)

    network.change_hosts(do="add", host="vm1")
    eventually("the VM is back", lambda: "vm1" in {vm["name"] for vm in controller.all("/v1/vms")}, 5)
    again = network.start_requests("vm1", udp=5)
    flows = {tuple(flow) for flow in again.flows}
    eventually("its new flows are known", lambda: known() == 5, 10)
    eventually("REST and the switch agree", lambda: is_consistent(network, controller), 5)
    (vm,) = [vm for vm in controller.all("/v1/vms") if vm["name"] == "vm1"]
    assert (vm["id"], vm["macs"]) == (names["vm1"]["id"], [VM1])
    for one in (stays, again):
        summary = one.stop()
        assert summary["answered"] >= 0.9 * summary["sent"] > 0
