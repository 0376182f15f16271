"""Flows that are pinned by hand, and queues that are cordoned or drained, whatever else happens to the port.

Faults that were planted, one at a time, and found here: held flows are strays on queues of other pools; draining
costs no tokens; a flow with a pin becomes the only one of a queue; the flag stays with the row when its queue goes; a
held flow leaves a queue that changes its region.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.allocation import Port, check_state, hardware, software

from flowlane.core.allocate import let_go, queues_for_new_flows
from flowlane.core.allocate.budget import EXEMPT
from flowlane.core.allocate.state import HELD
from flowlane.core.allocate.strategies import STRATEGIES
from flowlane.core.model import Admission, Queue, Reason
from flowlane.core.policy import Balance, PathPreference

WINDOW = 2.0
CLASSES: tuple[dict[str, Any], ...] = (
    {"class_index": 0},
    {"class_index": 1, "exclusive": True, "group": 1},
    {"class_index": 2, "max_queues": 1, "group": 2},
    {"class_index": 3, "keep_vm_together": True, "group": 3, "vm_number": 1},
    {"class_index": 4, "path": PathPreference.SOFTWARE, "group": 4},
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "arrive",
                "arrive",
                "depart",
                "hold",
                "hold",
                "free",
                "queue",
                "measure",
                "change",
                "tick",
                "gone",
            ]
        ),
        st.integers(0, 30),
        st.integers(0, 5),
        st.sampled_from([0, 1_000, 10**7]),
    ),
    min_size=10,
    max_size=60,
)


def with_admission(queues: list[Queue], queue_id: int, admission: Admission) -> list[Queue]:
    return [replace(q, admission=admission) if q.queue_id == queue_id else q for q in queues]


@settings(max_examples=40, deadline=None)
@given(
    STEPS,
    st.sampled_from(sorted(STRATEGIES)),
    st.sampled_from([(), (0.5, 0.5)]),
    st.sampled_from([0.02, 1e6]),
)
def test_held_flows_stay_and_closed_queues_get_no_flows(
    steps: list[tuple[str, int, int, int]], strategy: str, shares: tuple[float, ...], moves: float
) -> None:
    port = Port(
        hardware(0, 1, 2, 3) + software(4, 5),
        Balance(strategy, moves_per_second=moves, window=WINDOW),
        shares,
    )
    held: dict[int, int] = {}
    for number, (step, which, place, rate) in enumerate(steps):
        rows = list(port.queue_of)
        row = rows[which % len(rows)] if rows else -1
        queue = port.queues[place % len(port.queues)]
        demand = {"share": which % 3 - 1, **CLASSES[place % len(CLASSES)], "rate": rate}
        before = dict(port.queue_of)
        if step == "arrive":
            port.arrive(number, **demand)
        elif step == "depart" and row >= 0:
            port.depart(row)
            held.pop(row, None)
        elif step == "hold" and row >= 0 and queue.admission is Admission.OPEN:
            assert port.hold(row, queue.queue_id).reason is Reason.PINNED_BY_HAND
            held[row] = queue.queue_id
        elif step == "free" and row in held:
            assert let_go(port.state, row, b"").queue_id == held.pop(row)
        elif step == "measure" and row >= 0:
            port.measure(row, rate or 1)
        elif step == "change" and row >= 0:
            port.change(row, **demand)
        elif step == "queue":
            shares_of = {slot.queue.queue_id: slot.region.key for slot in port.state.slots}
            port.update_queues(with_admission(port.queues, queue.queue_id, Admission(which % 3)))
            # The queues that are left may be divided among the shares anew: those flows are on another's queue.
            stays = {
                s.queue.queue_id for s in port.state.slots if shares_of.get(s.queue.queue_id) == s.region.key
            }
            moved = {row for row, queue_id in before.items() if port.queue_of[row] != queue_id}
            assert not {before[row] for row in moved} & {*stays, queue.queue_id}, (
                "no flow moves for that alone"
            )
            for row in [
                row for row in held if held[row] == queue.queue_id and which % 3 == Admission.DRAINING
            ]:
                assert let_go(port.state, row, b"").queue_id == held.pop(row)
        elif step == "gone" and len(port.queues) > 2:
            port.update_queues([other for other in port.queues if other is not queue])
            held = {row: queue_id for row, queue_id in held.items() if queue_id != queue.queue_id}
        elif step == "tick":
            port.tick(1.0)
        check_state(port)
        assert {row: port.queue_of[row] for row in held} == held
        assert {row for row in port.queue_of if port.state.columns.flags[row] & HELD} == set(held)
        closed = {q.queue_id for q in port.queues if q.admission is not Admission.OPEN}
        new = {row for row, queue_id in port.queue_of.items() if before.get(row, -2) != queue_id}
        assert not closed & {port.queue_of[row] for row in new}, "nothing is placed on a closed queue"
        assert not closed & set(queues_for_new_flows(port.state, PathPreference.PREFER_HARDWARE))


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_drained_queue_gets_empty_within_the_limits_and_a_cordoned_one_keeps_its_flows(
    strategy: str,
) -> None:
    port = Port(hardware(0, 1, 2), Balance(strategy, moves_per_second=0.1, window=WINDOW))
    for row in range(60):
        port.place_on(row, row % 3, class_index=0, vm_number=row % 5)
    on_one = port.rows_by_queue()[1]
    port.update_queues(with_admission(port.queues, 1, Admission.CORDONED))
    for _ in range(5):
        port.tick()
    assert port.rows_by_queue()[1] == on_one
    port.update_queues(with_admission(port.queues, 1, Admission.DRAINING))
    begin = len(port.moves)
    port.tick()
    assert 0 < len(port.moves) - begin <= 7, "a tenth of 60 flows a second"
    for _ in range(15):
        port.tick()
    assert not port.rows_by_queue()[1]
    assert {move.row for move in port.moves if move.reason is Reason.DRAINED} == on_one
    assert Reason.DRAINED not in EXEMPT and Reason.PINNED_BY_HAND in EXEMPT
    port.update_queues(with_admission(port.queues, 1, Admission.OPEN))
    assert not port.rows_by_queue()[1]
    for row in range(60, 260):
        port.arrive(row, vm_number=row)
    assert strategy == "priority-by-bytes" or port.rows_by_queue()[1], "it is used again"


def test_a_held_flow_stays_on_a_queue_that_becomes_one_of_software() -> None:
    port = Port(hardware(0, 1, 2) + software(4), Balance(moves_per_second=1e6, window=WINDOW))
    for row in range(6):
        port.arrive(row)
    port.hold(0, 2)
    port.update_queues(hardware(0, 1) + software(2, 4))
    port.run_until_quiet()
    check_state(port)
    assert port.queue_of[0] == 2 and port.state.columns.flags[0] & HELD


def test_nothing_is_drained_where_no_other_queue_takes_flows() -> None:
    port = Port(hardware(0, 1), Balance(moves_per_second=1e6, window=WINDOW))
    for row in range(4):
        port.arrive(row)
    before = dict(port.queue_of)
    port.update_queues([replace(queue, admission=Admission.DRAINING) for queue in port.queues])
    port.tick()
    check_state(port)
    assert port.queue_of == before
    assert port.arrive(9).reason is Reason.NO_QUEUES


def test_a_pin_shares_an_exclusive_queue() -> None:
    port = Port(hardware(0, 1, 2, 3), Balance(moves_per_second=1e6, window=WINDOW))
    port.arrive(0, class_index=1, exclusive=True, group=1, rate=10**9)
    for row in range(1, 9):
        port.arrive(row, rate=10**6)
    alone = port.queue_of[0]
    assert port.exclusive_row(alone) == 0
    port.hold(1, alone)
    assert port.exclusive_row(alone) < 0
    port.run_until_quiet()
    check_state(port)
    assert port.queue_of[1] == alone and port.queue_of[0] != alone
    assert port.exclusive_row(port.queue_of[0]) == 0, "the other flow has another queue to itself"
