"""Counters are requested within a share of the device's time: new flows first, then those near a gate, then others."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlane.core.flow.readings import (
    CONTROLLER_ENTRIES,
    GIVEN_UP,
    GROUP_SIZE,
    MOST_UNREAD,
    PER_ENTRY,
    PER_REQUEST,
    PINS,
    QUEUED,
    SHARE,
    Readings,
    share_of,
)
from flowlane.southbound.openflow.session.requests import MOST_PATIENCE
from flowlane.southbound.openflow.session.session import REPLY_TIMEOUT

REQUEST, ENTRY = 60e-6, 1.8e-6
"""Seconds that Open vSwitch takes for a request and for an entry of its reply."""

LEAST = 500_000
"""Half of the gate's rate in bit/s."""


class Switch:
    """Replies at once; counts what that takes, and when each group was read."""

    def __init__(
        self, entries: dict[int, int], present: int = 0, entry: float = ENTRY, pins: int = 0
    ) -> None:
        self.readings = Readings()
        found = [number for number, count in entries.items() for _ in range(count)]
        self.readings.connected(present, found, 1000.0)
        self.entries, self.entry, self.pins = Counter(entries), entry, pins
        self.present = self.readings.present
        self.near: set[int] = set()
        self.rates: Counter[int] = Counter()
        self.octets: Counter[int] = Counter()
        self.sums = 0
        self.late = 0.0
        self.now = 1000.0
        self.busy = 0.0
        self.longest = 0.0
        self.times: dict[int, list[float]] = {}

    def run(self, seconds: float, per_second: int = 0) -> None:
        """Let time pass, in which so many entries per second are added to the present group."""
        for step in range(round(seconds * 10)):
            self.now += 0.1
            for number, rate in self.rates.items():
                self.octets[number] += rate // 80
            self.entries[self.present] += per_second * (step + 1) // 10 - per_second * step // 10
            self.poll()

    def poll(self) -> None:
        portion = self.readings.due(self.now, self.pins, learns=True, flows=1)
        together = 0.0
        for number in (*portion.groups, *([PINS] if portion.pins else [])):
            count = self.pins if number == PINS else self.entries[number]
            took = REQUEST + count * self.entry
            together += took
            self.times.setdefault(number, []).append(self.now)
            if number in self.near:
                self.readings.note_near(number)
            begun = self.readings.ended(number, count, took + self.late, self.now)
            if begun is not None:
                self.present = begun
        if portion.sums:
            together += REQUEST + len(self.readings.groups) * self.entry
            self.sums += 1
            self.readings.counted(dict(self.octets), LEAST, self.now)
        self.busy += together
        self.longest = max(self.longest, together)

    def longest_gap(self, number: int) -> float:
        times = self.times[number]
        return max(later - earlier for earlier, later in pairwise(times))


def test_few_entries_are_read_every_second_and_those_that_can_be_new_twice() -> None:
    switch = Switch({0: 200, 1: 200}, present=1, pins=50)
    switch.run(10)
    assert switch.longest_gap(0) == pytest.approx(1.0)
    assert switch.longest_gap(1) == pytest.approx(0.5)
    assert switch.longest_gap(PINS) == pytest.approx(1.0)


def test_new_flows_are_read_twice_a_second_among_a_hundred_thousand_others() -> None:
    switch = Switch(dict.fromkeys(range(200), 500), present=200)
    switch.run(60, per_second=50)
    assert switch.longest_gap(switch.present) == pytest.approx(0.5, abs=0.11)
    assert switch.busy / 60 <= SHARE
    assert len(switch.times) >= 200, "every group was read in a minute"


def test_groups_with_flows_near_a_gate_are_read_every_second_among_a_hundred_thousand_flows() -> None:
    switch = Switch(dict.fromkeys(range(200), 500), present=200)
    switch.near = {20, 70, 130}
    switch.run(30)
    switch.times.clear()
    switch.run(20)
    assert max(map(switch.longest_gap, switch.near)) == pytest.approx(1.0, abs=0.21)
    switch.near = set()
    switch.run(2)
    switch.times.clear()
    switch.run(10)
    assert len(switch.times.get(20, ())) <= 2, "it is read in turn again"


def test_an_old_flow_that_becomes_heavy_among_many_is_read_first_by_its_groups_sum() -> None:
    switch = Switch(dict.fromkeys(range(200), 500), present=200)
    switch.rates.update(dict.fromkeys(range(200), 1_000_000))
    switch.run(30)
    assert switch.sums == pytest.approx(60, abs=12)
    waits = []
    for number in range(3, 200, 20):
        switch.times.clear()
        switch.rates[number] += 1_500_000
        begin = switch.now
        while len(switch.times.get(number, ())) < 2:
            switch.run(0.1)
            assert switch.now < begin + 30
        waits.append(switch.now - begin)
        switch.run(4)
    assert max(waits) < 2.0, "two readings; by turns it would be 20 s"
    assert switch.busy / (switch.now - 1000.0) <= SHARE


def test_few_flows_are_not_summed() -> None:
    switch = Switch({0: 500, 1: 500}, present=2)
    switch.run(20)
    assert switch.sums == 0


