"""With the controller: what REST says of a flow is what the driver, the kernel and the switch count."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from labtools.controller import DPID, Controller, physical
from labtools.counters import packets_since, read_all, run, settle
from labtools.traffic import Paced, UdpFlow, udp_flows

if TYPE_CHECKING:
    from .conftest import Lab

PORT = 7100


def place(controller: Controller, flows: list[UdpFlow], seconds: float = 20) -> None:
    """Have all flows known and pinned."""
    for flow in flows:
        flow.send(2)
    wanted = {flow.key for flow in flows}
    assert settle(lambda: wanted <= set(controller.assignments(flows[0].dst_port)), seconds)


def queues_of(controller: Controller, flows: list[UdpFlow]) -> dict[UdpFlow, int]:
    placed = controller.assignments(flows[0].dst_port)
    return {flow: placed[flow.key]["queue_id"] for flow in flows}


def judge(controller: Controller, flows: list[UdpFlow], queues: set[int]) -> dict[UdpFlow, int]:
    """Send another count on each flow, and compare all counters with where REST says the flows are.

    A flow may be moved in the middle; then what was counted says nothing, and the count is made again.
    """
    for _ in range(3):
        placed = queues_of(controller, flows)
        before = read_all()
        for number, flow in enumerate(flows):
            flow.send(5 + number)
        expected = Counter(dict.fromkeys(queues, 0))
        for number, flow in enumerate(flows):
            expected[placed[flow]] += 5 + number
        wanted = {"hardware": dict(expected), "class": dict(expected), "openflow": dict(expected)}
        settle(lambda before=before, wanted=wanted: packets_since(before) == wanted)
        counted = packets_since(before)
        if queues_of(controller, flows) == placed:
            assert counted == wanted
            return placed
    pytest.fail("the flows were moved each time they were counted")


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_every_flow_leaves_by_exactly_its_queue(lab: Lab, controller: Controller, count: int) -> None:
    lab.set_queues(count)
    controller.wait_for_queues(physical(count))
    with udp_flows(lab.vms, 4, PORT + count) as flows:
        place(controller, flows)
        placed = judge(controller, flows, set(range(count)))
        assert set(placed.values()) == set(range(count)), "every queue is used"
    rows = controller.items("/v1/vms")
    assert {row["macs"][0] for row in rows} == {f"02:00:00:00:00:{n:02x}" for n in range(1, len(lab.vms) + 1)}


def test_a_moved_pin_moves_the_packets(lab: Lab, controller: Controller) -> None:
    """A suggestion puts one flow in a class with a queue of its own; while it moves, no packet goes astray."""
    with udp_flows(("vm1",), 4, PORT) as flows:
        place(controller, flows)
        moved = flows[0]
        was = queues_of(controller, flows)[moved]
        before = read_all()
        with Paced([moved], 100) as paced:
            hint = {"class": "apart", "match": {"dst-port": PORT, "src-port": moved.key[1]}}
            controller.put("/v1/vms/vm1/hints", {"hints": [hint]})
            assert settle(lambda: controller.assignments(PORT)[moved.key]["class"] == "apart", 20)
            now = queues_of(controller, flows)[moved]
        sent = paced.sent[moved]
        settle(lambda: sum(packets_since(before)["class"].values()) == sent)
        counted = packets_since(before)
        assert all(sum(rows.values()) == sent for rows in counted.values()), counted
        assert all(rows[was] + rows[now] == sent for rows in counted.values()), (was, now, counted)

        alone = read_all()
        moved.send(25)
        wanted = {queue: 25 * (queue == now) for queue in range(4)}
        settle(lambda: packets_since(alone)["openflow"] == wanted)
        assert packets_since(alone) == {"hardware": wanted, "class": wanted, "openflow": wanted}
        assert now not in {queue for flow, queue in queues_of(controller, flows).items() if flow is not moved}
        controller.put("/v1/vms/vm1/hints", {"hints": []})
        assert settle(lambda: controller.assignments(PORT)[moved.key]["class"] == "small", 20)


def test_a_vanished_queue_is_vacated(lab: Lab, controller: Controller) -> None:
    with udp_flows(lab.vms, 3, PORT + 20) as flows:
        place(controller, flows)
        gone = 2
        assert gone in queues_of(controller, flows).values()
        qos = run("ovs-vsctl", "get", "port", "pf0", "qos").strip()
        run("ovs-vsctl", "remove", "qos", qos, "queues", str(gone))
        left = {queue: kind for queue, kind in physical(4).items() if queue != gone}
        controller.wait_for_queues(left)
        assert settle(lambda: gone not in queues_of(controller, flows).values(), 10)
        before = read_all()
        for flow in flows:
            flow.send(10)
        expected = dict.fromkeys(left, 0) | Counter(10 * list(queues_of(controller, flows).values()))
        settle(lambda: packets_since(before)["class"] == expected)
        counted = packets_since(before)
        assert counted["hardware"] == {**expected, gone: 0}
        assert counted["class"] == counted["openflow"] == expected


def test_the_switch_reports_what_the_database_says(controller: Controller) -> None:
    device = controller.get(f"/v1/devices/{DPID}")
    assert device["connected"]
    assert device["role"] == "nic"
    assert controller.queues() == physical(4)
