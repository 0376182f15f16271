"""When which counters of a device are requested, within a share of its main thread's time.

A switch like Open vSwitch makes the reply to a statistics request in the thread that also forwards on its userspace
datapath, so that reading costs packets their time. Counters are therefore requested in portions, and each portion
is charged to an account that earns :data:`SHARE` of the time.

Learned entries are read by groups: entries with one cookie, which Open vSwitch finds without looking at the others.
The device gives entries that it learns the cookie of the present group; once that has :data:`GROUP_SIZE` entries the
next group begins, with a new number or that of an old group with few entries left. So a group is a cohort, and the
entries of flows that have just begun are few and found cheaply however many others there are. Read first are the groups
with flows that have just begun (every :data:`NEW_PERIOD` s), and those with a flow near a gate (every :data:`PERIOD`
s). Pins and the other groups are read every :data:`PERIOD` s as well while that is affordable, by the quarter of the
account that is theirs and by what the first leave. Otherwise half of that is for pins, which are the flows that matter
most, and by which a flow that was just moved is measured; and the other groups are read in turn.
A request is charged what as many entries as before take. When the reply has come and there were fewer, the difference
is given back: where flows soon end, most entries of a group are gone when its turn comes.
Then the sums of all groups are read every :data:`NEW_PERIOD` s: the device counts the packets of each group by one more
entry, so that a sum costs what the counters of one flow do. A group whose sum grows much faster than before has a flow
that has become heavy, and is read first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

SHARE = 0.02
"""Share of the time of the device's main thread that its replies may take."""

CONTROLLER_ENTRIES = 30_000
"""Entries that the controller reads in a second, of all devices together: a quarter of a core (``bench.controller``).

What is requested beyond what can be read waits in its sockets, and the counters are old when they are read.
"""

PERIOD, NEW_PERIOD = 1.0, 0.5
"""Seconds between two readings of the same entries, where that is affordable; of flows that have just begun."""

OTHERS_PERIOD = 2.0
"""Seconds between two readings of the counters of queues and meters."""

IDLE_PERIOD = 10.0
"""Seconds between two readings of a device without flows, of whatever; more where there are very many devices."""

IDLE_READINGS = 30
"""Devices without flows that are read in a second, of all together."""

NEW_FOR = 2.0
"""Seconds for which a group counts as new after its last entry can have been added."""

GROUP_SIZE = 512
"""Entries from which on the next group begins: Open vSwitch takes 1 ms to report them."""

SHORTEST_GROUP = 0.5
"""Seconds before which no other group begins because of flows that have begun: 26 entries are modified for it."""

PER_REQUEST, PER_ENTRY = 70e-6, 2.5e-6
"""Seconds for which a request and an entry are charged at least.

Open vSwitch 3.1 takes 60 µs and 1.8 µs (``bench.detection.reading_cost``); the rest is for slower machines, and for the
controller, which takes several times as long to read an entry as the switch takes to write it.
"""

RISEN = 1.25
"""Times its rate so far by which the sum of a group's counters has to grow, and a gate's least rate beside that.

Open vSwitch's counters move in steps of half a second, so that a rate over two seconds may be a quarter wrong.
"""

STEADY = 0.1
"""Part of the gate's least rate by which a sum may grow faster than so far while no flow of the group has changed."""

FOLLOW = 0.3
"""Part of the difference by which the rate of a sum follows: a rise may be divided between two measurements."""

SUSPECT_FOR = 2.5
"""Seconds for which a group whose sum has risen is read first, every :data:`NEW_PERIOD` s."""

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

FAR_BEHIND = 4.0
"""Seconds by which replies are late from which on nothing at all is requested: Open vSwitch reads no more messages of a
controller that has a hundred replies to come (ofproto/connmgr.c), flow-mods among them.
"""

RECENT = 5.0
"""Seconds for which the last reply says whether replies are late."""

GIVEN_UP = 330.0
"""Seconds after which a reply is not waited for.

The session reports the end of every request before that: after 5 s, or after 305 s where the reply may be among bytes
that the controller has not read yet.
"""

MOST_UNREAD = 60.0
"""Seconds since a request has ended without a reply that count: for a switch that does not reply nobody can wait.

The time before counts without a limit: then the controller has had no time to ask, or to read the reply.
"""

_RESERVED = 0.25
"""Part of the account that is for what is read in turn."""

_SAVED = 0.5
"""Seconds' earnings that an account can hold."""

