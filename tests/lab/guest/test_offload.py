"""Queues chosen by DSCP: the NIC's own counters, and which flows Open vSwitch leaves to traffic control (tc).

The NIC chooses its transmit queue by DSCP, by a filter on it that neither Open vSwitch nor Flowlane knows. What is
offloaded is read from the datapath: ``type=tc`` are flows that tc forwards, ``type=ovs`` those of the kernel module.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab.inside.controller import DPID, Controller, physical
from lab.inside.counters import BRIDGE, UPLINK, Count, classes, hardware_queues, ofctl, run, wait_until
from lab.inside.packet_counts import PacedSender, UdpFlow, udp_flows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Lab

PORT = 7700
QUEUES = 4
POLICY = (Path(__file__).parent / "policy.yaml").read_text()
BY_DSCP = POLICY + "\ndevices:\n  - {queues-by: dscp, marks: {0: 0, 8: 1, 16: 2, 24: 3}}\n"
OFFLOAD_MODULES = ("cls_flower", "act_pedit", "act_ct", "act_vlan", "act_mirred", "act_csum", "act_police")


BEHIND = (
    POLICY
    + """
passive-switches:
  - name: tor
    queues-by: dscp
    ports: [{name: uplink, queues: {0: {}, 1: {}, 2: {}, 3: {}}}]
    behind: [{device: br0, port: pf0}]
"""
)


def choose_by_dscp(first: int) -> None:
    """Have the uplink choose its transmit queue ``first`` + k by the DSCP 8k, and 0 or 7 for other packets."""
    run("modprobe", "-a", "cls_flower")
    others = 0 if first else 7
    filters = [f"qdisc add dev {UPLINK} clsact"]
    for queue in range(QUEUES):
        how = f"protocol ip pref 1 handle {queue + 1} flower ip_tos {32 * queue:#x}/0xfc"
        filters.append(f"filter add dev {UPLINK} egress {how} action skbedit queue_mapping {first + queue}")
    filters.append(
        f"filter add dev {UPLINK} egress protocol all pref 9 matchall action skbedit queue_mapping {others}"
    )
    run("tc", "-batch", "-", given="\n".join(filters))


@pytest.fixture
def by_dscp(bare: None, running: Controller) -> Iterator[Controller]:
    """An uplink without queues in Open vSwitch, whose transmit queues are chosen by DSCP."""
    choose_by_dscp(0)
    running.put_policy(BY_DSCP)
    yield running
    running.put_policy(POLICY)


def placed(controller: Controller, flows: list[UdpFlow]) -> dict[UdpFlow, int]:
    """The queue of each flow, once the device forwards by its own entry."""

    def are_known() -> bool:
        for flow in flows:
            flow.send(4)
        return {flow.key for flow in flows} <= set(controller.assignments(flows[0].dst_port))

    assert wait_until(are_known, 90), "not all flows are assigned"
    rows = controller.assignments(flows[0].dst_port)
    return {flow: rows[flow.key]["queue_id"] for flow in flows}


def test_a_nic_that_chooses_by_dscp_counts_each_flow_in_its_queue(lab: Lab, by_dscp: Controller) -> None:
    """The queues are those of the map alone: neither OpenFlow nor OVSDB has any."""
    by_dscp.wait_for_queues(physical(QUEUES))
    with udp_flows(lab.vms, 4, PORT) as flows:
        for _ in range(8):
            queues = placed(by_dscp, flows)
            run("ovs-appctl", "revalidator/wait")
            before = {queue: count.packets for queue, count in hardware_queues().items()}
            for flow in flows:
                flow.send(10)
            expected = Counter(10 * list(queues.values()))

            def counted(before: dict[int, int] = before) -> Counter[int]:
                now = hardware_queues()
                return Counter({queue: now[queue].packets - before[queue] for queue in range(QUEUES)})

            wait_until(lambda: counted() == expected, 10)  # noqa: B023
            result = counted()
            if placed(by_dscp, flows) == queues:
                break
        else:
            pytest.fail("the flows were moved each time they were counted")
        assert len(set(queues.values())) > 1, "a hash of few flows may leave a queue out"
        assert result == expected


@pytest.fixture
def behind(lab: Lab, running: Controller) -> Iterator[Controller]:
    """A bridge with queues of its own, and what stands for a passive switch: the transmit queues 4 to 7, by DSCP."""
    lab.set_queues(QUEUES)
    run("ethtool", "-L", UPLINK, "combined", "8")
    run("tc", "qdisc", "del", "dev", UPLINK, "clsact")
    choose_by_dscp(QUEUES)
    running.put_policy(BEHIND)
    # Flows that begin before keep the mark that they have.
    assert wait_until(chooses_pairs, 60), ofctl("dump-groups", BRIDGE)
    yield running
    running.put_policy(POLICY)
    lab.set_queues(QUEUES)


def chooses_pairs() -> bool:
    """Whether the bridge chooses a queue of its own and one of the switch behind it for new flows."""
    groups = ofctl("dump-groups", BRIDGE).splitlines()
    return any(group.count("bucket=") == QUEUES * QUEUES for group in groups)


def places(controller: Controller, dst_port: int) -> dict[tuple[str, int], dict[str, int]]:
    """The queues of each flow by role of the device."""
    roles = {device["dpid"]: device["role"] for device in controller.items("/v1/devices")}
    found: dict[tuple[str, int], dict[str, int]] = {}
    for row in controller.items("/v1/assignments"):
        if row["dst_port"] == dst_port:
            found.setdefault((row["src"], row["src_port"]), {})[roles[row["device"]]] = row["queue_id"]
    return found


def test_a_passive_switch_and_the_bridge_before_it_count_each_flow_in_their_own_queues(
    lab: Lab, behind: Controller
) -> None:
    """HTB's classes are the bridge's queues, by ``set_queue``; the NIC's are those of the switch, by DSCP."""
    with udp_flows(lab.vms, 4, PORT + 3) as flows:
        for _ in range(8):
            placed(behind, flows)
            queues = places(behind, PORT + 3)
            run("ovs-appctl", "revalidator/wait")
            before = classes(), hardware_queues()
            for flow in flows:
                flow.send(10)
            expected = [Counter[int](), Counter[int]()]
            for flow in flows:
                expected[0][queues[flow.key]["nic"]] += 10
                expected[1][queues[flow.key]["switch"]] += 10

            def counted(before: tuple[dict[int, Count], ...] = before) -> list[Counter[int]]:
                now = classes(), hardware_queues()
                firsts = (0, QUEUES)
                return [
                    Counter({
                        queue: now[place][first + queue].packets - before[place][first + queue].packets
                        for queue in range(QUEUES)
                    })
                    for place, first in enumerate(firsts)
                ]  # fmt: skip

            wait_until(lambda: counted() == expected, 10)  # noqa: B023
            result = counted()
            if places(behind, PORT + 3) == queues:
                break
        else:
            pytest.fail("the flows were moved each time they were counted")
        assert result == expected
        assert len({place["switch"] for place in queues.values()}) > 1
        pairs = {(place["nic"], place["switch"]) for place in queues.values()}
        assert len(pairs) > max(len(set(of)) for of in zip(*pairs, strict=True)), "each chooses for itself"


