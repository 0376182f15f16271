"""The division of queues among groups: how many each gets, and which are merged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowlane.core.allocate.division import CLEARLY, Part, Unit, divide_slots, inversion


def unit(
    key: int,
    load: int,
    priority: int = 0,
    class_index: int = 0,
    least: int = 0,
    most: int | None = None,
    old: int = -1,
) -> Unit:
    return Unit(
        (key,), load, priority, class_index, least, () if most is None else ((class_index, most),), old
    )


def shape(parts: list[Part]) -> object:
    return sorted((sorted(part.groups), part.slot_count) for part in parts)


def test_queues_go_where_the_load_is() -> None:
    assert shape(divide_slots([unit(1, 600), unit(2, 200)], 4)) == [([1], 3), ([2], 1)]


def test_minimum_before_load() -> None:
    assert shape(divide_slots([unit(1, 600), unit(2, 1, class_index=2, least=2)], 3)) == [([1], 1), ([2], 2)]


def test_maximum_is_kept_and_the_rest_is_left_over() -> None:
    assert shape(divide_slots([unit(1, 600, most=2)], 8)) == [([1], 2)]


def test_a_class_with_more_groups_than_queues_is_merged_by_load() -> None:
    groups = [unit(key, load, class_index=1, most=2) for key, load in ((1, 9), (2, 8), (3, 1), (4, 2))]
    assert shape(divide_slots([*groups, unit(9, 1)], 8)) == [([1, 3], 1), ([2, 4], 1), ([9], 6)]


def test_neighbours_in_priority_are_merged_first() -> None:
    groups = [unit(key, 10, priority=priority, class_index=key) for key, priority in ((1, 0), (2, 1), (3, 7))]
    assert shape(divide_slots(groups, 2)) == [([1, 2], 1), ([3], 1)]


def test_light_groups_share_where_a_heavy_one_needs_the_queues() -> None:
    groups = [unit(1, 900), unit(2, 50), unit(3, 30), unit(4, 15), unit(5, 5)]
    assert shape(divide_slots(groups, 4)) == [([1], 3), ([2, 3, 4, 5], 1)]
    assert shape(divide_slots([group._replace(priority=min(3, group.groups[0])) for group in groups], 4)) == [
        ([1], 2),
        ([2], 1),
        ([3, 4, 5], 1),
    ]


def test_no_group_shares_while_there_is_a_queue_for_each() -> None:
    groups = [unit(1, 900_000), unit(2, 50), unit(3, 0), unit(4, 20, class_index=2)]
    assert shape(divide_slots(groups, 4)) == [([1], 1), ([2], 1), ([3], 1), ([4], 1)]
    assert shape(divide_slots(groups, 6)) == [([1], 3), ([2], 1), ([3], 1), ([4], 1)]


def test_groups_stay_with_their_companions_while_that_is_balanced() -> None:
    groups = [unit(1, 10, old=0), unit(2, 9, old=1), unit(3, 9, old=0), unit(4, 10, old=1)]
    assert shape(divide_slots(groups, 2)) == [([1, 3], 1), ([2, 4], 1)]


RawUnit = tuple[int, int, int, tuple[int, int | None], int]
"""Load, priority, class, least and most queues of the class, number of the old pool."""

UNITS = st.lists(
    st.builds(
        lambda load, priority, index, bounds, old: (load, priority, index, bounds, old),
        st.integers(0, 1000),
        st.integers(0, 7),
        st.integers(0, 4),
        st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 4))),
        st.integers(-1, 3),
    ),
    min_size=1,
    max_size=20,
)


@given(UNITS, st.integers(1, 12))
def test_every_group_has_a_queue_and_no_queue_is_given_twice(raw: list[RawUnit], slots: int) -> None:
    bounds = {index: pair for _, _, index, pair, _ in raw}
    units = [
        unit(key, load, priority, index, bounds[index][0], bounds[index][1], old)
        for key, (load, priority, index, _, old) in enumerate(raw)
    ]
    parts = divide_slots(units, slots)
    assert sorted(key for part in parts for key in part.groups) == list(range(len(units)))
    assert all(part.slot_count >= 1 for part in parts) and sum(part.slot_count for part in parts) <= slots
    assert divide_slots(units, slots) == parts
    if len(units) <= slots and all(most is None for _, most in bounds.values()):
        assert len(parts) == len(units), "nothing is merged while queues suffice"
    if len(parts) < slots:
        for index, (_, most) in bounds.items():
            of_class = [part for part in parts if any(units[key].class_index == index for key in part.groups)]
            assert most is None or sum(part.slot_count for part in of_class) <= max(1, most)


def test_of_odd_queues_the_higher_priority_has_the_first() -> None:
    groups = [unit(key, load, priority=key, class_index=key) for key, load in ((1, 340), (2, 330), (3, 320))]
    assert shape(divide_slots(groups, 8)) == [([1], 2), ([2], 3), ([3], 3)]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1000)), min_size=1, max_size=8), st.integers(8, 24)
)
def test_no_priority_has_clearly_more_load_per_queue_than_a_lower_one_that_has_two(
    groups: list[tuple[int, int]], queues: int
) -> None:
    units = [
        unit(key, load, priority=priority, class_index=key) for key, (priority, load) in enumerate(groups)
    ]
    parts = divide_slots(units, queues)
    assert sum(part.slot_count for part in parts) == queues
    for part in parts:
        lower = [other for other in parts if other.priority < part.priority and other.slot_count > 1]
        assert all(part.load / part.slot_count <= CLEARLY * other.load / other.slot_count for other in lower)


def test_groups_are_merged_so_that_a_higher_priority_has_queues_for_its_load() -> None:
    """Eleven groups for eight queues: three of priority 3 with 1.7 each, and eight of priority 1 with 0.5 each."""
    groups = [unit(key, 17, priority=3, class_index=key) for key in range(3)]
    groups += [unit(key, 5, priority=1, class_index=key) for key in range(3, 11)]
    parts = divide_slots(groups, 8)
    assert inversion(parts) <= CLEARLY
    assert inversion([Part((), 3, 51, 0, 3), Part((), 5, 40, 0, 1)]) > 2
