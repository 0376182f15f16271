"""Queues are divided again as load shifts, and strays return to their groups' queues."""

from support.engine.allocation import Port, check_state, hardware

from flowlane.core.policy import Balance


def two_kinds(balance: Balance) -> Port:
    port = Port(hardware(0, 1, 2, 3), balance)
    for row in range(80):
        port.arrive(row, rate=100, group=row % 2, class_index=row % 2)
    port.run_until_quiet()
    return port


def queues_of(port: Port, kind: int) -> set[int]:
    return {port.queue_of[row] for row in port.queue_of if row % 2 == kind}


def test_equal_load_gets_equal_parts() -> None:
    port = two_kinds(Balance(moves_per_second=0.2))
    assert len(queues_of(port, 0)) == len(queues_of(port, 1)) == 2
    assert not queues_of(port, 0) & queues_of(port, 1)


def test_queues_follow_load_that_shifts_for_good() -> None:
    port = two_kinds(Balance(moves_per_second=0.2))
    for row in range(0, 80, 2):
        port.measure(row, 900)
    port.run_until_quiet()
    check_state(port)
    assert (len(queues_of(port, 0)), len(queues_of(port, 1))) == (3, 1)


def test_load_that_shifts_back_and_forth_moves_no_flow() -> None:
    port = two_kinds(Balance(moves_per_second=0.2))
    moves = 0
    for second in range(60):
        for row in range(0, 80, 2):
            port.measure(row, 130 if second % 2 else 100)
        moves += len(port.tick())
    assert moves == 0


def test_a_group_that_comes_and_goes_every_second_does_not_move_the_others() -> None:
    port = Port(hardware(0, 1, 2, 3), Balance(moves_per_second=0.2))
    for row in range(80):
        port.arrive(row, rate=100)
    moves = 0
    for second in range(60):
        if second % 2:
            port.depart(999)
        else:
            port.arrive(999, rate=100, group=1, class_index=1)
        moves += len(port.tick())
    assert moves <= 60


def test_strays_return_within_the_tokens() -> None:
    port = Port(hardware(0, 1, 2, 3), Balance(moves_per_second=0.05))
    for row in range(100):
        port.arrive(row, rate=100)
    for row in range(100, 200):
        port.arrive(row, rate=100, group=1, class_index=1)
    counts = [len(port.tick()) for _ in range(30)]
    assert max(counts) <= 10
    groups = [{row >= 100 for row in rows} for rows in port.rows_by_queue().values()]
    assert all(len(kinds) == 1 for kinds in groups)