_FIRST, _REST, _SUMS, _PINS = range(4)

PINS = -1
"""In place of a group's number: the pins."""


class Portion(NamedTuple):
    """Counters to request now. ``others``: those of queues and meters; ``sums``: those of the groups as a whole."""

    pins: bool = False
    others: bool = False
    groups: tuple[int, ...] = ()
    sums: bool = False


NOTHING = Portion()


@dataclass(slots=True)
class Group:
    """Learned entries with one cookie, or the pins.

    ``entries``: how many the last reading found. ``asked``: when they were last requested. ``read``: when those were
    requested that were last read, or when the group began. ``unanswered``: when a request for them first ended
    without a reply since then; infinity: none has. ``new_until``: until when it can have flows that have just begun.
    ``near``: whether its last reading found a flow near a gate, ``near_now`` whether the one that is under way has.
    ``suspect_until``: until when it is read first because its sum has risen.
    ``octets``, ``summed_at``: its sum in bytes at the beginning of the present measurement, and when that was.
    ``rate``: bit/s by which it grows, smoothed. ``steady_until``: when the sum last was what that rate makes of it,
    before it rose.
    """

    entries: int = 0
    asked: float = float("-inf")
    read: float = float("-inf")
    unanswered: float = float("inf")
    new_until: float = float("-inf")
    near: bool = False
    near_now: bool = False
    suspect_until: float = float("-inf")
    steady_until: float = float("-inf")
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
    last_took: float = 0.0
    """Seconds from the last request that was answered to its reply, which came at ``replied_at``."""
    replied_at: float = float("-inf")
    waiting: dict[int, float] = field(default_factory=dict)
    """Group, or :data:`PINS`, whose reply has not ended -> when it was requested."""
    _charged: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Group, or :data:`PINS`, that was requested -> the account that was charged, and with how many seconds."""
    begun: int = 0
    """Flows that have begun since the present group did."""
    _learns: bool = False
    """Whether the device has learned entries."""
    _present_since: float = float("-inf")
    _others_asked: float = float("-inf")
    _sums_asked: float = float("-inf")
    _accounts: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    """Seconds of the device's time for what is read first, for what is read in turn, for sums, and for pins."""
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
            self.groups.setdefault(number, Group(asked=now, read=now)).entries += 1
        self.present, self.begun, self._present_since = present, 0, now
        self.groups.setdefault(present, Group(read=now))
        self.pins, self.last_took = Group(), 0.0
        self.waiting.clear()
        self._charged.clear()

    def is_due(self, now: float, idle_period: float) -> bool:
        """Whether a device without flows is asked for others now; see :meth:`due`."""
        return now - self._others_asked >= idle_period

    def due(
        self, now: float, pins: int, learns: bool, flows: int, idle_period: float = IDLE_PERIOD
    ) -> Portion:
        """Return what to request now, and charge it.

        Args:
            pins: how many pins the device has.
            learns: whether the device has learned entries.
            flows: how many flows the device is known to have; without any it is asked for others seldom,
            idle_period: after so many seconds.
        """
        if not flows and not self.is_due(now, idle_period):
            return NOTHING
        self._earn(now)
        self._learns = learns
        others = now - self._others_asked >= OTHERS_PERIOD
        if others:
            self._others_asked = now
            self._accounts[_REST] -= 2 * PER_REQUEST
        self.waiting = {number: at for number, at in self.waiting.items() if now - at < GIVEN_UP}
        if any(now - at > QUEUED for at in self.waiting.values()):
            return Portion(others=others and not self.lag(now) > FAR_BEHIND)
        if not self.pins.entries:
            self.pins.read = now
        self.pins.entries = pins
        numbers = self._affordable(now, learns, pins > 0)
        groups = tuple(sorted(number for number in numbers if number != PINS))
        return Portion(
            PINS in numbers, others, groups, learns and self._is_crowded and self._are_sums_due(now)
        )

    def afford(self, entries: int) -> int:
        """Return how many of so many entries may be read one by one now, and charge them."""
        cost = PER_REQUEST + self.per_entry
        count = min(entries, int(max(0.0, min(self._accounts[_FIRST], AT_ONCE)) / cost))
        self._accounts[_FIRST] -= count * cost
        return count

    def _are_sums_due(self, now: float) -> bool:
        """Return whether to read the sums of all groups now, and charge it."""
        if now - self._sums_asked < NEW_PERIOD - _EARLY or self._accounts[_SUMS] <= 0:
            return False
        self._accounts[_SUMS] -= self._cost_of_sums()
        self._sums_asked = now
        return True

    def _affordable(self, now: float, learns: bool, has_pins: bool) -> list[int]:
        """Choose the groups to read and those to sum up, the first things first, and charge them."""
        if learns:
            self.groups[self.present].new_until = now + NEW_FOR
        first: list[tuple[float, int]] = []
        rest: list[tuple[float, int]] = []
        pins = [(self.pins.asked, PINS)] if has_pins else []
        for number, group in self.groups.items() if learns else ():
            unread = group.asked <= group.new_until - NEW_FOR + _EARLY
            urgent = unread or group.new_until > now or group.near or group.suspect_until > now
            (first if urgent else rest).append((group.asked, number))
        in_turn = sum(self._cost(self._group(number)) for _, number in (*pins, *rest))
        self._is_crowded = in_turn > self.share * PERIOD / 2
        chosen = self._choose(sorted(first), _FIRST, now)
        if self._is_crowded:
            return [*chosen, *self._choose(pins, _PINS, now), *self._choose(sorted(rest), _REST, now)]
        return [*chosen, *self._choose(sorted((*pins, *rest)), _REST, now)]

    def _choose(self, candidates: Iterable[tuple[float, int]], account: int, now: float) -> list[int]:
        """Choose what is due and can be paid for from an account, the longest unread first.

        Args:
            candidates: (time of the last request, group) in that order.
        """
        chosen: list[int] = []
        spent = 0.0
        for asked, number in candidates:
            group = self._group(number)
            period = NEW_PERIOD if max(group.new_until, group.suspect_until) > now else PERIOD
            if number in self.waiting or now - asked < period - _EARLY:
                continue
            if spent >= AT_ONCE or self._accounts[account] <= 0:
                break
            cost = self._cost(group)
            self._accounts[account] -= cost
            self._charged[number] = account, cost
            spent += cost
            self.waiting[number] = group.asked = now
            chosen.append(number)
        return chosen

    def _group(self, number: int) -> Group:
        return self.pins if number == PINS else self.groups[number]

    def _cost(self, group: Group) -> float:
        return PER_REQUEST + group.entries * self.per_entry

    def _give_back(self, number: int, entries: int) -> None:
        """Charge a reply with fewer entries than were expected for those alone."""
        account, charged = self._charged.pop(number, (_REST, 0.0))
        self._accounts[account] += max(0.0, charged - PER_REQUEST - entries * self.per_entry)

    def _cost_of_sums(self) -> float:
        return PER_REQUEST + len(self.groups) * self.per_entry

    def _earn(self, now: float) -> None:
        seconds = 0.0 if self._earned_at is None else now - self._earned_at
        self._earned_at = now
        earned, most = seconds * self.share, _SAVED * self.share
        first, rest, sums, pins = self._accounts
        first += earned * (1 - _RESERVED)
        over = max(0.0, first - most * (1 - _RESERVED))
        left = earned * _RESERVED + over
        needed = 2 * seconds * self._cost_of_sums() / NEW_PERIOD
        for_sums = min(left / 4, needed) if self._is_crowded and sums <= 0 else 0.0
        for_pins = left / 2 if self._is_crowded and pins <= 0 else 0.0
        rest = min(most, rest + left - for_sums - for_pins)
        self._accounts = [first - over, rest, sums + for_sums, pins + for_pins]

    def longest_unread(self, now: float) -> float:
        """Return for how many seconds the pins, or the group that was not read for longest, have not been read.

        The present group is one as soon as flows have begun that may be in it.
        """
        groups = [group for group in (self.pins, *self.groups.values()) if group.entries]
        if self.begun and self._learns:
            groups.append(self.groups[self.present])
        return max((_unread(group, now) for group in groups), default=0.0)

    def lag(self, now: float) -> float:
        """Return by how many seconds a reply that is waited for, or the last one, is later than the quickest."""
        late = max((now - at for at in self.waiting.values()), default=0.0)
        if now - self.replied_at < RECENT:
            late = max(late, self.last_took)
        return max(0.0, late - (self.shortest if self.shortest < float("inf") else 0.0))

    def note_near(self, number: int) -> None:
        """Note that a group has a flow near a gate."""
        group = self.groups.get(number)
        if group is not None:
            group.near_now = True

    def counted(self, octets: Mapping[int, int], least: float, now: float) -> None:
        """Note the sums of the groups' counters; one that grows much faster than before makes its group worth reading.

        Args:
            octets: group -> bytes.
            least: bit/s by which a sum must have risen.
        """
        for number, sum_now in octets.items():
            group = self.groups.get(number)
            if group is not None:
                _follow_sum(group, sum_now, least, now)

    def steady_until(self, number: int, now: float) -> float | None:
        """Return until when the flows of a group whose sum has risen have kept their rates; None for other groups."""
        group = self.groups.get(number)
        return group.steady_until if group is not None and group.suspect_until > now else None

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
        group = self.pins if number == PINS else self.groups.get(number)
        if entries is None:
            if group is not None:
                group.unanswered = min(group.unanswered, now)
            return None
        self._measure(entries, seconds)
        self.replied_at = now
        self._give_back(number, entries)
        if group is None:
            return None
        group.entries, group.near, group.near_now = entries, group.near_now, False
        group.read, group.unanswered = group.asked, float("inf")
        if number == PINS:
            return None
        if number != self.present:
            if not entries and now > group.new_until:
                del self.groups[number]
            return None
        return self._begin_group(now) if entries >= GROUP_SIZE else None

    def filled(self, now: float) -> int | None:
        """Return the group to begin, if the present one is full by the flows that have begun since it did.

        Its reading shows that too, but where very many flows begin it comes late.
        """
        is_over = self.begun >= GROUP_SIZE and now - self._present_since >= SHORTEST_GROUP
        return self._begin_group(now) if is_over else None

    def _begin_group(self, now: float) -> int:
        full = self.groups[self.present]
        full.entries = max(full.entries, self.begun)
        self.present = self._next_group()
        reused = self.groups.get(self.present)
        self.groups[self.present] = Group(asked=now, read=now if reused is None else reused.read)
        self.begun, self._present_since = 0, now
        return self.present

    def _next_group(self) -> int:
        """Return an old group with few entries left, else a new one: so there are never many small groups."""
        fewest = min(self.groups, key=lambda number: self.groups[number].entries)
        if self.groups[fewest].entries <= GROUP_SIZE // 4 and fewest != self.present:
            return fewest
        return max(self.groups) + 1

    def _measure(self, entries: int, seconds: float) -> None:
        self.shortest, self.last_took = min(self.shortest, seconds), seconds
        if entries >= FEWEST_MEASURED:
            self.measured.append((seconds - self.shortest) / entries)
            self.late.append((seconds - self.shortest - LATE) / entries)
            self.per_entry = min(max(PER_ENTRY, min(self.measured), min(self.late)), MOST_PER_ENTRY)


