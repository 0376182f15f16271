from __future__ import annotations

from dataclasses import replace

import pytest
from support.engine.required import required

from flowlane.core.model import MeterSpec
from flowlane.core.policy import LimitScope, TrafficClass
from flowlane.core.state.meters import MIN_BURST, MeterPool, class_owner, owner_of, size_of

LIMITED = TrafficClass("limited", 1, rate_limit=50_000_000)


def take(pool: MeterPool, row: int, vm: int = 1, of: TrafficClass = LIMITED) -> tuple[MeterSpec | None, bool]:
    return pool.acquire(owner_of(of, vm, row), of)


def test_numbers_are_the_lowest_free_ones() -> None:
    pool = MeterPool(limit=10)
    assert [required(take(pool, row)[0]).meter_id for row in range(3)] == [1, 2, 3]
    assert pool.release(owner_of(LIMITED, 1, 1)) == 2
    assert required(take(pool, 7)[0]).meter_id == 2


@pytest.mark.parametrize(("scope", "meters"), [(LimitScope.FLOW, 4), (LimitScope.VM, 2)])
def test_flows_share_a_meter_as_the_policy_says(scope: LimitScope, meters: int) -> None:
    pool, of = MeterPool(limit=10), replace(LIMITED, limit_scope=scope)
    for row, vm in ((0, 1), (1, 1), (2, 2), (3, 2)):
        take(pool, row, vm, of)
    assert len(pool.specs) == meters
    unused = [pool.release(owner_of(of, vm, row)) for row, vm in ((0, 1), (1, 1), (2, 2), (3, 2))]
    assert len([meter for meter in unused if meter]) == meters
    assert not pool.specs


OF_CLASS = replace(LIMITED, limit_scope=LimitScope.CLASS)


def test_a_class_meter_is_there_without_flows_and_stays_after_them() -> None:
    pool = MeterPool(limit=10)
    assert take(pool, 0, of=OF_CLASS) == (None, False), "it is made with the plan, not with a flow"
    assert pool.add_standing(class_owner(OF_CLASS), OF_CLASS)
    spec, new = take(pool, 0, of=OF_CLASS)
    assert (required(spec).meter_id, new) == (10, False)
    assert take(pool, 1, of=OF_CLASS)[0] == spec
    assert [pool.release(class_owner(OF_CLASS)) for _ in range(2)] == [None, None]
    assert pool.specs == {10: spec}
    assert pool.remove_standing(class_owner(OF_CLASS)) == 10
    assert not pool.specs


def test_class_meters_have_the_highest_free_numbers_and_the_others_pass_them_by() -> None:
    pool = MeterPool(limit=4)
    first, second = OF_CLASS, replace(OF_CLASS, name="second")
    assert pool.add_standing(class_owner(first), first)
    assert pool.add_standing(class_owner(second), second)
    pool.remove_standing(class_owner(first))
    assert sorted(pool.specs) == [3]
    assert [required(take(pool, row)[0]).meter_id for row in range(3)] == [1, 2, 4]
    assert take(pool, 3) == (None, False)
    assert not pool.add_standing(class_owner(first), first), "out of meters"
    assert pool.release(owner_of(LIMITED, 1, 2)) == 4
    assert pool.add_standing(class_owner(first), first)
    assert sorted(pool.specs) == [1, 2, 3, 4]


def test_a_device_that_is_out_of_meters_gives_none() -> None:
    pool = MeterPool(limit=1)
    assert take(pool, 0)[1]
    assert take(pool, 1) == (None, False)
    assert MeterPool(limit=0).acquire(owner_of(LIMITED, 1, 0), LIMITED) == (None, False)


def test_burst_is_three_tenths_of_a_second_or_a_super_packet_but_never_below_ten_frames() -> None:
    assert size_of(LIMITED, 1).burst == 15_000_000
    assert size_of(replace(LIMITED, rate_limit=1_500_000), 1).burst == 65_536 * 8
    assert size_of(replace(LIMITED, rate_limit=1_000_000), 1).burst == 450_000
    assert size_of(replace(LIMITED, rate_limit=100_000), 1).burst == MIN_BURST
    assert size_of(replace(LIMITED, burst=9_000_000), 1).burst == 9_000_000


def test_a_meter_of_the_same_size_is_not_written_again() -> None:
    pool = MeterPool(limit=4)
    take(pool, 0)
    owner = owner_of(LIMITED, 1, 0)
    assert pool.resize(owner, LIMITED) is None
    assert required(pool.resize(owner, replace(LIMITED, rate_limit=10_000_000))).rate == 10_000_000


def test_meters_that_are_the_same_on_two_devices_are_one_object() -> None:
    """Each device's own would be objects by the hundred thousand for the collector to look at."""
    one, other, faster = MeterPool(limit=10), MeterPool(limit=10), replace(LIMITED, rate_limit=60_000_000)
    assert take(one, 1)[0] is take(other, 1)[0]
    resized = [pool.resize(owner_of(LIMITED, 1, 1), faster) for pool in (one, other)]
    assert resized[0] is resized[1]
    assert required(resized[0]).rate == 60_000_000


def test_meters_found_in_a_device_keep_their_numbers() -> None:
    pool = MeterPool(limit=10)
    owner = owner_of(LIMITED, 1, 5)
    assert pool.adopt(owner, 3, LIMITED)
    assert not pool.adopt(owner_of(LIMITED, 1, 6), 3, LIMITED)
    assert sorted(required(take(pool, row)[0]).meter_id for row in (10, 11, 12)) == [1, 2, 4]
    assert pool.release(owner) == 3
    assert required(take(pool, 13)[0]).meter_id == 3
    assert not pool.adopt(owner_of(LIMITED, 1, 7), 11, LIMITED), "a number that the device cannot have"
    assert not pool.adopt(class_owner(OF_CLASS), 7, OF_CLASS), "a class's meter is made with the plan"


def test_a_meter_that_was_replaced_is_not_free_before_the_device_has_deleted_it() -> None:
    by_vm = replace(LIMITED, limit_scope=LimitScope.VM)
    pool = MeterPool(limit=3)
    take(pool, 1, 1, by_vm), take(pool, 2, 2, by_vm)
    assert pool.add_standing(owner_of(by_vm, 1, 1), by_vm)
    assert not pool.add_standing(owner_of(by_vm, 2, 2), by_vm), (
        "the third meter is taken, and the first not free"
    )
    pool.replaced.clear()
    assert pool.add_standing(owner_of(by_vm, 2, 2), by_vm)
