"""Whatever ports, links, announcements and packets come in whatever order: the VMs and who claims them agree."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.two_hosts import ARP, OTHER_PORT, PORT, RARP, UPLINK, A, B, Hosts, udp

from flowlane.core import events as ev

PLACES = [(dpid, port) for dpid in (A, B) for port in (PORT, OTHER_PORT)]
IDENTITIES: list[dict[str, str]] = [
    {"iface-id": "vm", "attached-mac": "02:00:00:00:00:01"},
    {"iface-id": "other", "attached-mac": "02:00:00:00:00:01"},
    {"iface-id": "vm", "iface-status": "inactive"},
    {"vm-uuid": "u", "attached-mac": "02:00:00:00:00:01"},
    {"vm-uuid": "u"},
    {},
]
place, identity = st.sampled_from(PLACES), st.integers(0, len(IDENTITIES) - 1)
STEPS = st.one_of(
    st.tuples(st.just("plug"), place, identity),
    st.tuples(st.just("unplug"), place, st.just(0)),
    st.tuples(st.just("link"), place, st.integers(0, 1)),
    st.tuples(st.just("send"), place, st.integers(0, 2)),
    st.tuples(st.just("network"), place, st.integers(0, 2)),
    st.tuples(st.just("wait"), place, st.integers(1, 80)),
    st.tuples(st.just("down"), place, st.integers(0, 1)),
)
FRAMES = (RARP, ARP, udp())


def do(hosts: Hosts, step: tuple[str, tuple[int, int], int]) -> None:
    what, (dpid, port), value = step
    is_there = port in hosts.ports[dpid]
    if what == "plug":
        hosts.plug(dpid, port, IDENTITIES[value])
    elif what == "unplug" and is_there:
        hosts.unplug(dpid, port)
    elif what == "link" and is_there:
        hosts.link(dpid, bool(value), port)
    elif what == "send":
        hosts.send(dpid, FRAMES[value], port)
    elif what == "network":
        hosts.send(dpid, FRAMES[value], UPLINK, None)
    elif what == "wait":
        hosts.now += value
        hosts.tick()
    elif what == "down":
        hosts.do(ev.DeviceDown(dpid))
        if value:
            hosts.do(ev.DescriptionRemoved(dpid))


def check(hosts: Hosts) -> None:
    state = hosts.engine.state
    assert state.vms.keys() == state.claims.keys()
    known: dict[Any, int] = {}
    for number, of_vm in state.claims.items():
        assert of_vm.current in of_vm.claims
        assert state.vms[number] == of_vm.current.vm
        assert not any(one.active for one in of_vm.claims) or of_vm.current.active
        known.update({(one.vm.dpid, one.vm.port_no): number for one in of_vm.claims})
    of_ports = {
        (dpid, port_no): number
        for dpid, device in state.devices.items()
        for port_no, number in device.port_vm.items()
    }
    assert known == of_ports
    assert all(device.port_vm.keys() == device.claims.keys() for device in state.devices.values())
    owners = {(mac, number) for number, vm in state.vms.items() for mac in vm.macs}
    assert owners == {(mac, number) for mac, numbers in state.macs.items() for number in numbers}
    assert state.conflicts.keys() <= state.vms.keys()
    for dpid, device in state.devices.items():
        assert {device.flows.vm_number[row] for row in device.flows} <= state.vms.keys()
        assert device.away.keys() <= state.vms.keys()
        assert all(dpid in state.claims[number].away for number in device.away)
        assert device.host_seen.keys() == device.hosts.keys()
        for port_no, port in device.ports.items():
            assert port.host_count == sum(on == port_no for on in device.hosts.values())


@settings(max_examples=70)
@given(st.lists(STEPS, max_size=25))
def test_vms_and_claims_agree(steps: list[tuple[str, tuple[int, int], int]]) -> None:
    hosts = Hosts()
    for step in steps:
        do(hosts, step)
        check(hosts)
