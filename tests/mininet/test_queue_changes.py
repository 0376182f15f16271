"""Queues that go are vacated, queues that come are used, while traffic runs."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from lab.inside.compare import differences, placements_in_rest, placements_in_switch
from lab.inside.dump_flows import dump, queues_named
from support.hosts.network import eventually

if TYPE_CHECKING:
    from support.hosts.network import Controller, Network


ONCE = ("arp", "icmpv6")
"""ARP, neighbour discovery and MLD: a host sends once, so no packet makes the entry anew that was deleted with a queue.
REST lists it until it is swept."""


def is_consistent(network: Network, controller: Controller) -> bool:
    switch = placements_in_switch(dump(network.bridge))
    rest = placements_in_rest(controller.all("/v1/assignments"))
    kept = {key: place for key, place in rest.items() if key in switch or key.protocol not in ONCE}
    return not differences(switch, kept)


def used(controller: Controller) -> set[int | None]:
    return {where.queue for where in placements_in_rest(controller.all("/v1/assignments")).values()}


def test_two_of_four_queues_go_and_come_back(host_of_eight: tuple[Network, Controller]) -> None:
    network, controller = host_of_eight
    network.serve("7000")
    asking = [network.start_requests(f"vm{number}", udp=6, tcp=4, interval=0.5) for number in range(1, 5)]
    ping = network.start("vm1", "ping", "-i", "0.1", "10.0.0.100")
    eventually("all four queues have flows", lambda: used(controller) >= {0, 1, 2, 3}, 15)

    removed = time.monotonic()
    network.remove_queues(2, 3)
    eventually("no entry names a queue that is gone", lambda: queues_named(network.bridge) <= {0, 1}, 5)
    took = time.monotonic() - removed
    while time.monotonic() < removed + 8:
        assert queues_named(network.bridge) <= {0, 1}, f"gone after {took:.1f} s, and back again"
        time.sleep(0.5)
    assert used(controller) <= {0, 1, None}
    device = controller.all("/v1/devices")[0]["dpid"]
    assert {queue["queue_id"] for queue in controller.all(f"/v1/devices/{device}/queues")} == {0, 1}
    eventually("REST and the switch agree", lambda: is_consistent(network, controller), 5)

    network.add_queues(2, 3)
    more = network.start_requests("vm5", udp=20, interval=0.5)
    eventually("the queues are used again", lambda: used(controller) >= {0, 1, 2, 3}, 3)
    eventually("REST and the switch agree", lambda: is_consistent(network, controller), 5)

    ping.send_signal(signal.SIGINT)
    words, _ = ping.communicate(timeout=10)
    sent, received = map(int, re.findall(r"(\d+) packets transmitted, (\d+) received", words)[0])
    assert sent > 50
    assert received >= sent - 1, words  # the last one may have been on its way
    summaries = [one.stop() for one in (*asking, more)]
    assert all(summary["answered"] >= summary["sent"] - 30 > 0 for summary in summaries), summaries


def test_port_without_queues_is_served_without_set_queue(small: tuple[Network, Controller]) -> None:
    network, controller = small
    network.serve("7000")
    asking = network.start_requests("vm1", udp=4, tcp=2)
    eventually("flows are on queues", lambda: used(controller) >= {0, 1}, 10)
    # Clearing the queues alone would not do: linux-htb makes a queue 0 of its own, and the switch reports it.
    subprocess.run(["ovs-vsctl", "clear", "port", "pf0", "qos"], check=True)
    eventually("no entry names a queue", lambda: not queues_named(network.bridge), 5)
    eventually("REST says that there is none", lambda: used(controller) == {None}, 5)
    assert {item["reason"] for item in controller.all("/v1/assignments")} == {"no-queues"}
    time.sleep(2)
    summary = asking.stop()
    assert summary["answered"] >= 0.9 * summary["sent"] > 0
