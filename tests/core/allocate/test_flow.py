"""The life of a flow: arrival, adoption, measurement, change of class, departure."""

from support.engine.allocation import Port, check_state, hardware, snapshot, software

from flowlane.core.allocate import Demand, place_on
from flowlane.core.allocate.cells import DEFAULT_RATE
from flowlane.core.model import NO_QUEUE, QueueKind, Reason


def test_flows_that_share_are_spread_by_load() -> None:
    port = Port(hardware(0, 1, 2, 3))
    placements = [port.arrive(row, rate=rate) for row, rate in enumerate((9, 5, 3, 2, 1))]
    assert sorted(placement.queue_id for placement in placements[:4]) == [0, 1, 2, 3]
    assert placements[4].queue_id == placements[3].queue_id, "the fifth joins the lightest"
    assert {placement.reason for placement in placements} == {Reason.SHARED}
    assert placements[0].kind is QueueKind.PHYSICAL


def test_an_unmeasured_flow_counts_as_the_mean_of_its_class() -> None:
    port = Port(hardware(0))
    port.arrive(0)
    assert port.loads() == {0: DEFAULT_RATE}
    port.measure(0, 3000)
    port.arrive(1, rate=1000)
    port.arrive(2)
    assert port.loads() == {0: 3000 + 1000 + 2000}
    port.arrive(3, class_index=9)
    assert port.loads() == {0: 6000 + DEFAULT_RATE}
    port.depart(0)
    port.arrive(4)
    assert port.loads() == {0: 1000 + 2000 + DEFAULT_RATE + 1000}, "a flow that departed does not count"


def test_loads_do_not_drift() -> None:
    port = Port(hardware(0, 1))
    for row in range(50):
        port.arrive(row, rate=10**12 + row)
    for turn in range(200):
        port.measure(turn % 50, 7**turn % 10**11)
    for row in range(50):
        port.depart(row)
    assert port.loads() == {0: 0, 1: 0}
    assert port.state.profiles == {} and port.state.measured_rates == {}


def test_a_departure_undoes_an_arrival() -> None:
    port = Port(hardware(0, 1, 2))
    for row in range(10):
        port.arrive(row, rate=100 * row + 1)
    before = snapshot(port)
    port.arrive(10, rate=77)
    port.depart(10)
    assert snapshot(port) == before


def test_a_new_port_has_no_rate_that_the_old_one_measured() -> None:
    """A switch that restarts has no queues for a moment: its port is removed, and the rows enter the next one."""
    old = Port(hardware(0))
    old.arrive(0, rate=5000)
    port = Port(hardware(0))
    port.state.columns = old.state.columns
    port.arrive(0)
    port.depart(0)
    assert port.state.measured_rates == {}


def test_a_port_without_queues_keeps_its_flows() -> None:
    port = Port([])
    assert port.arrive(0, rate=5) == (NO_QUEUE, QueueKind.NONE, Reason.NO_QUEUES)
    assert [move.new for move in port.update_queues(hardware(7))] == [7]
    check_state(port)


def test_the_only_queue_is_shared_by_all_flows() -> None:
    port = Port(hardware(0))
    first = port.arrive(0, rate=5, exclusive=True)
    second = port.arrive(1, rate=5)
    assert (first.queue_id, second.queue_id) == (0, 0)
    assert first.reason is Reason.EXCLUSIVE_UNAVAILABLE
    assert port.exclusive_row(0) == -1


def test_a_flow_that_becomes_exclusive_keeps_its_queue_and_the_others_leave() -> None:
    port = Port(hardware(0, 1, 2, 3))
    for row in range(20):
        port.arrive(row, rate=10)
    before = port.queue_of[5]
    placement = port.change(5, rate=10**6, exclusive=True, class_index=1, group=1)
    assert placement == (before, QueueKind.PHYSICAL, Reason.EXCLUSIVE_UNAVAILABLE)
    port.tick()
    assert port.exclusive_row(before) == 5
    port.run_until_quiet()
    assert port.rows_by_queue()[before] == {5}
    moved = [move for move in port.moves if move.old != move.new]
    assert {move.old for move in moved} == {before} and 5 not in {move.row for move in moved}


def test_no_flow_joins_an_exclusive_queue_however_light_its_flow_is() -> None:
    port = Port(hardware(0, 1, 2))
    exclusive = port.arrive(0, rate=1, exclusive=True, class_index=1, group=1).queue_id
    assert all(port.arrive(row, rate=1000).queue_id != exclusive for row in range(1, 20))


def test_an_exclusive_flow_whose_class_shares_now_stays_on_its_queue() -> None:
    port = Port(hardware(0, 1))
    for row in range(4):
        port.arrive(row, rate=10)
    exclusive = port.change(0, rate=1000, exclusive=True, class_index=1, group=1).queue_id
    port.run_until_quiet()
    assert port.change(0, rate=10).queue_id == exclusive
    port.run_until_quiet()
    assert {len(rows) for rows in port.rows_by_queue().values()} == {2}


def test_the_same_demand_with_a_new_rate_is_a_measurement() -> None:
    port = Port(hardware(0, 1))
    port.arrive(0, rate=10)
    assert port.change(0, rate=99).queue_id == port.queue_of[0]
    assert port.loads()[port.queue_of[0]] == 99


def test_a_flow_is_adopted_where_it_is() -> None:
    port = Port(hardware(0, 1, 2))
    state = port.state
    assert place_on(state, 0, Demand(rate=5), 2) == (2, QueueKind.PHYSICAL, Reason.ADOPTED)
    assert (
        place_on(state, 1, Demand(rate=9, exclusive=True, class_index=1, group=1), 1).reason
        is Reason.EXCLUSIVE
    )
    stray = place_on(state, 2, Demand(rate=5), 1)
    assert stray.queue_id == 1, "even on the exclusive queue of another flow; a rebalance moves it"
    assert place_on(state, 3, Demand(rate=5), 8).queue_id in (0, 2), "a queue that was removed"
    port.queue_of = {
        0: 2,
        1: 1,
        2: 1,
        3: next(slot.queue.queue_id for slot in state.slots if slot.load == 5 and slot.index == 0),
    }
    port.demands = {0: Demand(5), 1: Demand(9, 1, 1, True), 2: Demand(5), 3: Demand(5)}
    port.run_until_quiet()
    assert port.rows_by_queue()[1] == {1}


def test_the_kind_is_that_of_the_queue() -> None:
    port = Port(software(3))
    assert port.arrive(0).kind is QueueKind.SOFTWARE