def restart_switch(controller: Controller) -> None:
    """Restart ovs-vswitchd, which reads ``hw-offload`` when it starts, and wait for its tables."""
    run("ovs-appctl", "exit")
    assert wait_until(lambda: not Path("/run/openvswitch/ovs-vswitchd.pid").exists())
    run("ovs-vswitchd", "--pidfile", "--detach", "--log-file=/run/lab/ovs/ovs-vswitchd.log", "-vconsole:off")
    assert wait_until(lambda: "table=8" in ofctl("dump-flows", BRIDGE), 60), controller.log.read_text()[
        -2000:
    ]


@pytest.fixture
def offloading(lab: Lab, running: Controller) -> Iterator[Controller]:
    """The uplink with its queues, and a switch that offloads to traffic control in software."""
    run("modprobe", "-a", *OFFLOAD_MODULES)
    lab.set_queues(QUEUES)
    run(
        "ovs-vsctl",
        "set",
        "Open_vSwitch",
        ".",
        "other_config:hw-offload=true",
        "other_config:tc-policy=skip_hw",
    )
    restart_switch(running)
    yield running
    running.put_policy(POLICY)
    run("ovs-vsctl", "remove", "Open_vSwitch", ".", "other_config", "hw-offload", "tc-policy")
    restart_switch(running)
    for port in run("ovs-vsctl", "list-ports", BRIDGE).split():
        subprocess.run(["tc", "qdisc", "del", "dev", port, "ingress"], capture_output=True, check=False)
    lab.set_queues(QUEUES)


WRITES_TOS = re.compile(r"set\(ipv4\(tos=(0x[0-9a-f]+)")


def packets(controller: Controller, dst_port: int) -> int:
    rows = controller.items("/v1/flows")
    return sum(row["packets"] for row in rows if row["dst_port"] == dst_port)


def datapath_flows(kind: str, dst_port: int) -> list[str]:
    lines = run("ovs-appctl", "dpctl/dump-flows", "--names", f"type={kind}").splitlines()
    return [line for line in lines if re.search(rf"in_port\(pf0vf\d.*udp\(.*dst={dst_port}\b", line)]


def forwarding(dst_port: int, count: int, seconds: float = 30) -> dict[str, list[str]]:
    """The flows to a port by who forwards them, once each has an exact one."""
    shown: dict[str, list[str]] = {}

    def are_there() -> bool:
        shown.update({kind: datapath_flows(kind, dst_port) for kind in ("tc", "ovs")})
        return sum(map(len, shown.values())) == count

    wait_until(are_there, seconds)
    return shown


def test_flows_with_a_mark_are_offloaded_and_flows_with_set_queue_are_not(
    lab: Lab, offloading: Controller
) -> None:
    offloading.put_policy(BY_DSCP)
    (device,) = offloading.items("/v1/devices")
    assert (device["dpid"], device["queues_by"]) == (DPID, "dscp")
    with udp_flows(lab.vms, 2, PORT + 1) as flows, PacedSender(flows, 10):
        queues = placed(offloading, flows)
        time.sleep(3)
        shown = forwarding(PORT + 1, len(flows))
        assert (len(shown["tc"]), shown["ovs"]) == (len(flows), [])
        assert not any("skb_priority" in line or "ct(" in line for line in shown["tc"])
        # The packets have DSCP 0 already, so nothing is written for queue 0.
        written = Counter(int(found[1], 16) // 32 for found in map(WRITES_TOS.search, shown["tc"]) if found)
        assert written == Counter(queue for queue in queues.values() if queue)
        wait_until(lambda: packets(offloading, PORT + 1) > 50 * len(flows), 60)
        assert packets(offloading, PORT + 1) > 50 * len(flows), "flows that tc forwards are counted as well"
    offloading.put_policy(POLICY)
    with udp_flows(lab.vms, 2, PORT + 2) as flows, PacedSender(flows, 10):
        placed(offloading, flows)
        time.sleep(3)
        shown = forwarding(PORT + 2, len(flows))
        assert (shown["tc"], len(shown["ovs"])) == ([], len(flows))
        assert all("set(skb_priority" in line for line in shown["ovs"])
