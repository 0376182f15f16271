"""A class with a minimum is served by queues that guarantee it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine.allocation import Port, check_state

from flowlane.core.allocate import alternatives, queues_for_new_flows
from flowlane.core.allocate.guarantees import Grant, Request, match_requests
from flowlane.core.model import Queue, QueueKind, Reason
from flowlane.core.policy import Balance, PathPreference

FAST = Balance(moves_per_second=1.0, window=2.0)
NEEDY: dict[str, Any] = {"class_index": 1, "group": 1}


def queues(*rates: int | None) -> list[Queue]:
    return [Queue(number, min_rate=rate) for number, rate in enumerate(rates)]


def port_of(*rates: int, plain: int = 40) -> Port:
    """Return a port whose queues guarantee these rates, with flows that need no guarantee."""
    port = Port(queues(*rates), FAST)
    for row in range(plain):
        port.arrive(row, rate=100)
    return port


def fill(port: Port, first: int, count: int = 10, **demand: int) -> set[int]:
    for row in range(first, first + count):
        port.arrive(row, **{"rate": 100, **NEEDY, **demand})
    return {port.queue_of[row] for row in range(first, first + count)}


def used(port: Port, first: int, count: int = 10) -> set[int]:
    return {port.queue_of[row] for row in range(first, first + count)}


def test_the_smallest_queue_that_suffices_is_taken() -> None:
    port = port_of(10, 2000, 500, 1000)
    assert fill(port, 100, min_rate=450) <= {1, 2, 3}, "at once where it is guaranteed, beside others"
    port.run_until_quiet()
    check_state(port)
    assert used(port, 100) == {2}
    assert {port.queue_of[row] for row in range(40)} == {0, 1, 3}


def test_a_class_without_a_minimum_uses_any_queue() -> None:
    port = port_of(10, 2000, 500, 1000)
    fill(port, 100)
    port.run_until_quiet()
    assert len(used(port, 100)) == 1, "the load of ten flows is a fifth of the port's"
    assert used(port, 0, 40) | used(port, 100) == {0, 1, 2, 3}


def test_many_flows_use_only_queues_that_suffice() -> None:
    port = port_of(10, 500, 500, 10, plain=4)
    fill(port, 100, 60, min_rate=400)
    port.run_until_quiet()
    assert used(port, 100, 60) == {1, 2} and used(port, 0, 4) <= {0, 3}


@pytest.mark.parametrize("rates", [(500, 500), (None, None), (0, 0)])
def test_where_all_guarantee_the_same_a_minimum_excludes_no_queue(rates: tuple[int | None, ...]) -> None:
    port = Port(queues(*rates), FAST)
    fill(port, 0, 20, min_rate=900)
    port.run_until_quiet()
    assert sorted(len(rows) for rows in port.rows_by_queue().values()) == [10, 10]


def test_where_none_suffices_the_best_is_used() -> None:
    port = port_of(10, 300, 20, 10)
    assert fill(port, 100, min_rate=1000) == {1}
    port.run_until_quiet()
    assert used(port, 100) == {1}


def test_two_classes_share_a_queue_that_guarantees_the_sum() -> None:
    port = port_of(10, 1000, 10, 10)
    fill(port, 100, min_rate=600)
    fill(port, 200, min_rate=400, class_index=2, group=2)
    port.run_until_quiet()
    assert used(port, 100) == used(port, 200) == {1}
    assert used(port, 0, 40) == {0, 2, 3}


def test_a_guarantee_is_not_given_twice() -> None:
    port = port_of(10, 1000, 50, 20)
    fill(port, 100, min_rate=600)
    fill(port, 200, min_rate=500, class_index=2, group=2)
    port.run_until_quiet()
    assert used(port, 100) == {1}, "it is served: the other cannot be"
    assert used(port, 200) == {2}, "the best that is left"


def test_the_higher_priority_has_the_queue_that_both_need() -> None:
    port = port_of(10, 1000, 50, 20)
    fill(port, 100, min_rate=600)
    fill(port, 200, min_rate=500, class_index=2, group=2, priority=5)
    port.run_until_quiet()
    assert (used(port, 100), used(port, 200)) == ({2}, {1})


def test_the_groups_of_a_class_keep_to_its_queue() -> None:
    port = port_of(10, 10, 1000, 10)
    for vm in range(3):
        fill(port, 100 + 10 * vm, min_rate=600, group=10 + vm, vm_number=vm)
    port.run_until_quiet()
    assert used(port, 100, 30) == {2}


def test_an_exclusive_flow_keeps_its_queue() -> None:
    port = Port(queues(10, 1000, 20), FAST)
    port.arrive(0, rate=9000, exclusive=True, class_index=3, group=3, min_rate=900)
    assert port.queue_of[0] == 1, "an exclusive class can have a minimum too"
    for row in range(1, 20):
        port.arrive(row, rate=100)
    fill(port, 100, min_rate=500)
    port.run_until_quiet()
    assert port.exclusive_row(1) == 0 and used(port, 100) == {2}
    port.depart(0)
    port.run_until_quiet()
    assert used(port, 100) == {1}, "the queue that suffices is free now"


def test_a_queue_whose_guarantee_a_class_needs_does_not_become_exclusive() -> None:
    port = port_of(10, 1000, 20, plain=4)
    fill(port, 100, 1, min_rate=500)
    port.run_until_quiet()
    for row in range(200, 203):
        port.arrive(row, rate=5000, exclusive=True, class_index=3, group=3)
    port.run_until_quiet()
    assert port.queue_of[100] == 1 and port.exclusive_row(1) < 0
    assert [port.queue_of[row] for row in range(200, 203)].count(1) == 0


def test_a_queue_that_becomes_free_goes_to_no_class_that_needs_a_higher_guarantee() -> None:
    port = Port(queues(10, 1000, 10), FAST)
    port.arrive(0, rate=100)
    port.arrive(1, rate=500, exclusive=True, class_index=3, group=3)
    fill(port, 100, 9, min_rate=500)
    port.run_until_quiet()
    assert used(port, 100, 9) == {1}
    port.depart(1)
    fill(port, 109, 1, min_rate=500)
    assert used(port, 100) == {1}


def test_a_new_group_joins_the_pool_that_has_a_guarantee_to_spare() -> None:
    port = Port(queues(10, 1000, 10, 10), FAST)
    for kind in range(4):
        fill(port, 10 * kind, group=10 + kind, class_index=10 + kind)
    port.run_until_quiet()
    assert fill(port, 100, min_rate=500) == {1}


def test_more_queues_allowed_are_no_reason_for_a_lesser_guarantee() -> None:
    port = port_of(10, 1000, 10, 10, plain=2)
    fill(port, 100, 60, min_rate=500, max_queues=3)
    port.run_until_quiet()
    assert used(port, 100, 60) == {1}
    assert fill(port, 200, min_rate=500, max_queues=3) == {1}


def test_a_rebalance_takes_no_flow_off_its_guarantee() -> None:
    port = port_of(10, 1000, plain=2)
    port.arrive(2, rate=100, class_index=2, group=2)
    fill(port, 100, 6, min_rate=500)
    assert used(port, 100, 6) == {1}
    for row in range(100, 106):
        port.measure(row, 10_000)
    for _ in range(6):
        port.tick()
        assert used(port, 100, 6) == {1}
    reasons = {queue.queue_id: queue.why for queue in alternatives(port.state, 100)}
    assert reasons[0] in ("guarantees less than its class's minimum", "serves flows that are less like it")


def test_a_guarantee_that_comes_and_goes_is_followed() -> None:
    port = port_of(10, 1000, 10, 10)
    fill(port, 100, min_rate=600)
    port.run_until_quiet()
    assert port.update_queues(queues(10, 10, 10, 700)) == []
    port.run_until_quiet()
    assert used(port, 100) == {3}
    for row in range(100, 110):
        port.change(row, rate=1000, **NEEDY, min_rate=5)
    port.run_until_quiet()
    check_state(port)
    assert len(used(port, 100)) > 1, "its load asks for more queues, and now they do"


def test_a_new_minimum_counts_for_flows_that_are_there() -> None:
    port = port_of(10, 10, 1000, 10)
    fill(port, 100)
    port.run_until_quiet()
    for row in range(100, 110):
        port.change(row, rate=100, **NEEDY, min_rate=600)
    port.run_until_quiet()
    assert used(port, 100) == {2}


def test_classes_that_are_alike_have_the_higher_minimum() -> None:
    port = port_of(10, 10, 1000, 10)
    fill(port, 100)
    fill(port, 200, min_rate=600, class_index=2)
    port.run_until_quiet()
    assert used(port, 100) == used(port, 200) == {2}


def test_standing_rules_have_the_queues_that_guarantee_the_minimum() -> None:
    port = port_of(10, 1000, 10, 1000, plain=0)
    assert queues_for_new_flows(port.state, PathPreference.PREFER_HARDWARE, min_rate=500) == (1, 3)
    assert queues_for_new_flows(port.state, PathPreference.PREFER_HARDWARE, min_rate=5000) == (1, 3)
    fill(port, 0)
    assert queues_for_new_flows(port.state, PathPreference.PREFER_HARDWARE, group=9, min_rate=500) == (1, 3)


def test_software_queues_guarantee_as_well() -> None:
    port = Port([Queue(0), Queue(10, QueueKind.SOFTWARE, 5), Queue(11, QueueKind.SOFTWARE, 50)], FAST)
    port.arrive(0, rate=1, path=PathPreference.SOFTWARE)
    placement = port.arrive(1, rate=1, path=PathPreference.SOFTWARE, min_rate=30, **NEEDY)
    assert (placement.queue_id, placement.reason) == (11, Reason.SOFTWARE_BY_RULE)


REQUESTS = st.lists(st.tuples(st.integers(1, 100), st.integers(0, 2)), max_size=6)


@given(REQUESTS, st.lists(st.integers(0, 100), max_size=6), st.booleans())
def test_no_guarantee_is_promised_beyond_its_rate_and_as_many_as_possible_are_kept(
    raw: list[tuple[int, int]], rates: list[int], may_join: bool
) -> None:
    requests = [Request(key, minimum, priority) for key, (minimum, priority) in enumerate(raw)]
    grants, free = match_requests(requests, rates, may_join)
    keys = [key for granted in grants for key in granted.keys]
    assert len(keys) == len(set(keys)) and len(grants) + len(free) == len(rates)
    taken = list(rates)
    for rate in free:
        taken.remove(rate)
    for granted, rate in zip(sorted(grants, key=lambda granted: granted.floor), sorted(taken), strict=True):
        assert granted.floor <= rate
    kept = [
        granted for granted in grants if granted.floor == sum(requests[key].minimum for key in granted.keys)
    ]
    assert len(kept) >= most_kept([request.minimum for request in requests], rates)
    assert not may_join or all(isinstance(granted, Grant) for granted in grants)


def most_kept(minima: list[int], rates: list[int]) -> int:
    """Return how many can be served with one queue each: the smallest minima against the highest rates."""
    best = 0
    for count in range(min(len(minima), len(rates)) + 1):
        pairs = zip(sorted(minima)[:count], sorted(sorted(rates)[len(rates) - count :]), strict=True)
        best = count if all(minimum <= rate for minimum, rate in pairs) else best
    return best
