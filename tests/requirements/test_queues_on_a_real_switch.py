"""Requirements on who gets which queue, on a real Open vSwitch with real packets: M8, M9 and M11.

The host runs under the example policies of ``docs/policies``. Only what would make a test long is changed in them:
how many moves a second there may be, and rates, which are scaled down. Read back with ``ovs-ofctl``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import reduce
from operator import xor
from pathlib import Path

import pytest
from lab.inside.manager import wait_for
from support.hosts.ovs_host import Flow, OvsHost, running

POLICIES = Path(__file__).parents[2] / "docs" / "policies"
VMS = ("a-1", "a-2", "b-1", "b-router", "other")
LONG = 60.0
"""Seconds for what is moved flow by flow: some ten in every other second, on a machine that is slow."""

pytestmark = pytest.mark.mininet


def example(name: str) -> str:
    return next(POLICIES.glob(f"{name}-*.yaml")).read_text()


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


QUICK = "moves-per-second: 100%, window: 1s"


@pytest.fixture(scope="module")
def host() -> Iterator[OvsHost]:
    with running(VMS, next(POLICIES.glob("m08-*.yaml"))) as ovs_host:
        yield ovs_host


def under(host: OvsHost, text: str) -> None:
    """Put a policy in force, once the flows of the test before are gone."""
    wait_for(lambda: not host.assignments(), 40, host.manager.log)
    answer = host.put_policy(text)
    assert answer.status_code == 200, answer.text


def settled(host: OvsHost, flows: list[Flow], holds: Callable[[list[int | None]], bool]) -> None:
    """Wait until the switch has all flows where they should be, and REST says the same."""
    last: list[object] = []

    def is_settled() -> bool:
        queues, differing = host.queues(flows), host.differences(len(flows))
        last[:] = [queues, differing]
        return None not in queues and holds(queues) and not differing

    try:
        wait_for(is_settled, LONG)
    except TimeoutError:
        raise AssertionError(f"{last}\n{host.manager.log}") from None


def test_m08_what_does_not_fit_goes_to_software_queues_and_is_promoted_when_there_is_room(
    host: OvsHost,
) -> None:
    """Two physical and two software queues, and an uplink of 2 Mbit/s."""
    host.set_queues(4, software=(2, 3), max_rate=2_000_000)
    slow = (("moves-per-second: 1%", "moves-per-second: 100%"), ("window: 30s", "window: 1s"))
    under(host, changed(example("m08"), *slow))
    ordinary = [Flow("a-1", 2000 + number, 443, 250_000) for number in range(16)]
    background = [Flow("a-2", 3000 + number, 873, 20_000) for number in range(4)]
    flows = [*ordinary, *background]

    def overflown(queues: list[int | None]) -> bool:
        hardware = [queue for queue in queues if queue in (0, 1)]
        # 2 Mbit/s hold eight flows of 250 kbit/s at most; some room is kept, and measured rates waver.
        return set(queues[len(ordinary) :]) <= {2, 3} and 4 <= len(hardware) <= 9

    with host.sending(flows):
        settled(host, flows, overflown)
        queues = host.queues(ordinary)
        in_hardware = [flow for flow, queue in zip(ordinary, queues, strict=True) if queue in (0, 1)]
        rest = [flow for flow in ordinary if flow not in in_hardware]
        by_port = {item["src_port"]: item for item in host.assignments()}
        assert {by_port[flow.src_port]["kind"] for flow in (*rest, *background)} == {"software"}
        # The device itself puts new flows where there is room; what was moved to software later says why.
        reasons = {by_port[flow.src_port]["reason"] for flow in rest}
        assert reasons <= {"overflow-to-software", "device-chose", "rebalanced"}
    few = [*rest[:5], *background]
    with host.sending(few):
        # The others end, and their queues become free.
        settled(host, few, lambda queues: {*queues[:5]} <= {0, 1} and {*queues[5:]} <= {2, 3})
        reason_of = {item["src_port"]: item["reason"] for item in host.assignments()}
        assert "promoted" in {reason_of[flow.src_port] for flow in few[:5]}


def test_m09_flows_of_one_label_and_about_one_rate_share_queues_across_classes(host: OvsHost) -> None:
    host.set_queues(4)
    under(host, f"{example('m09')}\nbalance: {{{QUICK}}}\n")
    slow = [
        Flow("a-1", 2000, 5060, 60_000),
        *(Flow("b-1", 2100 + n, 16400 + n, 60_000, udp=True) for n in range(5)),
    ]
    fast = [Flow("b-1", 2200 + n, 17000 + n, 1_000_000, udp=True) for n in range(4)]
    others = [Flow("other", 2300 + n, 80, 200_000) for n in range(4)]

    def apart(queues: list[int | None]) -> bool:
        parts = set(queues[:6]), set(queues[6:10]), set(queues[10:])
        return sum(map(len, parts)) == len(set.union(*parts))

    with host.sending([*slow, *fast, *others]):
        settled(host, [*slow, *fast, *others], apart)
        classes = {item["src_port"]: item["class"] for item in host.assignments()}
        assert {classes[flow.src_port] for flow in slow} == {"signalling", "media"}


def test_m11_the_hardware_is_divided_a_heavy_flow_is_alone_and_a_vms_flows_keep_together(
    host: OvsHost,
) -> None:
    host.set_queues(6)
    scaled = ((">= 10Mbit/s", ">= 1Mbit/s"), ("below 5Mbit/s", "below 500kbit/s"))
    under(host, changed(example("m11"), *scaled, ("strategy: combined", f"{{strategy: combined, {QUICK}}}")))
    tenant_a = [Flow("a-1", 2000 + n, 80, 40_000) for n in range(8)]
    heavy = [Flow("a-2", 2500, 80, 2_000_000)]
    tenant_b = [Flow("b-1", 2100 + n, 80, 40_000) for n in range(6)]
    router = [Flow("b-router", 2200 + n, 80, 40_000) for n in range(6)]
    flows = [*tenant_a, *heavy, *tenant_b, *router]

    def as_ruled(queues: list[int | None]) -> bool:
        of_a, of_heavy = set(queues[:8]), queues[8]
        of_b, of_router = set(queues[9:15]), set(queues[15:])
        shares = (of_a | {of_heavy}).isdisjoint(of_b | of_router)
        return shares and of_heavy not in of_a and len(of_router) == 1 and classes()[2500] == "heavy"

    def classes() -> dict[int, str]:
        return {item["src_port"]: item["class"] for item in host.assignments()}

    with host.sending(flows):
        settled(host, flows, as_ruled)
        assert {classes()[flow.src_port] for flow in router} == {"together"}


def one_for_each_vm(queues: list[int | None]) -> bool:
    return len(set(queues[::2])) == len(set(queues[1::2])) == 1


def in_turn(queues: list[int | None]) -> bool:
    return set(Counter(queues).values()) == {len(queues) // 4}


def as_a_nic_does(queues: list[int | None]) -> bool:
    """By the definition of RSS (Microsoft, "RSS hashing functions"): the key's window at each bit that is set."""
    key = int("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa", 16)

    def queue(number: int) -> int:
        head = bytes((10, 9, 0, number % 2 + 1, 10, 9, 0, 254))
        data = int.from_bytes(head + (2000 + number).to_bytes(2) + (80).to_bytes(2))
        windows = ((key >> (320 - 32 - bit)) & 0xFFFFFFFF for bit in range(96) if data >> (95 - bit) & 1)
        return reduce(xor, windows, 0) % 128 % 4

    return queues == [queue(number) for number in range(len(queues))]


