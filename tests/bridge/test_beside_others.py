"""Flowlane on a bridge on which others have flows, groups and meters: these stay as they are, whatever happens."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from lab.inside.manager import Launched, free_port, launched, wait_for
from lab.inside.private_ovs import PrivateOvs
from support.openflow.client import Client
from support.ovs.twins import uplink, vm

pytestmark = pytest.mark.ovs

BRIDGE, DPID = "shared", 0x51
OTHERS = "cookie=0x77/-1"
MAC = "02:00:00:00:00:0{}"
LIMITED = """\
version: 1
classes:
  bulk: {limit: 4Mbit/s, limit-scope: flow}
  slow: {limit: 2Mbit/s, limit-scope: class}
rules:
  - {match: {protocol: udp, dst-port: 4000-4999}, class: bulk}
  - {match: {protocol: udp, dst-port: 5000-5999}, class: slow}
"""
FREE = "version: 1\n"

FLOWS = (
    "cookie=0x77,priority=0,actions=NORMAL",
    "cookie=0x77,priority=500,udp,tp_dst=53,actions=drop",
    "cookie=0x77,priority=600,udp,tp_dst=54,actions=goto_table:3",
    "cookie=0x77,table=3,priority=10,actions=meter:1,NORMAL",
    "cookie=0x77,table=5,priority=1,in_port=1,actions=group:9",
    "cookie=0x77,table=5,priority=1,in_port=2,actions=resubmit(,7)",
)
METERS = ("meter=1,kbps,band=type=drop,rate=50000", "meter=3,pktps,band=type=drop,rate=10")
GROUPS = ("group_id=9,type=all,bucket=output:2", "group_id=10,type=select,bucket=output:1,bucket=output:2")


CONFLICTING = (
    "priority=2,ip,actions=drop",
    "priority=32768,actions=NORMAL",
    "priority=40000,in_port=9,actions=NORMAL",
    "priority=32770,in_port=2,ip,actions=drop",
)
"""The second is above the first, which is no news; ours are above the second and so above the last."""


class Shared:
    """The bridge and its controller, which can be ended and launched again on the same port."""

    def __init__(self, ovs: PrivateOvs, folder: Path, version: str) -> None:
        self.ovs, self.folder, self.version = ovs, folder, version
        self.port = free_port()
        self.manager: Launched

    def put_others(self) -> None:
        for meter in METERS:
            self.ovs.ofctl("add-meter", BRIDGE, meter, version=self.version)
        for group in GROUPS:
            self.ovs.ofctl("add-group", BRIDGE, group, version=self.version)
        for flow in FLOWS:
            self.ovs.ofctl("add-flow", BRIDGE, flow, version=self.version)

    @contextmanager
    def attached(self, policy: str, *options: str) -> Iterator[Launched]:
        path = self.folder / "policy.yaml"
        path.write_text(policy)
        words = (f"--ovsdb={self.ovs.database}", f"--policy={path}", f"--ofp-tcp-listen-port={self.port}")
        with launched(*words, *options) as self.manager:
            wait_for(self.is_programmed, 20, self.manager.log)
            yield self.manager

    def is_programmed(self) -> bool:
        devices = self.manager.rest("/v1/devices")["items"]
        return any(item["connected"] for item in devices) and "cookie=0xf10a1" in self.dump()

    def dump(self, *match: str) -> str:
        return self.ovs.ofctl("dump-flows", BRIDGE, ",".join(match), version=self.version)

    def others(self) -> list[str]:
        """The flows, groups and meters of others, without counters."""
        flows = re.sub(r" (duration|n_packets|n_bytes|idle_age|hard_age)=[^,]*,", "", self.dump(OTHERS))
        meters = self.ovs.ofctl("dump-meters", BRIDGE, version=self.version)
        groups = self.ovs.ofctl("dump-groups", BRIDGE, version=self.version)
        meter_lines = re.findall(r"meter=(\d+) ([^\n]*)\n([^\n]*)", meters)
        return sorted(
            [
                *(line.strip() for line in flows.splitlines() if "cookie" in line),
                *(" ".join(parts) for parts in meter_lines if parts[0] in ("1", "3")),
                *(line.strip() for line in groups.splitlines() if re.search(r"group_id=(9|10),", line)),
            ]
        )

    def packets(self, *match: str) -> int:
        return sum(int(number) for number in re.findall(r"n_packets=(\d+)", self.dump(*match)))

    def put_policy(self, text: str) -> None:
        url = f"http://127.0.0.1:{self.manager.rest_port}/v1/policy"
        requests.put(url, text, headers={"Content-Type": "application/yaml"}, timeout=10).raise_for_status()

    def udp(self, port: int, count: int = 1) -> None:
        for _ in range(count):
            self.ovs.receive(
                "shared-vm1",
                f"in_port(1),eth(src={MAC.format(1)},dst={MAC.format(9)}),eth_type(0x0800),"
                "ipv4(src=10.0.0.1,dst=10.0.0.9,proto=17,tos=0,ttl=64,frag=no),"
                f"udp(src=1000,dst={port})",
                200,
            )

    def pinned(self) -> int:
        return int(self.manager.rest(f"/v1/devices/{DPID:016x}")["pinned"])

    def our_tables(self) -> set[int]:
        text = self.dump("cookie=0xf10a000000000000/0xffff000000000000")
        return {int(found[1]) if (found := re.search(r"table=(\d+)", line)) else 0
                for line in text.splitlines() if "cookie" in line}  # fmt: skip


@pytest.fixture(params=["OpenFlow13", "OpenFlow14", "OpenFlow15"])
def shared(request: pytest.FixtureRequest, ovs: PrivateOvs, tmp_path: Path) -> Iterator[Shared]:
    bridge = Shared(ovs, tmp_path, request.param)
    ovs.add_bridge(BRIDGE, (), dpid=DPID, controller=f"tcp:127.0.0.1:{bridge.port}")
    ovs.vsctl("set", "Controller", BRIDGE, "max_backoff=1000")
    ovs.vsctl("set", "Bridge", BRIDGE, f"protocols={request.param}")
    vm(ovs, BRIDGE, "shared-vm1", 1, macs=MAC.format(1))
    vm(ovs, BRIDGE, "shared-vm2", 2)
    uplink(ovs, BRIDGE, "shared-up", 9)
    try:
        yield bridge
    finally:
        ovs.vsctl("del-br", BRIDGE)


def test_what_others_have_stays_as_it_is(shared: Shared) -> None:
    shared.put_others()
    before = shared.others()
    assert len(before) == len(FLOWS) + len(METERS) + len(GROUPS)
    with shared.attached(LIMITED):
        assert shared.our_tables() & {3, 5, 7} == set()
        assert shared.others() == before
        shared.udp(4001, 2)
        shared.udp(5001, 2)
        wait_for(lambda: shared.pinned() == 1, 10, shared.manager.log)
        rates = shared.ovs.ofctl("dump-meters", BRIDGE, version=shared.version)
        assert "rate=4000" in rates
        assert "rate=2000" in rates
        shared.udp(53, 3)
        wait_for(lambda: shared.packets(OTHERS, "udp,tp_dst=53") == 3, 5, "the operator's rule counts")
        assert shared.others() == before
        shared.put_policy(FREE)
        wait_for(
            lambda: "rate=4000" not in shared.ovs.ofctl("dump-meters", BRIDGE, version=shared.version), 15
        )
        assert shared.others() == before
        shared.put_policy(LIMITED)
        wait_for(lambda: "rate=2000" in shared.ovs.ofctl("dump-meters", BRIDGE, version=shared.version), 15)
        assert shared.manager.rest(f"/v1/devices/{DPID:016x}")["conflicts"] == []
    with shared.attached(FREE):
        wait_for(
            lambda: "rate=2000" not in shared.ovs.ofctl("dump-meters", BRIDGE, version=shared.version), 15
        )
        assert shared.others() == before
        shared.udp(53, 2)
        wait_for(
            lambda: shared.packets(OTHERS, "udp,tp_dst=53") == 5, 5, "its counter goes on: never replaced"
        )


def test_a_second_controller_keeps_what_it_adds_later(shared: Shared) -> None:
    """It takes the very ids that Flowlane would take next."""
    with shared.attached(FREE), socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        second = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        shared.ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{shared.port}", second)
        with server.accept()[0] as connection:
            client = Client(connection, shared.version)
            client.handshake()
            parser, ofproto = client.datapath.ofproto_parser, client.datapath.ofproto
            max_meters = shared.manager.rest(f"/v1/devices/{DPID:016x}")["capabilities"]["max_meters"]
            meters = [
                parser.OFPMeterMod(
                    client.datapath, ofproto.OFPMC_ADD, ofproto.OFPMF_KBPS, number,
                    [parser.OFPMeterBandDrop(rate=77_000, burst_size=100)],
                )
                for number in (1, 2, max_meters)
            ]  # fmt: skip
            flow = parser.OFPFlowMod(
                client.datapath, cookie=0x77, table_id=100, priority=7, command=ofproto.OFPFC_ADD,
                match=parser.OFPMatch(eth_type=0x88CC), instructions=[],
            )  # fmt: skip
            wait_for(shared.is_programmed, 20, shared.manager.log)
            assert client.apply([*meters, flow]) == []
            shared.put_policy(LIMITED)
            shared.udp(5001, 2)
            wait_for(
                lambda: "rate=2000" in shared.ovs.ofctl("dump-meters", BRIDGE, version=shared.version), 10
            )
            ours = "cookie=0xf10a000000000000/0xffff000000000000"
            wait_for(lambda: f"meter:{max_meters - 1}," in shared.dump(ours), 10)
            assert f"meter:{max_meters}," not in shared.dump(ours)
            shared.udp(4001, 2)
            wait_for(lambda: shared.pinned() >= 1, 10, f"{shared.manager.rest('/v1/flows')} {shared.dump()}")
            wait_for(lambda: "meter:3," in shared.dump("cookie=0xf10a300000000000/0xfffff00000000000"), 10)
            meters_now = shared.ovs.ofctl("dump-meters", BRIDGE, version=shared.version)
            assert meters_now.count("rate=77000") == 3
            shared.put_policy(FREE)
            wait_for(
                lambda: "rate=4000" not in shared.ovs.ofctl("dump-meters", BRIDGE, version=shared.version), 15
            )
            meters_now = shared.ovs.ofctl("dump-meters", BRIDGE, version=shared.version)
            assert meters_now.count("rate=77000") == 3
            assert "table=100" in shared.dump(OTHERS)


def test_the_start_table_is_chosen_and_changed(shared: Shared) -> None:
    """Entries of ours in an earlier place are gone; what the operator has in table 0 is all that is there."""
    shared.ovs.ofctl(
        "add-flow", BRIDGE, "cookie=0x77,priority=5,actions=goto_table:20", version=shared.version
    )
    with shared.attached(FREE, "--start-table=20"):
        wait_for(lambda: shared.our_tables() == set(range(20, 29)), 10, shared.dump())
        shared.udp(1000, 12)
        wait_for(
            lambda: shared.packets("cookie=0xf10a400000000000/0xfffff00000000000") > 0, 10, shared.dump()
        )
        assert shared.manager.rest(f"/v1/devices/{DPID:016x}")["conflicts"] == []
    with shared.attached(FREE, "--start-table=11", f"--start-table={DPID:x}=40"):
        wait_for(lambda: shared.our_tables() <= set(range(40, 49)), 10, shared.dump())
        wait_for(lambda: "goto_table:41" in shared.dump(), 10)
        (conflict,) = shared.manager.rest(f"/v1/devices/{DPID:016x}")["conflicts"]
        assert "table 40: no packet passes Flowlane" in conflict
        assert "no packet passes Flowlane" in shared.manager.log
    assert "actions=goto_table:20" in shared.dump("table=0")


@pytest.mark.parametrize("shared", ["OpenFlow13"], indirect=True)
def test_rules_that_conflict_are_named(shared: Shared) -> None:
    for flow in CONFLICTING:
        shared.ovs.ofctl("add-flow", BRIDGE, f"cookie=0x77,{flow}", version=shared.version)
    with shared.attached(FREE):
        conflicts = shared.manager.rest(f"/v1/devices/{DPID:016x}")["conflicts"]
        assert len(conflicts) == 2
        assert "packets from port 9 do not pass" in conflicts[0]
        assert "priority=32770,in_port=2,dl_type=0x800 of another controller is not met" in conflicts[1]
        assert all(shared.manager.log.count(text) == 1 for text in conflicts)
        assert our_priorities(shared) == {32771, 32772, 32775, 32776}


def test_an_entry_with_a_priority_of_ours_gets_its_own(shared: Shared) -> None:
    """It is added later, and replaces ours with its match: ours go elsewhere, and a conflict is listed."""
    with shared.attached(FREE):
        ours = shared.dump("table=0", "in_port=2", "cookie=0xf10a000000000000/0xffff000000000000")
        assert "priority=2,in_port=2 actions=write_metadata" in ours
        shared.ovs.ofctl(
            "add-flow", BRIDGE, "cookie=0x77,priority=2,in_port=2,actions=drop", version=shared.version
        )
        flow = f"in_port=2,dl_src={MAC.format(2)},dl_dst={MAC.format(9)}"
        wait_for(lambda: our_priorities(shared) == {3, 4, 7, 8}, 15, shared.dump("table=0"))
        assert "write_metadata" in shared.ovs.trace(BRIDGE, flow)
        conflicts = shared.manager.rest(f"/v1/devices/{DPID:016x}")["conflicts"]
        assert len(conflicts) == 1
        assert "priority=2,in_port=2 of another controller is not met" in conflicts[0]
        assert "priority=2,in_port=2 actions=drop" in shared.dump("table=0", OTHERS)
        shared.ovs.ofctl("del-flows", BRIDGE, "cookie=0x77/-1", version=shared.version)
        wait_for(lambda: shared.manager.rest(f"/v1/devices/{DPID:016x}")["conflicts"] == [], 15)


def test_after_all_entries_were_deleted_it_is_programmed_anew(shared: Shared) -> None:
    """Open vSwitch itself deletes them when controllers or the fail mode change, and may keep the connection."""
    with shared.attached(FREE):
        shared.ovs.ofctl("del-flows", BRIDGE, version=shared.version)
        wait_for(lambda: our_priorities(shared) == {1, 2, 5, 6}, 25, shared.manager.log)
        assert shared.manager.log.count("is gone: somebody has deleted all entries") == 1


def test_meters_of_flows_that_end_while_the_controller_is_away_are_deleted(shared: Shared) -> None:
    """By an entry that marks them; a meter of another, that nothing uses either, stays."""
    policy = "version: 1\ndefault: slow\nclasses:\n  slow: {limit: 7Mbit/s}\n"
    with shared.attached(policy):
        for port in (700, 701):
            shared.udp(port)
        wait_for(lambda: shared.pinned() == 2, 15, shared.manager.log)
        wait_for(lambda: len(marked(shared)) == 2, 15, shared.dump())
        assert marked(shared) <= meter_ids(shared)
    ours = marked(shared)
    shared.ovs.ofctl("add-meter", BRIDGE, "meter=40,kbps,bands=type=drop,rate=7000", version=shared.version)
    shared.ovs.ofctl(
        "del-flows", BRIDGE, "cookie=0xf10a300000000000/0xfffff00000000000", version=shared.version
    )
    assert ours | {"40"} <= meter_ids(shared)
    with shared.attached(policy):
        wait_for(lambda: not ours & meter_ids(shared), 15, str(meter_ids(shared)))
        assert "40" in meter_ids(shared)
        assert marked(shared) == set()


def marked(shared: Shared) -> set[str]:
    """The meters of pins that have an entry of ours beside the pins."""
    lines = shared.dump("cookie=0xf10a100000000000/0xfffff00000000000").splitlines()
    return {
        found[1]
        for line in lines
        if (found := re.search(r"priority=1,metadata=\S+ actions=meter:(\d+)", line))
    }


def meter_ids(shared: Shared) -> set[str]:
    text = shared.ovs.ofctl("dump-meters", BRIDGE, version=shared.version)
    return set(re.findall(r"meter=(\d+) ", text))


def our_priorities(shared: Shared) -> set[int]:
    ours = shared.dump("table=0", "cookie=0xf10a000000000000/0xffff000000000000")
    return {int(number) for number in re.findall(r"priority=(\d+)", ours)}