def test_a_sum_that_falls_or_does_not_come_raises_no_suspicion() -> None:
    readings = Readings()
    readings.connected(0, [], 0.0)
    for second, octets in enumerate((1_000_000, 1_010_000, 100, None, 10_100)):
        readings.counted({} if octets is None else {0: octets, 77: 1}, LEAST, float(second))
    assert readings.steady_until(0, 4.0) is None
    readings.counted({0: 9_000_000}, LEAST, 5.0)
    assert readings.steady_until(0, 5.0) == 4.0, "the flows of the group have kept their rates until then"
    readings.counted({0: 18_000_000}, LEAST, 6.0)
    assert readings.steady_until(0, 6.0) == 4.0, "and not until a time after they have changed"
    assert readings.steady_until(0, 9.0) is None
    assert readings.steady_until(77, 5.0) is None


def test_steps_of_counters_raise_no_suspicion_and_a_slow_rise_is_not_called_steady() -> None:
    readings = Readings()
    readings.connected(0, [], 0.0)
    octets = 0
    for half in range(20):
        octets += 250_000 * (half % 2)  # 2 Mbit/s, of which every other reading shows nothing
        readings.counted({0: octets}, LEAST, half / 2)
        assert readings.steady_until(0, half / 2) is None
    for half in range(20, 22):
        octets += 125_000 + LEAST // 20
        readings.counted({0: octets}, LEAST, half / 2)
    readings.counted({0: octets + 9_000_000}, LEAST, 11.0)
    assert readings.steady_until(0, 11.0) == pytest.approx(10.0, abs=0.5)


def test_a_full_group_is_followed_by_the_next_and_an_empty_one_is_forgotten() -> None:
    switch = Switch({}, present=0)
    switch.run(4, per_second=GROUP_SIZE)
    assert switch.present >= 3
    switch.entries.clear()
    switch.run(10)
    assert set(switch.readings.groups) == {switch.present}


def test_the_numbers_of_old_groups_with_few_entries_are_used_again() -> None:
    switch = Switch({}, present=0)
    for _ in range(100):
        switch.run(1.0, per_second=1000)
        for number in switch.entries:
            if number != switch.present:
                switch.entries[number] = min(switch.entries[number], 5)
        switch.run(1.0)
    assert len(switch.readings.groups) < 10, "60,000 entries have come and gone"


def test_a_group_whose_reply_does_not_come_is_read_again() -> None:
    readings = Readings()
    readings.connected(1, [0] * 10, 0.0)
    readings.due(10.0, 0, learns=True, flows=1)
    readings.ended(0, None, 5.0, 20.0)
    assert readings.groups[0].entries == 10
    assert not readings.waiting.get(0)


def test_a_device_without_flows_is_asked_every_ten_seconds() -> None:
    readings = Readings()
    readings.connected(0, [], 0.0)
    portions = []
    for step in range(400):
        portions.append(readings.due(10.0 + 0.1 * step, 0, learns=True, flows=0))
        for group in portions[-1].groups:
            readings.ended(group, 0, 0.001, 10.0 + 0.1 * step)
    assert sum(any(portion) for portion in portions) == 4
    assert any(readings.due(50.0, 0, learns=True, flows=1)), "at once where it has flows"


def test_where_too_many_flows_begin_each_group_is_read_at_least_once_soon() -> None:
    switch = Switch(dict.fromkeys(range(200), 500), present=200)
    switch.run(20, per_second=4000)
    begun = [number for number in switch.times if number > 200 and number != switch.present]
    assert len(begun) > 5
    assert all(switch.readings.groups[number].asked > 1000.0 for number in begun)
    waits = [switch.times[number][-1] - switch.times[number][0] for number in begun]
    assert switch.busy / 20 <= SHARE * 1.2
    assert min(waits) > 0, "once while it grows, and once when it is full"


def test_how_long_nothing_was_read_of_some_flows_is_known() -> None:
    switch = Switch({0: 100}, present=1)
    switch.run(10)
    assert switch.readings.longest_unread(switch.now) <= 1.1
    crowded = Switch(dict.fromkeys(range(200), 500), present=200)
    crowded.run(60)
    assert 10 < crowded.readings.longest_unread(crowded.now) < 40


def test_where_flows_soon_end_groups_cost_what_is_left_of_them() -> None:
    """A busy switch, at which 2,000 flows a second begin that last for a second: they are known to have ended."""
    switch = Switch({}, present=0, entry=20e-6)
    last: dict[int, float] = {}
    for step in range(1200):
        switch.now += 0.1
        switch.entries[switch.present] += 200
        switch.readings.begun += 200
        last[switch.present] = switch.now
        for number in [number for number, at in last.items() if switch.now - at > 1.0]:
            switch.entries[number] = 0
        switch.poll()
        begun = switch.readings.filled(switch.now)
        switch.present = switch.present if begun is None else begun
        if step > 300:
            assert switch.readings.longest_unread(switch.now) < 10
    assert len(switch.readings.groups) < 20
    assert switch.busy / 120 <= SHARE * 1.2