def all_used(queues: list[int | None]) -> bool:
    return len(set(queues)) == 4


@pytest.mark.parametrize(
    ("strategy", "holds"),
    [
        ("one-vm-one-queue", one_for_each_vm),
        ("round-robin", in_turn),
        ("least-loaded", all_used),
        ("hash", as_a_nic_does),
        ("fair", in_turn),
        ("buckets", as_a_nic_does),
    ],
)
def test_m11_a_simple_strategy_that_the_policy_names_places_the_flows(
    host: OvsHost, strategy: str, holds: Callable[[list[int | None]], bool]
) -> None:
    host.set_queues(4)
    under(
        host,
        f"version: 1\nclasses: {{any: {{}}}}\nbalance: {{strategy: {strategy}}}\npins: {{idle-timeout: 5s}}\n",
    )
    flows = [Flow(VMS[n % 2], 2000 + n, 80, 20_000) for n in range(24)]
    with host.sending(flows):
        settled(host, flows, holds)
        assert {item["reason"] for item in host.assignments()} == {"strategy"}


def test_m11_a_flow_sinks_through_the_queues_as_it_sends(host: OvsHost) -> None:
    host.set_queues(4)
    under(
        host,
        "version: 1\nclasses: {any: {}}\nbalance: {strategy: priority-by-bytes}\npins: {idle-timeout: 5s}\n",
    )
    heavy = Flow("a-1", 2000, 80, 4_000_000)
    light = [Flow("a-2", 2001 + number, 80, 2_000) for number in range(4)]
    with host.sending([heavy, *light]):
        settled(host, [heavy, *light], lambda queues: queues == [3, 0, 0, 0, 0])
        reasons = {item["src_port"]: item["reason"] for item in host.assignments()}
        assert reasons[2000] == "demoted" and {reasons[flow.src_port] for flow in light} == {"strategy"}
