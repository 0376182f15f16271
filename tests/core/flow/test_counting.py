"""Flows that are as they were are counted at once, and that comes to what the general path comes to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.facts import facts
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.flow import counting
from flowlane.core.flow.entry_columns import columns_of
from flowlane.core.model import NO_QUEUE, PortRole
from flowlane.core.policy import Alike, Balance, TrafficClass
from flowlane.core.state.flows import PINNED

from .test_learned import learned

FLOWS = 8


class Pair:
    """Two engines with the same flows; in one of them every entry goes the general path."""

    def __init__(self, queues: int = 4, **policy: Any) -> None:
        made = small_policy(balance=Balance(interval=1e9), **policy)
        self.hosts = [Scenario(made, queues, caps=LEARNING) for _ in range(2)]
        for host in self.hosts:
            for number in range(FLOWS):
                host.flow(1 + number % 2, 1000 + number, queue_id=number % 3 if queues else NO_QUEUE)
        self.counters = [(0, 0)] * FLOWS
        self.left = 0

    def read(
        self,
        seconds: float,
        packets: list[int],
        of_one: dict[int, dict[str, Any]] | None = None,
        **different: Any,
    ) -> None:
        """Pass time and read the counters, which have grown by so many packets of 1000 bytes each.

        Args:
            of_one: flow -> what its entry has otherwise.
            different: what all entries have otherwise.
        """
        self.counters = [
            (old[0] + more, old[1] + 1000 * more) for old, more in zip(self.counters, packets, strict=True)
        ]
        odd, effects = of_one or {}, []
        for host, is_general in zip(self.hosts, (True, False), strict=True):
            host.now += seconds
            flows = tuple(
                self._entry(
                    host,
                    number,
                    {"packets": counted[0], "octets": counted[1]} | different | odd.get(number, {}),
                )
                for number, counted in enumerate(self.counters)
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    counting, "take", self._take_nothing if is_general else self._take(counting.take)
                )
                effects.append(host.do(ev.LearnedCounters(DPID, flows)))
        assert effects[0] == effects[1]
        assert facts(self.hosts[0].device) == facts(self.hosts[1].device)

    def _entry(self, host: Scenario, number: int, facts: dict[str, Any]) -> ev.LearnedFlow:
        entry = learned(host, 1 + number % 2, facts.pop("sport", 1000) + number, number % 3)
        return entry._replace(**facts)

    def _take_nothing(self, _state: Any, _device: Any, found: Any, take_other: Any) -> None:
        for flow in found:
            take_other(flow)

    def _take(self, take: Any) -> Any:
        def counted(state: Any, device: Any, found: Any, take_other: Any) -> None:
            self.left = 0

            def counted_other(flow: Any) -> None:
                self.left += 1
                take_other(flow)

            take(state, device, found, counted_other)

        return counted


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((0.5, 0.95, 1.0, 3.0)),
            st.lists(st.sampled_from((0, 0, 1, 100, 3000)), min_size=FLOWS, max_size=FLOWS),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_both_paths_come_to_the_same(readings: list[tuple[float, list[int]]]) -> None:
    pair = Pair()
    for seconds, packets in readings:
        pair.read(seconds, packets)


ODD = st.sampled_from(
    (
        {"queue_id": 3},
        {"in_port": 99},
        {"egress_port": 1},
        {"meter_id": 5},
        {"octets": 0},
        {"packets": 0},
        {"octets": 90_000_000},
        {"sport": 2000},
        {"group": 1},
    )
)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, FLOWS),
    st.lists(
        st.tuples(st.sampled_from((0.5, 1.0)), st.dictionaries(st.integers(0, FLOWS - 1), ODD, max_size=4)),
        min_size=1,
        max_size=5,
    ),
)
def test_odd_ones_among_others_do_not_change_what_comes_of_those(
    stretch: int, readings: list[tuple[float, dict[int, dict[str, Any]]]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "STRETCH", stretch)
        pair = Pair()
        for seconds, odd in readings:
            pair.read(seconds, [3] * FLOWS, odd)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {0: {"queue_id": 2}},
        {3: {"meter_id": 5}, 4: {"meter_id": 5}},
        {2: {"octets": 0}, FLOWS - 1: {"sport": 2000}},
    ],
)
def test_only_the_odd_ones_go_the_general_path(odd: dict[int, dict[str, Any]]) -> None:
    pair = Pair()
    pair.read(1.0, [1] * FLOWS)
    pair.read(1.0, [1] * FLOWS, odd)
    assert pair.left == len(odd)


def test_flows_that_are_as_they_were_are_taken() -> None:
    pair = Pair()
    for packets in ([1] * FLOWS, [0] * FLOWS, [1, 0] * (FLOWS // 2)):
        pair.read(1.0, packets)
        assert pair.left == 0


def test_flows_of_a_device_without_queues_are_counted_as_well() -> None:
    pair = Pair(queues=0)
    for packets in ([1] * FLOWS, [0] * FLOWS, [1, 0] * (FLOWS // 2)):
        pair.read(1.0, packets, queue_id=NO_QUEUE)
    assert [pair.hosts[1].device.flows.rate[row] > 0 for row in pair.hosts[1].device.flows] == [True] * FLOWS


def test_others_go_the_general_path() -> None:
    pair = Pair()
    pair.read(1.0, [5] * FLOWS)
    pair.read(1.0, [20_000] + [0] * (FLOWS - 1))
    assert pair.left == 1, "a rate near a gate"
    pair.read(1.0, [0] * FLOWS)
    assert pair.left >= 1, "that of the gate"
    pair.read(1.0, [-1] * FLOWS)
    assert pair.left == FLOWS, "counters that went back"
    pair.read(1.0, [1] * FLOWS, queue_id=3)
    assert pair.left == FLOWS, "another queue"
    pair.read(1.0, [1] * FLOWS, in_port=99)
    assert pair.left == FLOWS, "another port"


MARKED = 0x1_0002
"""A choice of a device that is a queue and a mark."""


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("in_port", 2),
        ("vm_number", 99),
        ("egress_port", 98),
        ("device_queue", 1),
        ("device_meter", 5),
        ("meter_id", 5),
        ("gate_state", 1),
        ("flags", PINNED),
        ("rate", 1e9),
        ("packets", 1000),
        ("octets", 1_000_000),
    ],
)
def test_whatever_else_is_known_of_a_flow_leaves_it_to_the_general_path(column: str, value: float) -> None:
    host = Scenario(small_policy(balance=Balance(interval=1e9)), caps=LEARNING)
    rows = [host.flow(1, 1000 + number, queue_id=2) for number in range(3)]
    entries = [learned(host, 1, 1000 + number, 2, 5000) for number in range(3)]
    getattr(host.device.flows, column)[rows[1]] = value
    assert not_counted(host, entries) == [entries[1]]
    assert [host.device.flows.octets[row] for row in (rows[0], rows[2])] == [5000, 5000]


def test_ports_and_queues_that_are_special_are_left_to_the_general_path() -> None:
    host = Scenario(small_policy(balance=Balance(interval=1e9)), caps=LEARNING)
    row, _ = host.flow(1, 1000, queue_id=2), host.flow(2, 1000, queue_id=2)
    first, second = (learned(host, vm, 1000, 2, 5000) for vm in (1, 2))
    host.device.flows.device_queue[row] = MARKED
    assert not_counted(host, [first._replace(queue_id=MARKED), second]) == [first._replace(queue_id=MARKED)]
    host.device.flows.device_queue[row] = 2
    host.device.bonds[2] = UPLINK
    assert not_counted(host, [first, second]) == [second], "it leaves where it came from"
    host.device.bonds.clear()
    host.device.ports[1].role = PortRole.LINK
    assert not_counted(host, [first, second]) == [first]


def not_counted(host: Scenario, entries: list[ev.LearnedFlow]) -> list[ev.LearnedFlow]:
    """Read counters a second later; return the entries that are left."""
    host.now += 1.0
    state, left = host.engine.state, list[ev.LearnedFlow]()
    state.now = host.now
    counting.take(state, host.device, columns_of(entries), left.append)
    return left


def test_flows_that_are_alike_by_their_rate_are_looked_at() -> None:
    heavy = TrafficClass("heavy", 1, exclusive=True, priority=1)
    pair = Pair(classes=(TrafficClass("small", 0, alike=(Alike.RATE_BAND,)), heavy, TrafficClass("other", 2)))
    pair.read(1.0, [1] * FLOWS)
    assert pair.left == FLOWS
