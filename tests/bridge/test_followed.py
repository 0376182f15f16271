"""Where a host is, as its frames show it: the controller's prediction follows each kind, on both ways of forwarding.

On a switch that forwards by itself the prediction chooses queue and limit; on one that cannot, the port too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from lab.inside import proxy
from lab.inside.manager import Launched, launched, wait_for
from lab.inside.private_ovs import PrivateOvs
from lab.inside.proxy import Error, Refuse
from support.ovs.frames import BROADCAST, arp, ether, hello, ipv6, mac, unicast
from support.ovs.twins import uplink, vm

pytestmark = pytest.mark.ovs

BRIDGE = "followed"
_datapath_ids = itertools.count(0x9400)
HERE, UPLINK = 2, 9
"""Port numbers: of a VM whose address nobody states, and of the uplink."""
MOVED = mac(3)
NORMAL = b"\0\0\0\x10\xff\xff\xff\xfa"
"""The action ``output:NORMAL`` as bytes, up to its port."""
ANNOUNCED = {
    "RARP": ether(BROADCAST, MOVED, 0x8035, arp(3, 3, 3)),
    "gratuitous ARP": ether(BROADCAST, MOVED, 0x806, arp(3, 3)),
    "ARP reply": ether(mac(1), MOVED, 0x806, arp(3, 1, 2)),
    "unicast": unicast(3, 1),
    "multicast": ether(
        b"\x33\x33\0\0\0\x01", MOVED, 0x86DD, ipv6(3, b"\xff\x02" + bytes(13) + b"\x01", 59, b"")
    ),
}
FROM_UPLINK = {name: ANNOUNCED[name] for name in ("RARP", "gratuitous ARP", "ARP reply")}


def refuse_normal(message: bytes) -> Error | None:
    is_change = message[1] in (proxy.FLOW_MOD, proxy.GROUP_MOD)
    return Error(2, 4) if is_change and NORMAL in message else None


class Bridge:
    """A bridge with the VMs 1 and 2 and an uplink."""

    def __init__(self, ovs: PrivateOvs, manager: Launched, refuse: Refuse) -> None:
        self.ovs, self.manager = ovs, manager
        self.is_own = refuse is refuse_normal

    def receive(self, port: int, frame: bytes) -> None:
        name = {1: "followed-vm1", HERE: "followed-vm2", UPLINK: "followed-up"}[port]
        self.ovs.control("netdev-dummy/receive", name, frame.hex())

    def predicted(self) -> int:
        """The port by which a frame of VM 1 to the host that moves is predicted to leave."""
        text = self.ovs.trace(BRIDGE, "in_port=1", unicast(1, 3))
        found = re.findall(r"write_metadata:0x([0-9a-f]+)/0xffffffff\b", text)
        assert found, text
        return int(found[-1], 16)

    def left_by(self) -> set[str]:
        """The ports that it leaves by."""
        actions = self.ovs.trace(BRIDGE, "in_port=1", unicast(1, 3))
        return set(re.findall(r"output:(\d+)", actions.rpartition("Datapath actions:")[0]))


@pytest.fixture(scope="module")
def manager(ovs: PrivateOvs) -> Iterator[Launched]:
    """One controller for all bridges, which come one after another, each with a number of its own."""
    with launched(f"--ovsdb={ovs.database}") as running:
        yield running


@contextmanager
def attached(ovs: PrivateOvs, manager: Launched, refuse: Refuse) -> Iterator[Bridge]:
    with proxy.running(manager.openflow_port, refuse) as between:
        bridge = Bridge(ovs, manager, refuse)
        with ovs.together():
            ovs.add_bridge(BRIDGE, (), dpid=next(_datapath_ids))
            vm(ovs, BRIDGE, "followed-vm1", 1, macs="02:00:00:00:00:01")
            vm(ovs, BRIDGE, "followed-vm2", HERE)
            uplink(ovs, BRIDGE, "followed-up", UPLINK)
            ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{between.port}")
        try:
            wait_for(lambda: "table=8" in ovs.ofctl("dump-flows", BRIDGE), 20, manager.log)
            yield bridge
        finally:
            ovs.vsctl("del-br", BRIDGE)


@pytest.mark.parametrize("refuse", [proxy.refuse_nothing, refuse_normal], ids=["normal", "own"])
@pytest.mark.parametrize("how", ANNOUNCED)
def test_an_address_is_learnt_from_any_frame_of_a_vm(
    ovs: PrivateOvs, manager: Launched, how: str, refuse: Refuse
) -> None:
    with attached(ovs, manager, refuse) as bridge:
        assert bridge.predicted() == UPLINK
        bridge.receive(HERE, ANNOUNCED[how])
        wait_for(lambda: bridge.predicted() == HERE, 15, manager.log)
        if bridge.is_own:
            assert bridge.left_by() == {str(HERE)}


@pytest.mark.parametrize("refuse", [proxy.refuse_nothing, refuse_normal], ids=["normal", "own"])
@pytest.mark.parametrize("how", FROM_UPLINK)
def test_a_host_that_leaves_is_followed_at_its_announcement(
    ovs: PrivateOvs, manager: Launched, how: str, refuse: Refuse
) -> None:
    with attached(ovs, manager, refuse) as bridge:
        bridge.receive(HERE, hello(3))
        wait_for(lambda: bridge.predicted() == HERE, 15, manager.log)
        bridge.receive(UPLINK, FROM_UPLINK[how])
        wait_for(lambda: bridge.predicted() == UPLINK, 15, manager.log)
        if bridge.is_own:
            assert bridge.left_by() == {str(UPLINK)}
