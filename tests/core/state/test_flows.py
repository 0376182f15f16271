import random
import tracemalloc

from flowlane.core.allocate.state import Columns
from flowlane.core.flowkey import IPV4, FlowParts, pack
from flowlane.core.model import PinRef
from flowlane.core.state.flows import GENERATIONS, FlowTable


def test_a_freed_row_is_used_again_with_the_next_generation() -> None:
    table = FlowTable()
    row = table.add(b"a", 1.0)
    table.rate[row] = 5.0
    table.remove(row)
    again = table.add(b"b", 2.0)
    assert (again, table.generation[again], table.rate[again]) == (row, 1, 0.0)
    assert not table.holds(row, 0)
    assert table.holds(row, 1)


def test_generations_wrap_within_the_cookies_bits() -> None:
    table = FlowTable()
    for _ in range(GENERATIONS + 1):
        table.remove(table.add(b"a", 0.0))
    assert table.generation[0] == 1


def test_a_row_read_from_a_device_can_be_taken_once() -> None:
    table = FlowTable()
    assert table.add_at(PinRef(5, 9), b"a", 0.0)
    assert table.holds(5, 9)
    assert not table.add_at(PinRef(5, 9), b"b", 0.0)
    assert not table.add_at(PinRef(7, 0), b"a", 0.0)
    assert sorted(table.add(bytes([n]), 0.0) for n in range(5)) == [0, 1, 2, 3, 4]


def test_the_table_is_a_dictionary_with_numbered_places() -> None:
    table, rng = FlowTable(), random.Random(1)
    model: dict[bytes, int] = {}
    for step in range(5000):
        key = rng.randrange(300).to_bytes(2)
        if key in model:
            assert table.keys[model[key]] == key
            table.remove(model.pop(key))
        else:
            model[key] = table.add(key, float(step))
            assert table.first_seen[model[key]] == step
    assert dict(table.rows) == model
    assert len(set(model.values())) == len(table)


def test_a_flow_takes_less_than_256_bytes_with_what_the_allocator_stores_of_it() -> None:
    count = 1000
    keys = [
        pack(FlowParts(1, None, IPV4, 6, port, 80, b"\x0a\0\0\1", b"\x0a\0\0\2")) for port in range(count)
    ]
    other = FlowTable()  # what all tables share exists before
    for key in keys:
        other.add(key, 1.0)
    tracemalloc.start()
    flows, columns = FlowTable(), Columns()
    for key in keys:
        columns.grow(flows.add(bytes(bytearray(key)), 1.0))
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size / count < 256
    assert not (flows.assigned_since or flows.gate_since or columns.moved_at)


def test_counters_of_the_present_entry_are_apart_from_those_of_the_whole_life() -> None:
    flows = FlowTable()
    row = flows.add(b"a", 1.0)
    flows.packets[row], flows.octets[row] = 7, 700
    assert flows.entry_counters(row) == (7, 700)
    flows.set_entry_counters(row, 0, 0)
    flows.packets[row] += 2
    assert flows.entry_counters(row) == (2, 0)
    flows.remove(row)
    assert flows.add(b"a", 1.0) == row
    assert flows.entry_counters(row) == (0, 0)


def test_the_time_of_the_first_packet_may_be_known_later_than_the_queue() -> None:
    flows = FlowTable()
    row = flows.add(b"a", 10.0)
    assert flows.assigned_since[row] == 10.0
    flows.set_first_seen(row, 5.0)
    assert (flows.first_seen[row], flows.assigned_since[row]) == (5.0, 10.0)
    flows.assigned_since.note(row, 12.0)
    assert flows.assigned_since[row] == 12.0
    flows.remove(row)
    assert flows.assigned_since[flows.add(b"a", 20.0)] == 20.0
