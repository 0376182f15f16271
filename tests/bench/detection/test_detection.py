"""A heavy flow is on its own queue soon: on a real switch, and among many on the simulated one; the bench's figures."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from pathlib import Path

import pytest
from bench.detection import __main__ as bench
from bench.detection import many, reading_cost, sample_test
from lab.inside import tap_host
from lab.inside.manager import wait_for

from flowlane import policy
from flowlane.simulation.host import Host


def test_what_the_parts_took_follows_from_what_the_proxy_saw() -> None:
    first, second = bench.HEAVY_FROM, bench.HEAVY_FROM + 1
    of_second = round(bench.SLOW.rate / 8)
    noted = bench.Noted(
        copied={first: 10.1},
        pinned={first: 12.0},
        readings=defaultdict(list, {first: [(10.5, 0), (11.5, of_second), (13.0, of_second)]}),
        octets=5000,
    )
    found = bench.figures(noted, {first: 10.0, second: 20.0}, {first: 12.1}, {second}, 10.0)
    assert found["its copy reaches the controller"] == [pytest.approx(0.1)]
    assert found["first reading that shows bytes of it"][0] == pytest.approx(1.5)
    assert found["its exact entry stands in the switch"] == [pytest.approx(2.1)]
    assert found["age of a reading's counters"] == [pytest.approx(0.5, abs=0.01)], "not after it was pinned"
    assert found["flows that were on their own queue by chance"] == 1
    assert found["kB/s of statistics"] == 0.5


def test_requests_are_those_of_the_controller() -> None:
    messages = {name: make(0) for name, (_, make) in reading_cost.requests_of(1000, 500).items()}
    assert len(messages) == 9
    for message in messages.values():
        assert int.from_bytes(message[2:4], "big") == len(message)


def test_simulated_samples_show_a_high_rate_and_not_a_low_one() -> None:
    times = [sample_test.noticed(2 * sample_test.HIGH, 64, 10.0, seed, 0.0) for seed in range(20)]
    assert statistics.median(when or 10.0 for when in times) < 0.2
    assert sample_test.noticed(0.2 * sample_test.HIGH, 64, 10.0, 1, 0.0) is None


@pytest.mark.parametrize("kind", ["new", "old"])
def test_heavy_flows_are_noticed_among_many_within_the_share(kind: str) -> None:
    world = many.Switch(policy.default(), Host(tuple(f"vm{n}" for n in range(16)), many.QUEUES, 0, many.RATE))
    for number in range(5000):
        many.pass_time(world, max(0.0, number / many.PER_SECOND - world.now))
        world.begin(number, many.spec(number, many.SMALL))
    many.pass_time(world, 10.0)
    busy, since = world.busy, world.now
    times = []
    for turn in range(3):
        many.pass_time(world, 3.3)
        number = 20_000 + turn if kind == "new" else 1000 * turn
        if kind == "new":
            world.begin(number, many.spec(number, many.HEAVY))
        else:
            world.set_rate(number, many.HEAVY)
        times += [alone for _, alone in many.wait(world, {number: world.now}, 20.0).values()]
        world.set_rate(number, 0.0)
    assert statistics.median(times) <= (1.5 if kind == "new" else 2.5)
    assert max(times) <= (2.5 if kind == "new" else 5.0)
    assert world.busy - busy <= 0.02 * (world.now - since)


@pytest.mark.mininet
def test_a_heavy_flow_is_on_its_own_queue_on_a_real_switch_before_three_seconds(tmp_path: Path) -> None:
    """With readings every two seconds none could be before three: two of them, and a part of one before."""
    with tap_host.running(tmp_path, bench.POLICY.format(hold="1"), queues=bench.QUEUES) as host:
        found = bench.run(host, 4, 50, seed=1)
    waits = found["its exact entry stands in the switch"]
    assert found["flows without an exact entry, not counting those that need none"] == 0
    assert len(waits) >= 2
    assert min(waits) < 2.0
    assert statistics.median(waits) < 2.7


@pytest.mark.mininet
def test_groups_follow_one_another_on_a_real_switch_and_every_flow_is_counted(tmp_path: Path) -> None:
    count = 1300
    policy_text = (
        "version: 1\nlearn-after: 0\ncopy-rate: 100000\npins: {idle-timeout: 300s}\nbalance: {interval: 1h}\n"
    )
    with tap_host.running(tmp_path, policy_text + "classes:\n  small: {}\ndefault: small\n") as host:
        for number in range(count):
            host.send(1, 2000 + number)
            time.sleep(0.003)
        host.wait_until_consistent(count)
        for number in range(count):
            host.send(1, 2000 + number)
            time.sleep(0.001)
        cookies = {entry.cookie for entry in host.entries(tap_host.LEARNED)}
        assert len(cookies) >= 2
        wait_for(lambda: min(counted(host)) >= 1 and len(host.assignments()) == count, 60, host.manager.log)
        before = host.proxy.count("flow-mod")
        assert host.device()["connected"]
        time.sleep(3)
        assert host.proxy.count("flow-mod") == before, "no group begins without new flows"


def counted(host: tap_host.TapHost) -> set[int]:
    """The numbers of packets that were counted of the flows."""
    found: set[int] = set()
    cursor = ""
    while True:
        page = host.manager.rest(f"/v1/flows?limit=1000{cursor}")
        found |= {item["packets"] for item in page["items"] if item["src"].startswith("10.9.")}
        if not page["next"]:
            return found
        cursor = f"&cursor={page['next']}"
