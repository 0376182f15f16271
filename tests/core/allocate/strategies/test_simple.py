"""The strategies that users know do what they are known for."""

from support.engine.allocation import Port, check, hardware, software

from flowlane.core.allocate.strategies.rss import rss_hash
from flowlane.core.flowkey import IPV4, TCP, FlowParts, pack
from flowlane.core.model import Reason
from flowlane.core.policy import Balance, PathPreference


def port_of(strategy, queues=None):
    return Port(queues or hardware(0, 1, 2), Balance(strategy=strategy))


def key(number):
    return pack(FlowParts(1, None, IPV4, TCP, number, 443, b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02"))


def test_hash_goes_by_the_five_tuple_only() -> None:
    port = port_of("hash", hardware(4, 5, 6))
    for row in range(100):
        port.arrive(row, key(row), rate=7**row)
    assert port.place == {row: 4 + rss_hash(key(row)) % 128 % 3 for row in range(100)}
    assert min(len(rows) for rows in port.members().values()) > 15


def test_hash_follows_the_queues() -> None:
    port = port_of("hash")
    for row in range(60):
        port.arrive(row, key(row), rate=1)
    port.reshape(hardware(0, 1))
    assert set(port.place.values()) == {0, 1}
    check(port)


def test_round_robin_takes_turns() -> None:
    port = port_of("round-robin")
    assert [port.arrive(row, rate=1).queue_id for row in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_least_loaded_does_not_look_ahead() -> None:
    port = port_of("least-loaded")
    assert [port.arrive(row, rate=rate).queue_id for row, rate in enumerate((5, 9, 1, 1, 9))] == [
        0,
        1,
        2,
        2,
        2,
    ]


def test_one_vm_one_queue() -> None:
    port = port_of("one-vm-one-queue")
    for row in range(30):
        port.arrive(row, rate=row + 1, vm_number=row % 5)
    for vm in range(5):
        assert {port.place[row] for row in range(30) if row % 5 == vm} == {vm % 3}


def test_they_keep_to_the_path_and_say_that_the_strategy_chose() -> None:
    for strategy in ("hash", "round-robin", "least-loaded", "one-vm-one-queue"):
        port = port_of(strategy, hardware(0, 1) + software(10))
        assert port.arrive(0, key(1), rate=1, exclusive=True).queue_id in (0, 1)
        placement = port.arrive(1, key(2), rate=1, path=PathPreference.SOFTWARE)
        assert (placement.queue_id, placement.reason) == (10, Reason.STRATEGY)
        port.depart(0)
        port.depart(1)
        check(port)
