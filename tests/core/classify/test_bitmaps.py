from hypothesis import given
from hypothesis import strategies as st
from support.engine.required import required

from flowlane.core.classify.bitmaps import by_value, intervals, prefix_intervals


def test_no_index_when_no_rule_asks() -> None:
    assert intervals([(), ()]) is None
    assert prefix_intervals([(), ()], 4) is None


def test_edges_of_ranges_are_inside() -> None:
    index = required(intervals([[(10, 20)], [], [(20, 30), (40, 40)]]))
    assert [index.at(v) for v in (9, 10, 19, 20, 21, 30, 31, 39, 40, 41)] == [
        0b010, 0b011, 0b011, 0b111, 0b110, 0b110, 0b010, 0b010, 0b110, 0b010,
    ]  # fmt: skip


def test_spans_of_one_rule_may_overlap() -> None:
    index = required(intervals([[(1, 10), (5, 20)]]))
    assert [index.at(v) for v in (0, 1, 10, 11, 20, 21)] == [0, 1, 1, 1, 1, 0]


def test_a_prefix_of_the_other_family_takes_nothing() -> None:
    index = required(prefix_intervals([[(bytes(16), 0)], [(bytes([10, 0, 0, 0]), 8)], []], 4))
    assert index.at(bytes([10, 255, 255, 255])) == 0b110
    assert index.at(bytes([11, 0, 0, 0])) == 0b100


def test_the_last_address_has_no_bound_after_it() -> None:
    index = required(prefix_intervals([[(bytes([255] * 4), 32)]], 4))
    assert index.at(bytes([255] * 4)) == 1
    assert index.at(bytes([255, 255, 255, 254])) == 0


def test_values_named_and_others() -> None:
    assert by_value([(1, 2), (), (2,)]) == ({1: 0b011, 2: 0b111}, 0b010)


spans = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda s: (min(s), max(s))), max_size=3
)


@given(st.lists(spans, min_size=1, max_size=12), st.integers(0, 55))
def test_intervals_say_what_a_search_of_every_rule_says(
    rules: list[list[tuple[int, int]]], value: int
) -> None:
    index = intervals(rules)
    expected = [not own or any(first <= value <= last for first, last in own) for own in rules]
    got = (1 << len(rules)) - 1 if index is None else index.at(value)
    assert [bool(got >> place & 1) for place in range(len(rules))] == expected
