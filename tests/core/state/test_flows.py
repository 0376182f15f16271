import random

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
