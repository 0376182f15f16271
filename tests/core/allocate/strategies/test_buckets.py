"""Buckets: flows hash into them, and a rebalance moves them whole, within the limits on moves.

Faults that were planted, one at a time, and found here: a bucket's flows that move one by one; buckets that move
without tokens; a bucket that moves though one of its flows has moved within the window; a move that makes the other
queue the fuller one; the buckets of a removed queue that all go to one queue; a queue that is added and gets no bucket;
flows of other buckets' queues that stay.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random

from support.engine.allocation import Port, check_state, hardware, software

from flowlane.core.allocate import Demand, place_on
from flowlane.core.allocate.strategies.buckets import BUCKETS, bucket_of
from flowlane.core.allocate.strategies.rss import rss_hash
from flowlane.core.flowkey import IPV4, TCP, FlowParts, pack
from flowlane.core.model import QueueKind, Reason
from flowlane.core.policy import Balance, PathPreference

FREE = Balance(strategy="buckets", moves_per_second=1e6, window=3.0)


def key_of(number: int) -> bytes:
    return pack(FlowParts(1, None, IPV4, TCP, number, 443, b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02"))


def key_in(bucket: int, nth: int = 0) -> bytes:
    """Return the key of a flow of a bucket."""
    found = (key_of(number) for number in range(60_000) if rss_hash(key_of(number)) % BUCKETS == bucket)
    return [next(found) for _ in range(nth + 1)][nth]


def port_with(flows: int, queues: int = 4, balance: Balance = FREE) -> Port:
    port, random = Port(hardware(*range(queues)), balance), Random(1)
    for row in range(flows):
        port.arrive(row, key_of(row), rate=int(1_000_000 * random.paretovariate(1.5)))
    return port


def queues_of_buckets(port: Port) -> dict[int, set[int]]:
    queues: dict[int, set[int]] = defaultdict(set)
    for row, queue_id in port.queue_of.items():
        queues[bucket_of(row, port.keys[row])].add(queue_id)
    return queues


def test_the_toeplitz_hash_gives_the_bucket_and_bucket_i_is_on_queue_i_mod_n() -> None:
    port = port_with(300)
    assert port.queue_of == {row: rss_hash(key_of(row)) % 512 % 4 for row in range(300)}
    assert Port(hardware(0, 1), FREE).arrive(7).queue_id == 1, "without a key the row is the hash"


def test_queues_come_within_two_per_cent_and_buckets_stay_whole() -> None:
    port = port_with(3000)
    before = port.loads()
    moves = port.tick()
    loads = port.loads().values()
    assert max(before.values()) > 1.03 * sum(before.values()) / 4, "the hash alone is not good enough"
    assert max(loads) <= 1.02 * sum(loads) / 4
    assert {len(queues) for queues in queues_of_buckets(port).values()} == {1}
    moved = {bucket_of(move.row, port.keys[move.row]) for move in moves}
    assert len(moves) == sum(bucket_of(row, port.keys[row]) in moved for row in port.queue_of)
    assert len(moved) < 30 and {move.reason for move in moves} == {Reason.REBALANCED}
    check_state(port)


def test_new_flows_of_a_bucket_go_where_it_is_now() -> None:
    port = port_with(3000)
    bucket = bucket_of(0, port.keys[port.tick()[0].row])
    here = queues_of_buckets(port)[bucket]
    assert {port.arrive(9000, key_in(bucket)).queue_id} == here


def test_moves_are_counted_in_flows_against_the_budget() -> None:
    port = port_with(2000, balance=Balance(strategy="buckets", window=0.0))
    for row in range(2000):
        if port.queue_of[row] == 0:
            port.measure(row, 20_000_000)
    per_second = [len(port.tick()) for _ in range(20)]
    buckets = Counter(bucket_of(row, key_of(row)) for row in range(2000))
    assert max(per_second) <= 40 and min(per_second[:5]) > 40 - max(buckets.values())
    assert max(port.loads().values()) <= 1.02 * sum(port.loads().values()) / 4


def test_no_flow_of_a_bucket_moves_twice_within_the_window() -> None:
    port = port_with(400, queues=2)
    port.tick()
    at = {move.row: port.now for move in port.moves}
    assert at
    for second in range(12):
        for row in range(400):
            port.measure(row, (5_000_000 if (port.queue_of[row] + second) % 2 else 1_000_000))
        for move in port.tick():
            assert port.now - at.get(move.row, -99.0) >= 3.0
            at[move.row] = port.now
    assert len(port.moves) > len(at), "some did move again"


def test_a_bucket_heavier_than_the_gap_stays() -> None:
    port = Port(hardware(0, 1), FREE)
    port.arrive(0, key_in(0), rate=10)
    port.arrive(1, key_in(2), rate=100)
    port.arrive(2, key_in(1), rate=60)
    assert [(move.row, move.new) for move in port.tick()] == [(0, 1)]
    assert not port.tick(10) and port.loads() == {0: 100, 1: 70}


def test_the_buckets_of_a_removed_queue_are_spread_and_the_others_stay() -> None:
    port = port_with(2000)
    before = dict(port.queue_of)
    port.update_queues(hardware(0, 1, 2))
    assert all(port.queue_of[row] == before[row] for row in before if before[row] != 3)
    assert {len(queues) for queues in queues_of_buckets(port).values()} == {1}
    loads = port.loads().values()
    assert max(loads) <= 1.1 * sum(loads) / 3
    check_state(port)


def test_a_queue_that_is_added_gets_empty_buckets_at_once_and_others_by_load() -> None:
    port = port_with(40, queues=2)
    used = {bucket_of(row, key_of(row)) for row in range(40)}
    port.update_queues(hardware(0, 1, 2))
    port.run_until_quiet()
    entries = port.state.buckets[QueueKind.PHYSICAL]
    new = [bucket for bucket in range(BUCKETS) if entries[bucket].queue.queue_id == 2]
    assert len(set(new) - used) > 140 and max(port.loads().values()) <= 1.1 * sum(port.loads().values()) / 3
    check_state(port)


def test_flows_found_on_other_queues_come_to_their_buckets_within_the_limits() -> None:
    port = Port(hardware(0, 1, 2, 3), Balance(strategy="buckets"))
    for row in range(1200):
        port.demands[row], port.keys[row] = Demand(rate=1_000_000), key_of(row)
        port.queue_of[row] = place_on(port.state, row, port.demands[row], row // 7 % 4, key_of(row)).queue_id
    assert port.queue_of == {row: row // 7 % 4 for row in range(1200)}
    assert max(len(queues) for queues in queues_of_buckets(port).values()) > 1
    assert all(len(port.tick()) <= 24 for _ in range(60))
    assert {len(queues) for queues in queues_of_buckets(port).values()} == {1}
    check_state(port)


def test_hardware_and_software_have_buckets_of_their_own() -> None:
    port = Port(hardware(0, 1) + software(10, 11), FREE)
    for row in range(200):
        path = PathPreference.SOFTWARE if row % 2 else PathPreference.HARDWARE
        port.arrive(row, key_of(row), rate=1000 + row, path=path)
    port.run_until_quiet()
    assert all((port.queue_of[row] >= 10) == bool(row % 2) for row in range(200))
    for kind in ((0, 1), (10, 11)):
        loads = [port.loads()[queue_id] for queue_id in kind]
        assert max(loads) <= 1.02 * sum(loads) / 2
    check_state(port)


def test_nothing_moves_while_the_port_carries_next_to_nothing() -> None:
    port = Port(hardware(0, 1), FREE, speed=10**10)
    for row in range(40):
        port.arrive(row, key_of(row), rate=100_000 if port.state.count % 3 else 900_000)
    assert not port.tick()
    for row in range(40):
        port.measure(row, 40_000_000 if port.queue_of[row] else 90_000_000)
    assert port.tick()
