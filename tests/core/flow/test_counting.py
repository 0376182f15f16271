"""Flows that are as they were are counted at once, and that comes to what the general path comes to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.facts import facts
from support.engine.scenario import DPID, LEARNING, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.flow import counting
from flowlane.core.policy import Alike, Balance, TrafficClass

from .test_learned import learned

FLOWS = 8


class Pair:
    """Two engines with the same flows; in one of them every entry goes the general path."""

    def __init__(self, **policy: Any) -> None:
        made = small_policy(balance=Balance(interval=1e9), **policy)
        self.hosts = [Scenario(made, caps=LEARNING) for _ in range(2)]
        for host in self.hosts:
            for number in range(FLOWS):
                host.flow(1 + number % 2, 1000 + number, queue_id=number % 3)
        self.counters = [(0, 0)] * FLOWS
        self.left = 0

    def read(self, seconds: float, packets: list[int], **different: Any) -> None:
        """Pass time and read the counters, which have grown by so many packets of 1000 bytes each."""
        self.counters = [
            (old[0] + more, old[1] + 1000 * more) for old, more in zip(self.counters, packets, strict=True)
        ]
        effects = []
        for host, is_general in zip(self.hosts, (True, False), strict=True):
            host.now += seconds
            flows = tuple(
                learned(host, 1 + number % 2, 1000 + number, number % 3)._replace(
                    packets=counted[0], octets=counted[1], **different
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


def test_flows_that_are_as_they_were_are_taken() -> None:
    pair = Pair()
    for packets in ([1] * FLOWS, [0] * FLOWS, [1, 0] * (FLOWS // 2)):
        pair.read(1.0, packets)
        assert pair.left == 0


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


def test_flows_that_are_alike_by_their_rate_are_looked_at() -> None:
    heavy = TrafficClass("heavy", 1, exclusive=True, priority=1)
    pair = Pair(classes=(TrafficClass("small", 0, alike=(Alike.RATE_BAND,)), heavy, TrafficClass("other", 2)))
    pair.read(1.0, [1] * FLOWS)
    assert pair.left == FLOWS
