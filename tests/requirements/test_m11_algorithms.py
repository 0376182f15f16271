"""M11: the rules choose how the hardware is given out."""

from dataclasses import replace

import pytest
from support.engine.example_policies import Tried, spec

from flowlane.core import events as ev
from flowlane.core.model import Reason

MBIT = 1_000_000
VMS = ["a-1", "a-2", "b-1", "b-router", "other"]


def test_small_flows_share_while_a_heavy_one_has_a_queue_to_itself() -> None:
    host = Tried("m11", VMS, queues=6)
    small = host.begin(*(spec("a-1", n, 80, MBIT // 10) for n in range(30)))
    heavy = host.begin(spec("a-2", 0, 80, 60 * MBIT))
    host.wait(30)
    assert host.class_of(heavy[0]) == "heavy"
    assert host.queue(heavy[0]) not in host.queues(small)
    assert "do not miss this one" in host.explain(heavy[0]).reason


def test_the_hardware_is_divided_among_the_tenants() -> None:
    host = Tried("m11", VMS, queues=6)
    tenant_a = host.begin(*(spec(f"a-{1 + n % 2}", n, 80, MBIT) for n in range(40)))
    tenant_b = host.begin(*(spec("b-1", n, 80, MBIT) for n in range(40)))
    host.wait(90)
    assert host.queues(tenant_a).isdisjoint(host.queues(tenant_b))
    # Weights 2 and 1 of six queues: VMs of no tenant have queues only while they send.
    assert (len(host.queues(tenant_a)), len(host.queues(tenant_b))) == (4, 2)


def test_a_vms_flows_keep_together_on_one_queue() -> None:
    host = Tried("m11", VMS, queues=6)
    numbers = host.begin(*(spec("b-router", n, 80, 20 * MBIT) for n in range(8)))
    host.begin(*(spec("b-1", n, 80, MBIT) for n in range(8)))
    host.wait(30)
    assert len(host.queues(numbers)) == 1
    assert {host.class_of(number) for number in numbers} == {"together"}


def test_flows_are_grouped_by_priority_and_label() -> None:
    host = Tried("m11", VMS, queues=12)
    video = host.begin(*(spec("a-1", n, 5000, 2 * MBIT, "udp", dscp=34) for n in range(8)))
    small = host.begin(*(spec("a-1", n, 80, MBIT) for n in range(8)))
    host.wait(40)
    assert {host.class_of(number) for number in video} == {"video"}
    assert host.queues(video).isdisjoint(host.queues(small))


def test_flows_of_about_one_rate_are_grouped() -> None:
    host = Tried("m11", VMS, queues=12)
    slow = host.begin(*(spec("a-1", n, 80, 20_000) for n in range(8)))
    fast = host.begin(*(spec("a-2", n, 80, 4 * MBIT) for n in range(8)))
    host.wait(60)
    assert host.queues(slow).isdisjoint(host.queues(fast))


@pytest.mark.parametrize("strategy", ["hash", "round-robin", "least-loaded", "one-vm-one-queue", "fair"])
def test_a_simple_strategy_takes_the_place_of_all_that(strategy: str) -> None:
    host = Tried("m11", VMS, queues=4)
    policy = host.world.engine.policy
    balance = replace(policy.balance, strategy=strategy)
    host.world.step(ev.PolicyReplaced(replace(policy, balance=balance, shares=())))
    numbers = host.begin(*(spec(VMS[n % 2], n, 80, MBIT) for n in range(40)))
    host.wait(20)
    flows = host.world.device.flows
    assert {Reason(flows.reason[host.row(number)]) for number in numbers} == {Reason.STRATEGY}
    of_vm = {vm: host.queues(numbers[index::2]) for index, vm in enumerate(VMS[:2])}
    if strategy == "one-vm-one-queue":
        assert {len(queues) for queues in of_vm.values()} == {1}
    else:
        assert host.queues(numbers) == {0, 1, 2, 3}
    assert host.world.counts["move"] == 0