def idle_period_of(devices: int) -> float:
    """Return the seconds between two readings of each device without flows, of so many in all."""
    return max(IDLE_PERIOD, devices / IDLE_READINGS)


def share_of(devices: int, per_entry: float = PER_ENTRY) -> float:
    """Return the share of a device's time that its replies may take where so many devices have flows.

    Args:
        per_entry: seconds that an entry is charged. Where a device's replies come late its entries are charged more,
            and the controller reads as many of them as of others.
    """
    return min(SHARE, CONTROLLER_ENTRIES * per_entry / max(1, devices))


_EARLY = 0.05
"""Seconds by which a reading may be early, so that readings due between two polls are not late by one."""


def _unread(group: Group, now: float) -> float:
    """Return for how many seconds a group has not been read, as far as that says nothing about the switch."""
    return max(0.0, now - group.read - max(0.0, now - group.unanswered - MOST_UNREAD))


def _follow_sum(group: Group, octets: int, least: float, now: float) -> None:
    """Take in the sum of a group. It is measured over a second: counters move in steps of half of one."""
    if group.octets is None or octets < group.octets:
        group.octets, group.summed_at = octets, now
        return
    seconds, bits = now - group.summed_at, (octets - group.octets) * 8
    if seconds <= 0:
        return
    if group.rate is not None:
        if bits >= (RISEN * group.rate + least) * max(seconds, PERIOD):
            group.suspect_until = now + SUSPECT_FOR
        elif now >= group.suspect_until and bits <= (RISEN * group.rate + STEADY * least) * max(
            seconds, PERIOD
        ):
            group.steady_until = now
    if seconds >= PERIOD - _EARLY:
        rate = bits / seconds
        known = rate if group.rate is None else group.rate
        group.rate = rate if group.suspect_until > now else known + FOLLOW * (rate - known)
        group.octets, group.summed_at = octets, now
