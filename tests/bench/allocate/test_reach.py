"""The bound on what few moves can reach, compared with every choice of moves."""

from itertools import combinations, product

from bench.allocate import reach
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowlane.core.allocate import arrive, measure, new_port, rebalance
from flowlane.core.allocate.state import Columns, Demand
from flowlane.core.model import Queue
from flowlane.core.policy import Balance

QUEUES = st.lists(st.lists(st.integers(1, 9), max_size=4), min_size=1, max_size=3)


def best(queues: list[list[int]], moves: int) -> int:
    """Return the least load of the busiest queue after so many moves, by trying all choices."""
    flows = [(place, rate) for place, rates in enumerate(queues) for rate in rates]
    found: list[int] = []
    for chosen in combinations(range(len(flows)), min(moves, len(flows))):
        for targets in product(range(len(queues)), repeat=len(chosen)):
            loads = [sum(rates) for rates in queues]
            for number, target in zip(chosen, targets, strict=True):
                loads[flows[number][0]] -= flows[number][1]
                loads[target] += flows[number][1]
            found.append(max(loads))
    return min(found)


@given(queues=QUEUES, moves=st.integers(0, 2))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_choice_of_moves_does_better(queues: list[list[int]], moves: int) -> None:
    assert reach.lower_bound_after(queues, moves) <= best(queues, moves) == reach.within_reach(queues, moves)


def test_what_can_be_done_is_found() -> None:
    assert reach.within_reach([[10, 1, 1], [2]], 1) == 11 == reach.lower_bound_after([[10, 1, 1], [2]], 1)
    assert reach.within_reach([[6, 5], []], 1) == 6 == reach.lower_bound_after([[6, 5], []], 1)
    assert reach.within_reach([[100, *[1] * 50], [1] * 40], 5) == 136, (
        "five leave, or it goes where four leave"
    )


def test_queues_before_the_moves() -> None:
    state = new_port(Columns(), [Queue(0), Queue(1)], Balance(moves_per_second=1.0))
    for row in range(4):
        arrive(state, row, Demand())
    for row in (0, 2):
        measure(state, row, 5000)
    queues = {slot.queue.queue_id: slot.load for slot in state.slots}
    moves = rebalance(state, 1.0)
    assert moves
    assert [sum(rates) for rates in reach.queues_before(state, moves)] == list(queues.values())
