"""When which counters of a device are requested, within a share of its main thread's time.

A switch like Open vSwitch makes the reply to a statistics request in the thread that also forwards on its userspace
datapath, so that reading costs packets their time. Counters are therefore requested in portions, and each portion
is charged to an account that earns :data:`SHARE` of the time.

Learned entries are read by groups: entries with one cookie, which Open vSwitch finds without looking at the others.
The device gives entries that it learns the cookie of the present group; once that has :data:`GROUP_SIZE` entries the
next group begins, with a new number or that of an old group with few entries left. So a group is a cohort, and the
entries of flows that have just begun are few and found cheaply however many others there are. Read first are the groups
with flows that have just begun (every :data:`NEW_PERIOD` s), and those with a flow near a gate (every :data:`PERIOD`
s). Pins and the other groups are read every :data:`PERIOD` s as well while that is affordable, and otherwise in turn,
by the quarter of the account that is theirs and by what the first leave.
Half of that is then for sums: a switch adds up a group's counters in a seventh of the time that it takes to report
them, and a group whose sum grows much faster than before has a flow that has become heavy, and is read first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

SHARE = 0.02
"""Share of the time of the device's main thread that its replies may take."""

PERIOD, NEW_PERIOD = 1.0, 0.5
"""Seconds between two readings of the same entries, where that is affordable; of flows that have just begun."""

OTHERS_PERIOD = 2.0
"""Seconds between two readings of the counters of queues and meters."""

NEW_FOR = 2.0
"""Seconds for which a group counts as new after its last entry can have been added."""

GROUP_SIZE = 512
"""Entries from which on the next group begins: Open vSwitch takes 1 ms to report them."""

PER_REQUEST, PER_ENTRY = 70e-6, 2.5e-6
"""Seconds for which a request and an entry are charged at least.

Open vSwitch 3.1 takes 60 µs and 1.8 µs (``bench.detection.reading_cost``); the rest is for slower machines, and for the
controller, which takes several times as long to read an entry as the switch takes to write it.
"""

SUM_PART = 0.16
"""Part of what a reading of an entry costs that its part in a sum costs: 0.27 of 1.8 µs."""

RISEN = 1.25
"""Times its rate so far by which the sum of a group's counters has to grow, and a gate's least rate beside that.

Open vSwitch's counters move in steps of half a second, so that a rate over two seconds may be a quarter wrong.
"""

FOLLOW = 0.3
"""Part of the difference by which the rate of a sum follows: a rise may be divided between two sums."""

SUSPECT_FOR = 2.5
"""Seconds for which a group whose sum has risen is read first: two readings show the rates of its flows."""

MOST_PER_ENTRY = 25e-6
"""Seconds for which an entry is charged at most.

A switch that seems to take longer shares its CPUs with others, the controller among them, or forwards elsewhere; to
read it seldom would help nobody.
"""

LAST_MEASURED = 16
"""Replies of which the fastest says what an entry costs: the others were late for another reason."""

LATE, TWICE = 0.025, 2
"""Seconds by which a reply may be late for another reason, and how many replies in a row count if they are later.

Where many flows begin, the controller reads what has come every 20 ms only (decision 0007).
"""

FEWEST_MEASURED = 64
"""Entries of a reply from which on its duration says what an entry costs."""

AT_ONCE = 0.002
"""Seconds of the device's time for which counters are requested together; one request may take longer."""

QUEUED = 0.5
"""Seconds without a reply after which nothing more is requested."""

GIVEN_UP = 6.0
"""Seconds after which a reply is not waited for: the session reports the end of every request before that."""

_RESERVED = 0.25
"""Part of the account that is for what is read in turn."""

_SAVED = 0.5
"""Seconds' earnings that an account can hold."""

_FIRST, _REST, _SUMS = range(3)

PINS = -1
"""In place of a group's number: the pins."""


class Portion(NamedTuple):
    """Counters to request now. ``others``: those of queues and meters; ``sums``: groups of which only the sum."""

    pins: bool = False
    others: bool = False
    groups: tuple[int, ...] = ()
    sums: tuple[int, ...] = ()


