"""Balance inside a pool: an elephant is exchanged for mice where no single move helps."""

from support.engine.allocation import Port, check_state, hardware

from flowlane.core.allocate import depart, place_on
from flowlane.core.model import Queue
from flowlane.core.policy import Balance

FREE = Balance(moves_per_second=1.0, window=10.0)


def port_with(*queues: list[int], balance: Balance = FREE, rates: tuple[int, ...] = ()) -> Port:
    """A port whose queue n carries flows of the rates in ``queues[n]``; rows count up from 0."""
    port = Port(
        [Queue(number, min_rate=rate) for number, rate in enumerate(rates or [None] * len(queues))], balance
    )
    row = 0
    for number, members in enumerate(queues):
        for rate in members:
            port.arrive(row, rate=1)
            settle_on(port, row, number)
            port.measure(row, rate)
            row += 1
    return port


def settle_on(port: Port, row: int, queue_id: int) -> None:
    depart(port.state, row)
    port.queue_of[row] = place_on(port.state, row, port.demands[row], queue_id).queue_id


def lock(port: Port, *rows: int) -> None:
    """Make these flows ones that have just moved."""
    for row in rows:
        port.state.columns.moved_at[row] = port.now


def test_an_elephant_goes_where_mice_can_make_room() -> None:
    port = port_with([800, 200, 200], [200] * 4, [200, 200, 200, 100])
    lock(port, 1, 2)
    port.tick(0.5)
    check_state(port)
    assert port.queue_of[1] == port.queue_of[2] == 0, "no flow moves twice in a window"
    assert port.queue_of[0] != 0
    assert sorted(port.loads().values()) == [800, 900, 1000], "no other three flows for it do better"


def test_light_flows_are_moved_rather_than_the_elephant_where_that_suffices() -> None:
    port = port_with([800, 100, 100, 100], [500, 100], [400, 200])
    port.tick(0.5)
    assert port.queue_of[0] == 0 and max(port.loads().values()) <= 850


def test_many_light_flows_are_moved_rather_than_the_elephant() -> None:
    port = port_with([800, *[14] * 30], [100] * 8, [100] * 8)
    port.tick(0.5)
    assert port.queue_of[0] == 0 and max(port.loads().values()) <= 990


def test_it_costs_a_token_for_every_flow() -> None:
    port = port_with(
        [800, 200, 200], [200] * 4, [200, 200, 200, 100], balance=Balance(moves_per_second=0.36, window=10.0)
    )
    lock(port, 1, 2)
    assert len(port.tick(1.0)) == 4 and port.state.tokens < 1
    port = port_with(
        [800, 200, 200], [200] * 4, [200, 200, 200, 100], balance=Balance(moves_per_second=0.18, window=10.0)
    )
    lock(port, 1, 2)
    assert port.tick(1.0) == [], "with one flow back it would be worse than before"


def test_no_mouse_leaves_its_guarantee() -> None:
    port = port_with([800, 200, 200], [200] * 4, [200, 200, 200, 100], rates=(0, 0, 500))
    for row in (7, 8, 9):
        port.change(row, rate=200, min_rate=400, class_index=1)
        settle_on(port, row, 2)
        port.measure(row, 200)
    lock(port, 1, 2)
    for _ in range(3):
        port.tick(0.5)
        assert {port.queue_of[row] for row in (7, 8, 9)} == {2}


def test_flows_that_may_not_move_hide_none_that_may() -> None:
    port = port_with([640, 330, 170, 80, 40, *[3] * 60], [100] * 8)
    lock(port, 0, 1, 2, 3, 4)
    moves = port.tick(0.5)
    assert moves and {move.row for move in moves} <= set(range(5, 65))


def test_an_elephant_does_not_leave_its_guarantee() -> None:
    port = port_with([800, 200, 200], [200] * 4, [200, 200, 200, 100], rates=(500, 0, 0))
    port.change(0, rate=800, min_rate=400, class_index=1)
    settle_on(port, 0, 0)
    lock(port, 1, 2)
    for _ in range(3):
        port.tick(0.5)
        assert port.queue_of[0] == 0


def test_a_small_excess_is_reduced_with_spare_tokens_only() -> None:
    port = Port(hardware(0, 1), Balance(moves_per_second=0.1, imbalance=0.001))
    for row in range(1000):
        port.arrive(row, rate=100)
    for row in [row for row in port.queue_of if port.queue_of[row] == 0]:
        port.measure(row, 108)
    assert 1.02 < max(port.loads().values()) * 2 / port.state.load < 1.05
    counts = [len(port.tick()) for _ in range(8)]
    assert 10 <= counts[0] <= 11, "a tenth of a hundred"
    assert max(port.loads().values()) * 2 <= 1.003 * port.state.load