def test_a_slow_switch_is_read_less_often() -> None:
    fast, slow = Switch({0: 4000}, present=1), Switch({0: 4000}, present=1, entry=20e-6)
    for switch in (fast, slow):
        switch.run(120)
    assert slow.busy <= SHARE * 120 + 17 * 4000 * 20e-6, "16 readings show it"
    slow.busy = 0.0
    slow.times.clear()
    slow.run(120)
    assert len(fast.times[0]) > 3 * len(slow.times[0])
    assert slow.busy / 120 <= SHARE * 1.05


def test_a_switch_whose_replies_are_very_late_for_other_reasons_is_still_read() -> None:
    switch = Switch({}, present=0)
    switch.run(2, per_second=100)
    switch.late = 0.3
    switch.run(30)
    switch.times.clear()
    switch.run(10)
    assert switch.longest_gap(0) < 0.7


def test_one_late_reply_changes_nothing() -> None:
    readings = Readings()
    readings.connected(0, [0] * 1000, 0.0)
    readings.ended(0, 1000, 0.002, 1.0)
    readings.ended(0, 1000, 1.0, 2.0)
    readings.ended(0, 1000, 0.002, 3.0)
    assert readings.per_entry == PER_ENTRY


def test_nothing_is_requested_while_a_reply_is_late_and_what_never_comes_is_given_up() -> None:
    readings = Readings()
    readings.connected(0, [], 0.0)
    now, times = 10.0, []
    for _ in range(1000):
        now += 1.0
        if readings.due(now, 0, learns=True, flows=1).groups:
            times.append(now)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) > GIVEN_UP - 2.0
    assert max(gaps) < GIVEN_UP + 2.0
    assert REPLY_TIMEOUT + MOST_PATIENCE < GIVEN_UP, "so that no request of an old reply is pending"
    assert QUEUED < REPLY_TIMEOUT


def test_a_device_that_does_not_learn_has_only_its_pins_read() -> None:
    readings = Readings()
    readings.connected(0, [], 0.0)
    readings.due(1.0, 3, learns=False, flows=1)
    portion = readings.due(1.2, 3, learns=False, flows=1)
    assert (portion.pins, portion.groups) == (True, ())
    assert not readings.due(1.3, 0, learns=False, flows=1).pins


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(0, 60), st.integers(0, 3000), max_size=60),
    st.integers(0, 3000),
    st.integers(0, 12_000),
    st.sets(st.integers(0, 60), max_size=20),
)
def test_the_share_is_kept_and_everything_is_read(
    entries: dict[int, int], per_second: int, pins: int, near: set[int]
) -> None:
    switch = Switch(entries, present=61, pins=pins)
    switch.near = near
    switch.run(60, per_second)
    largest = PER_REQUEST + PER_ENTRY * max((*entries.values(), pins, GROUP_SIZE + per_second))
    assert switch.busy <= SHARE * 60 + 2 * largest
    assert {number for number, count in entries.items() if count} <= switch.times.keys()


def test_many_devices_share_what_the_controller_can_read() -> None:
    assert share_of(0) == share_of(1) == share_of(3) == SHARE
    assert 1000 * share_of(1000) / PER_ENTRY == pytest.approx(CONTROLLER_ENTRIES)


def test_what_was_requested_counts_as_unread_until_its_reply_has_come() -> None:
    switch = Switch({0: 100}, present=1)
    switch.run(10)
    readings, now = switch.readings, switch.now
    while 0 not in readings.due(now, 0, learns=True, flows=1).groups:
        now += 0.1
    assert readings.longest_unread(now + 5.0) >= 5.5
    readings.ended(0, 100, 0.001, now + 5.0)
    assert readings.longest_unread(now + 5.0) == pytest.approx(5.0)


def test_how_long_the_controller_did_not_ask_counts_without_a_limit_and_a_silent_switch_does_not() -> None:
    switch = Switch({0: 100}, present=1)
    switch.run(10)
    readings, asked = switch.readings, switch.now + 500.0
    assert readings.longest_unread(asked) >= 500.0, "the controller had no time to ask"
    assert 0 in readings.due(asked, 0, learns=True, flows=1).groups
    assert readings.longest_unread(asked + 100.0) >= 600.0, "the reply waits in the controller's socket"
    for seconds in (100.0, 200.0):
        readings.ended(0, None, 5.0, asked + seconds)
    assert readings.longest_unread(asked + 1000.0) == pytest.approx(
        readings.longest_unread(asked + 100.0) + MOST_UNREAD
    )


def test_pins_that_were_not_read_count_as_well() -> None:
    switch = Switch({}, pins=100)
    switch.run(10)
    assert switch.readings.longest_unread(switch.now) <= 1.1
    assert switch.readings.longest_unread(switch.now + 200.0) >= 200.0


def test_a_device_whose_replies_come_late_is_read_as_often_as_others_where_many_share_the_controller() -> (
    None
):
    assert share_of(1000, 10 * PER_ENTRY) == pytest.approx(10 * share_of(1000))
    assert share_of(1, 10 * PER_ENTRY) == SHARE, "its own time is what it was"