@dataclass(slots=True)
class Group:
    """Learned entries with one cookie, or the pins.

    ``entries``: how many the last reading found. ``asked``: when they were last requested. ``new_until``: until when
    it can have flows that have just begun. ``near``: whether its last reading found a flow near a gate, ``near_now``
    whether the one that is under way has. ``suspect_until``: until when it is read first because its sum has risen.
    ``sum_asked``: when its sum was last requested. ``octets``, ``summed_at``: its last sum, in bytes, and when that
    was. ``rate``: bit/s by which it has grown, smoothed.
    """

    entries: int = 0
    asked: float = float("-inf")
    new_until: float = float("-inf")
    near: bool = False
    near_now: bool = False
    suspect_until: float = float("-inf")
    sum_asked: float = float("-inf")
    summed_at: float = float("-inf")
    octets: int | None = None
    rate: float | None = None


@dataclass(slots=True)
class Readings:
    """What was read of one device, and what is to be read next. Times are those of the engine, in seconds."""

    share: float = SHARE
    groups: dict[int, Group] = field(default_factory=lambda: {0: Group()})
    """Number of a group -> the group; one that is over and empty is not in it."""
    present: int = 0
    """The group of the entries that the device learns now."""
    pins: Group = field(default_factory=Group)
    per_entry: float = PER_ENTRY
    """Seconds of the device's time that an entry is charged."""
    measured: deque[float] = field(default_factory=lambda: deque((PER_ENTRY,), LAST_MEASURED))
    """What an entry took in the last replies, in seconds."""
    late: deque[float] = field(default_factory=lambda: deque((0.0,), TWICE))
    """The same without the seconds that may be due to other reasons."""
    shortest: float = float("inf")
    """The shortest time to a reply so far: what is not due to the number of entries."""
    waiting: dict[int, float] = field(default_factory=dict)
    """Group, or :data:`PINS`, whose reply has not ended -> when it was requested."""
    _others_asked: float = float("-inf")
    _accounts: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Seconds of the device's time for what is read first, for what is read in turn, and for sums."""
    _is_crowded: bool = False
    """Whether half of the share is not enough to read every :data:`PERIOD` s what is read in turn."""
    _earned_at: float | None = None

    def connected(self, present: int, found: Iterable[int], now: float) -> None:
        """Begin anew with a connection.

        Args:
            present: the group of the entries that the device learns.
            found: the group of each learned entry that it has, which was read just now.
        """
        self.groups = {}
        for number in found:
            self.groups.setdefault(number, Group(asked=now)).entries += 1
        self.present = present
        self.groups.setdefault(present, Group())
        self.pins = Group()
        self.waiting.clear()

    def due(self, now: float, pins: int, learns: bool, flows: int) -> Portion:
        """Return what to request now, and charge it.

        Args:
            pins: how many pins the device has.
            learns: whether the device has learned entries.
            flows: how many flows the device is known to have; without any it is asked for others seldom.
        """
        if not flows and now - self._others_asked < OTHERS_PERIOD:
            return Portion()
        self._earn(now)
        others = now - self._others_asked >= OTHERS_PERIOD
        if others:
            self._others_asked = now
            self._accounts[_REST] -= 2 * PER_REQUEST
        self.waiting = {number: at for number, at in self.waiting.items() if now - at < GIVEN_UP}
        if any(now - at > QUEUED for at in self.waiting.values()):
            return Portion(others=others)
        self.pins.entries = pins
        numbers, sums = self._affordable(now, learns, pins > 0)
        groups = tuple(sorted(number for number in numbers if number != PINS))
        return Portion(PINS in numbers, others, groups, tuple(sums))

    def _affordable(self, now: float, learns: bool, has_pins: bool) -> tuple[list[int], list[int]]:
        """Choose the groups to read and those to sum up, the first things first, and charge them."""
        if learns:
            self.groups[self.present].new_until = now + NEW_FOR
        first: list[tuple[float, int]] = []
        rest: list[tuple[float, int]] = [(self.pins.asked, PINS)] if has_pins else []
        for number, group in self.groups.items() if learns else ():
            unread = group.asked <= group.new_until - NEW_FOR + _EARLY
            urgent = unread or group.new_until > now or group.near or group.suspect_until > now
            (first if urgent else rest).append((group.asked, number))
        in_turn = sum(self._cost(self._group(number)) for _, number in rest)
        self._is_crowded = in_turn > self.share * PERIOD / 2
        chosen = self._choose(sorted(first), _FIRST, now)
        chosen += self._choose(sorted(rest), _REST, now)
        if not self._is_crowded:
            return chosen, []
        looked_at = [
            (max(at, self.groups[number].sum_asked), number) for at, number in rest if number != PINS
        ]
        return chosen, self._choose(sorted(looked_at), _SUMS, now)

    def _choose(self, candidates: Iterable[tuple[float, int]], account: int, now: float) -> list[int]:
        """Choose what is due and can be paid for from an account, the longest unread first.

        Args:
            candidates: (time of the last request, group) in that order.
        """
        chosen: list[int] = []
        spent = 0.0
        for asked, number in candidates:
            group = self._group(number)
            period = NEW_PERIOD if group.new_until > now else PERIOD
            if number in self.waiting or now - asked < period - _EARLY:
                continue
            if spent >= AT_ONCE or self._accounts[account] <= 0:
                break
            cost = self._cost(group, account == _SUMS)
            self._accounts[account] -= cost
            spent += cost
            self.waiting[number] = now
            if account == _SUMS:
                group.sum_asked = now
            else:
                group.asked = now
            chosen.append(number)
        return chosen

    def _group(self, number: int) -> Group:
        return self.pins if number == PINS else self.groups[number]

    def _cost(self, group: Group, is_sum: bool = False) -> float:
        return PER_REQUEST + group.entries * self.per_entry * (SUM_PART if is_sum else 1.0)

    def _earn(self, now: float) -> None:
        seconds = 0.0 if self._earned_at is None else now - self._earned_at
        self._earned_at = now
        earned, most = seconds * self.share, _SAVED * self.share
        first, rest, sums = self._accounts
        first += earned * (1 - _RESERVED)
        over = max(0.0, first - most * (1 - _RESERVED))
        left = earned * _RESERVED + over
        for_sums = left / 2 if self._is_crowded else 0.0
        self._accounts = [first - over, min(most, rest + left - for_sums), min(most, sums + for_sums)]

    def longest_unread(self, now: float) -> float:
        """Return for how many seconds the group that was not read for longest has not been read."""
        asked = (group.asked for group in self.groups.values() if group.entries)
        return max(0.0, now - min(asked, default=now))

    def note_near(self, number: int) -> None:
        """Note that a group has a flow near a gate."""
        group = self.groups.get(number)
        if group is not None:
            group.near_now = True

    def summed(self, number: int, octets: int | None, entries: int, least: float, now: float) -> None:
        """Note the sum of a group's counters; a sum that grows much faster than before makes it worth reading.

        Args:
            octets: bytes that its entries have counted; None: there is no reply.
            entries: how many there are.
            least: bit/s by which it must have risen.
        """
        self.waiting.pop(number, None)
        group = self.groups.get(number)
        if group is None or octets is None:
            return
        if group.octets is not None and octets >= group.octets and now > group.summed_at:
            rate = (octets - group.octets) * 8 / (now - group.summed_at)
            known = rate if group.rate is None else group.rate
            has_risen = rate >= RISEN * known + least
            if has_risen:
                group.suspect_until = now + SUSPECT_FOR
            group.rate = rate if has_risen else known + FOLLOW * (rate - known)
        group.octets, group.summed_at, group.entries = octets, now, entries

    def ended(self, number: int, entries: int | None, seconds: float, now: float) -> int | None:
        """Note the end of a reply.

        Args:
            number: the group, or :data:`PINS`.
            entries: how many there were; None: there is no reply.
            seconds: from the request to the beginning of the reply.

        Returns:
            The group to begin, if the present one is full.
        """
        self.waiting.pop(number, None)
        if entries is None:
            return None
        self._measure(entries, seconds)
        group = self.groups.get(number)
        if group is None:
            return None
        group.entries, group.near, group.near_now = entries, group.near_now, False
        if number != self.present:
            if not entries and now > group.new_until:
                del self.groups[number]
            return None
        if entries < GROUP_SIZE:
            return None
        self.present = self._next_group()
        self.groups[self.present] = Group(asked=now)
        return self.present

    def _next_group(self) -> int:
        """Return an old group with few entries left, else a new one: so there are never many small groups."""
        fewest = min(self.groups, key=lambda number: self.groups[number].entries)
        if self.groups[fewest].entries <= GROUP_SIZE // 4 and fewest != self.present:
            return fewest
        return max(self.groups) + 1

    def _measure(self, entries: int, seconds: float) -> None:
        self.shortest = min(self.shortest, seconds)
        if entries >= FEWEST_MEASURED:
            self.measured.append((seconds - self.shortest) / entries)
            self.late.append((seconds - self.shortest - LATE) / entries)
            self.per_entry = min(max(PER_ENTRY, min(self.measured), min(self.late)), MOST_PER_ENTRY)


_EARLY = 0.05
"""Seconds by which a reading may be early, so that readings due between two polls are not late by one."""
