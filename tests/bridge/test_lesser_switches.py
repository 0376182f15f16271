"""Switches that can do less: Open vSwitch behind a proxy that refuses in the place of such a switch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from lab.inside import proxy
from lab.inside.manager import Launched, launched, wait_for
from lab.inside.private_ovs import PrivateOvs
from lab.inside.proxy import Error, Refuse
from support.ovs.twins import uplink, vm

pytestmark = pytest.mark.ovs

BRIDGE = "lesser"
_datapath_ids = itertools.count(0x52)
MULTIPART, QUEUE_GET_CONFIG = 18, 22
TABLE_FEATURES, QUEUE_DESC = b"\0\x0c", b"\0\x0f"
ANY = b"\xff\xff\xff\xff"
BAD_TABLE, BAD_PORT, BAD_MULTIPART = Error(5, 2), Error(9, 0), Error(1, 2)
FRAME = (
    "in_port=1,udp,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:09,"
    "nw_src=10.0.0.1,nw_dst=10.0.0.9,udp_src=1000,udp_dst={}"
)
LIMITED = """\
version: 1
classes:
  bulk: {limit: 4Mbit/s, limit-scope: flow}
rules:
  - {match: {protocol: udp}, class: bulk}
"""


def tables(count: int, normal: bool = True) -> Refuse:
    """A switch with so many tables, which describes none of them; with or without NORMAL."""

    def refuse(message: bytes) -> Error | None:
        if message[1] == MULTIPART and message[8:10] == TABLE_FEATURES:
            return BAD_MULTIPART
        if message[1] == proxy.FLOW_MOD and count <= message[24] < 0xFF:
            return BAD_TABLE
        has_normal = (
            message[1] in (proxy.FLOW_MOD, proxy.GROUP_MOD) and b"\0\0\0\x10\xff\xff\xff\xfa" in message
        )
        return Error(2, 4) if has_normal and not normal else None

    return refuse


def queues_of_all_ports(message: bytes) -> Error | None:
    """As ofsoftswitch13: queues can be requested for one port only."""
    if message[1] == QUEUE_GET_CONFIG and message[8:12] == ANY:
        return BAD_PORT
    is_queue_desc = message[1] == MULTIPART and message[8:10] == QUEUE_DESC
    return BAD_PORT if is_queue_desc and message[16:20] == ANY else None


@pytest.fixture(params=["OpenFlow13", "OpenFlow14", "OpenFlow15"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Lesser:
    """One such switch; ``log`` is what the controller has logged since it connected."""

    def __init__(self, ovs: PrivateOvs, manager: Launched, version: str, dpid: int) -> None:
        self.ovs, self.manager, self.version, self.dpid = ovs, manager, version, dpid
        self._logged = len(manager.log)

    @property
    def log(self) -> str:
        return self.manager.log[self._logged :]

    def device(self) -> Any:
        return self.manager.rest(f"/v1/devices/{self.dpid:016x}")

    def is_connected(self) -> bool:
        items = self.manager.rest("/v1/devices")["items"]
        return any(item["connected"] and int(item["dpid"], 16) == self.dpid for item in items)

    def dump(self) -> str:
        return self.ovs.ofctl("dump-flows", BRIDGE, version=self.version)

    def tables(self) -> set[int]:
        lines = [line for line in self.dump().splitlines() if "cookie" in line]
        return {int(found[1]) if (found := re.search(r"table=(\d+)", line)) else 0 for line in lines}

    def trace(self, port: int) -> str:
        return self.ovs.trace(BRIDGE, FRAME.format(port)).rpartition("Datapath actions:")[2]


@pytest.fixture(scope="module")
def manager(ovs: PrivateOvs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """One controller for all switches, which come one after another, each with a number of its own."""
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(LIMITED)
    with launched(f"--ovsdb={ovs.database}", f"--policy={path}") as running:
        yield running


@contextmanager
def lesser(ovs: PrivateOvs, manager: Launched, version: str, refuse: Refuse) -> Iterator[Lesser]:
    with proxy.running(manager.openflow_port, refuse) as between:
        switch = Lesser(ovs, manager, version, next(_datapath_ids))
        with ovs.together():
            ovs.add_bridge(BRIDGE, (), dpid=switch.dpid, versions=version)
            vm(ovs, BRIDGE, "lesser-vm1", 1, macs="02:00:00:00:00:01")
            vm(ovs, BRIDGE, "lesser-vm2", 2)
            uplink(ovs, BRIDGE, "lesser-up", 9)
            ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{between.port}")
        try:
            wait_for(switch.is_connected, 20)
            yield switch
        finally:
            ovs.vsctl("del-br", BRIDGE)


@pytest.mark.parametrize(("count", "used"), [(9, 9), (8, 7), (6, 5), (4, 4)])
def test_a_switch_with_few_tables_gets_a_smaller_pipeline(
    ovs: PrivateOvs, version: str, manager: Launched, count: int, used: int
) -> None:
    with lesser(ovs, manager, version, tables(count)) as switch:
        wait_for(lambda: switch.tables() == set(range(used)), 10, switch.dump())
        device = switch.device()
        assert device["unusable"] is None
        assert (device["capabilities"]["learn"], device["capabilities"]["conntrack"]) == (
            used >= 7,
            used == 9,
        )
        assert any("flow tables" in item["why"] for item in device["left_out"]) is (used < 9)
        assert not any("refused" in name for name in device["refusals"])
        ovs.receive(
            "lesser-vm1",
            "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:09),eth_type(0x0800),"
            "ipv4(src=10.0.0.1,dst=10.0.0.9,proto=17,tos=0,ttl=64,frag=no),udp(src=1000,dst=4000)",
            200,
        )
        wait_for(lambda: switch.device()["pinned"] == 1, 10, switch.log)
        (pin,) = (line for line in switch.dump().splitlines() if "cookie=0xf10a3" in line)
        assert "meter:1," in pin
        assert pin.endswith("NORMAL" if used == 4 else f"goto_table:{used - 1}")
        for port in (4000, 53):
            assert switch.trace(port).strip() != "drop"
        assert "meter" in ovs.trace(BRIDGE, FRAME.format(4000))


def test_without_normal_and_table_output_frames_leave_by_their_port(
    ovs: PrivateOvs, manager: Launched
) -> None:
    with lesser(ovs, manager, "OpenFlow13", tables(4, normal=False)) as switch:
        wait_for(lambda: switch.tables() == set(range(4)), 10, switch.dump())
        assert switch.device()["forwarding"] == "own"
        assert "NORMAL" not in switch.dump()
        trace = ovs.trace(BRIDGE, FRAME.format(53))
        assert "output:9" in trace
        from_uplink = FRAME.format(53).replace("in_port=1", "in_port=9")
        to_vm = from_uplink.replace("dl_dst=02:00:00:00:00:09", "dl_dst=02:00:00:00:00:01")
        to_vm = to_vm.replace("dl_src=02:00:00:00:00:01", "dl_src=02:00:00:00:00:09")
        assert "output:1" in ovs.trace(BRIDGE, to_vm)


def test_a_switch_with_three_tables_is_left_alone(ovs: PrivateOvs, version: str, manager: Launched) -> None:
    with lesser(ovs, manager, version, tables(3)) as switch:
        why = switch.device()["unusable"]
        assert why is not None
        assert "3 flow tables" in why
        assert f"{BRIDGE} is unusable: {why}" in switch.log
        wait_for(lambda: "cookie" not in switch.dump(), 5, switch.dump())


def test_queues_are_requested_port_by_port(ovs: PrivateOvs, version: str, manager: Launched) -> None:
    with lesser(ovs, manager, version, queues_of_all_ports) as switch:
        ports = {port["name"]: port["queues"] for port in switch.device()["ports"]}
        assert ports["lesser-up"] == [0]
        assert ports["lesser-vm1"] == [0]
        vm(ovs, BRIDGE, "lesser-vm3", 3)

        def queues_of_new_port() -> list[int] | None:
            return {port["name"]: port["queues"] for port in switch.device()["ports"]}.get("lesser-vm3")

        wait_for(lambda: queues_of_new_port() == [0], 15, switch.log)


@pytest.mark.parametrize("refuse", [proxy.refuse_groups, proxy.refuse_meters], ids=["groups", "meters"])
def test_without_groups_or_meters_the_reason_is_in_devices(
    ovs: PrivateOvs, version: str, manager: Launched, refuse: Refuse
) -> None:
    with lesser(ovs, manager, version, refuse) as switch:
        wait_for(lambda: 8 in switch.tables(), 10, switch.dump())
        ovs.receive(
            "lesser-vm1",
            "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:09),eth_type(0x0800),"
            "ipv4(src=10.0.0.1,dst=10.0.0.9,proto=17,tos=0,ttl=64,frag=no),udp(src=1000,dst=4000)",
            200,
        )
        if refuse is proxy.refuse_meters:
            wait_for(lambda: any("meter" in item["what"] for item in switch.device()["left_out"]), 10)
        assert switch.device()["unusable"] is None
        assert switch.trace(4000).strip() != "drop"
