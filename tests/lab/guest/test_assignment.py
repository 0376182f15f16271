"""With the controller: what REST says of a flow is what the driver, the kernel and the switch count."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from lab.inside.controller import DPID, Controller, physical
from lab.inside.counters import BRIDGE, Reading, ofctl, packets_since, read_all, run, wait_until
from lab.inside.packet_counts import PacedSender, UdpFlow, udp_flows

if TYPE_CHECKING:
    from .conftest import Lab

PORT = 7100


def place(controller: Controller, flows: list[UdpFlow], seconds: float = 90) -> None:
    """Have all flows known and assigned; what was sent while a switch starts is lost, so some of it is repeated."""
    wanted = {flow.key for flow in flows}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for flow in flows:
            flow.send(2)
        if wait_until(lambda: wanted <= set(controller.assignments(flows[0].dst_port)), 6):
            return
    pytest.fail(f"{len(flows)} flows were not all assigned within {seconds} s")


def queues_of(controller: Controller, flows: list[UdpFlow]) -> dict[UdpFlow, int]:
    placed = controller.assignments(flows[0].dst_port)
    return {flow: placed[flow.key]["queue_id"] for flow in flows}


def spread(controller: Controller, flows: list[UdpFlow], number: int) -> None:
    """Have the flows on this many queues, with so little traffic that there is no reason to move any.

    The device places them by a hash; the controller fills what that leaves idle.
    """

    def all_used() -> bool:
        return len(set(queues_of(controller, flows).values())) == number

    with PacedSender(flows, 5):
        assert wait_until(all_used, 90), f"{queues_of(controller, flows).values()} instead of {number} queues"


def grow_up(flows: list[UdpFlow]) -> None:
    """Send until packets of every flow meet an entry of its own: what the switch has learned of it, or a pin."""

    def young() -> list[UdpFlow]:
        entries = [set(re.split(r"[ ,]+", line)) for line in ofctl("dump-flows", BRIDGE).splitlines()]
        used = [entry for entry in entries if "n_packets=0" not in entry]
        names = {flow: {f"nw_src={flow.key[0]}", f"tp_src={flow.key[1]}"} for flow in flows}
        return [flow for flow, name in names.items() if not any(name <= entry for entry in used)]

    def none_is_young() -> bool:
        # Packets that the datapath meets while it asks for the first one's way are counted as one.
        left = young()
        for flow in left:
            flow.send(8)
        return not left

    assert wait_until(none_is_young, 60), young()


def judge(controller: Controller, flows: list[UdpFlow], queues: set[int]) -> dict[UdpFlow, int]:
    """Send on each flow, and compare all counters with where REST says the flows are.

    A flow may be moved in the middle; then what was counted says nothing, and the count is made again. Equal
    counts, because unequal ones would give the controller a reason to move flows. A pin holds for a flow once it
    is no longer young (docs/decisions/0006).
    """
    grow_up(flows)
    for _ in range(8):
        placed = queues_of(controller, flows)
        # A flow that was moved just now goes its old way until the switch has looked at its datapath's flows again.
        run("ovs-appctl", "revalidator/wait")
        before = read_all()
        for flow in flows:
            flow.send(10)
        expected = dict.fromkeys(queues, 0) | Counter(10 * list(placed.values()))
        wanted = {name: expected | dict.fromkeys(set(rows) - queues, 0) for name, rows in before.items()}

        def counted_or_moved(
            before: Reading = before,
            wanted: dict[str, dict[int, int]] = wanted,
            placed: dict[UdpFlow, int] = placed,
        ) -> bool:
            return packets_since(before) == wanted or queues_of(controller, flows) != placed

        wait_until(counted_or_moved)
        counted = packets_since(before)
        if queues_of(controller, flows) == placed:
            assert counted == wanted
            return placed
        time.sleep(3)
    pytest.fail("the flows were moved each time they were counted")


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_every_flow_leaves_by_exactly_its_queue(lab: Lab, controller: Controller, count: int) -> None:
    lab.set_queues(count)
    controller.wait_for_queues(physical(count))
    with udp_flows(lab.vms, 4, PORT + count) as flows:
        place(controller, flows)
        spread(controller, flows, count)
        judge(controller, flows, set(range(count)))
    rows = controller.items("/v1/vms")
    assert {row["macs"][0] for row in rows} == {f"02:00:00:00:00:{n:02x}" for n in range(1, len(lab.vms) + 1)}


def test_moved_pins_move_the_packets(lab: Lab, controller: Controller) -> None:
    """A suggestion takes all flows of a VM to one queue; on the way no packet is lost or goes astray."""
    with udp_flows(("vm1",), 4, PORT) as flows:
        place(controller, flows)
        spread(controller, flows, 4)
        before = read_all()
        with PacedSender(flows, 20) as paced:
            controller.put("/v1/vms/vm1/hints", {"hints": [{"class": "apart", "match": {"dst-port": PORT}}]})
            assert wait_until(lambda: len(set(queues_of(controller, flows).values())) == 1, 60)
        sent = sum(paced.sent.values())
        wait_until(lambda: set(total(packets_since(before)).values()) == {sent})
        assert set(total(packets_since(before)).values()) == {sent}
        placed = judge(controller, flows, set(range(4)))
        assert len(set(placed.values())) == 1
    controller.put("/v1/vms/vm1/hints", {"hints": []})


def total(counted: dict[str, dict[int, int]]) -> dict[str, int]:
    """All packets, by judge."""
    return {name: sum(rows.values()) for name, rows in counted.items()}


def test_a_vanished_queue_is_vacated(lab: Lab, controller: Controller) -> None:
    """Also by flows that the switch has learned: they take no other queue before they are told to."""
    with udp_flows(lab.vms, 3, PORT + 20) as flows:
        place(controller, flows)
        grow_up(flows)
        gone = max(queues_of(controller, flows).values())
        assert gone > 0
        qos = run("ovs-vsctl", "get", "port", "pf0", "qos").strip()
        run("ovs-vsctl", "remove", "qos", qos, "queues", str(gone))
        left = {queue: kind for queue, kind in physical(4).items() if queue != gone}
        controller.wait_for_queues(left)
        assert wait_until(lambda: gone not in queues_of(controller, flows).values(), 60)
        judge(controller, flows, set(left))
        assert gone not in read_all()["class"]


def test_the_switch_reports_what_the_database_says(controller: Controller) -> None:
    device = controller.get(f"/v1/devices/{DPID}")
    assert device["connected"]
    assert device["role"] == "nic"
    assert controller.queues() == physical(4)
