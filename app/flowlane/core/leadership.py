"""Which of several controllers leads which device: leases by time, and shares of devices; pure.

Every member (a controller with the database in common) carries out the same functions on the same rows, and acts only
on what concerns itself. Two rules make that sound whatever the clocks of the machines show:

- A member may lead for :data:`LEASE` seconds after it *sent* a beat that the database has committed.
- Another one is dead for a member when it has not *seen* a new beat of it for :data:`EXPIRE` seconds, which is longer,
  and commits that only where the last beat is still the one that it has seen.

A beat is seen after it was sent, so the lease of a dead member is over. Only differences of a machine's own monotonic
clock are used. Moments are seconds on that clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

BEAT = 0.3
"""Seconds between two beats of a member."""

LEASE, EXPIRE = 1.5, 1.8
"""Seconds for which a member leads after it sent a beat, and without a new one after which it is dead for others."""

GAP = 1.0
"""Seconds without a beat of its own after which a member cannot judge others: the database was away for all of them."""

SETTLE = 3.0
"""Seconds without a change of members after which devices that are led well are shared anew."""

NOBODY = ""


class Member(NamedTuple):
    """A controller, as the database has it. ``devices``: dpids of the devices that are connected to it."""

    devices: frozenset[int] = frozenset()
    is_leaving: bool = False


class Sighting(NamedTuple):
    """The last beat of a member that was seen, and when it was seen first."""

    beat: int
    at: float


def sightings(
    before: Mapping[str, Sighting], beats: Mapping[str, int], own: str, now: float
) -> dict[str, Sighting]:
    """Note the beats that the copy of the database shows now.

    After a gap of one's own beats all others begin anew: nobody could beat meanwhile.

    Args:
        beats: id of each member -> number of its last beat.
        own: id of the member that looks.
    """
    mine = before.get(own)
    is_after_gap = own in beats and (mine is None or (beats[own] != mine.beat and now - mine.at > GAP))
    return {
        member: before[member]
        if not is_after_gap and member in before and before[member].beat == beat
        else Sighting(beat, now)
        for member, beat in beats.items()
    }


def dead(seen: Mapping[str, Sighting], own: str) -> list[str]:
    """List the members that have not been seen for :data:`EXPIRE` seconds while one's own beats were.

    Time is counted up to one's own last beat, so that nobody dies for a copy of the database that stands still.
    """
    if own not in seen:
        return []
    return sorted(
        member for member, sighting in seen.items() if member != own and seen[own].at - sighting.at >= EXPIRE
    )


def holds_lease(sent: float, now: float) -> bool:
    """Whether a member may lead now.

    Args:
        sent: when it sent its last beat that was committed.
    """
    return 0.0 <= now - sent < LEASE


def shares(
    members: Mapping[str, Member], leaders: Mapping[int, str], *, reshare: bool = True
) -> dict[int, str]:
    """Choose the leader of every device; :data:`NOBODY` where no member is connected to it.

    A leader stays while it is there, is not leaving and is connected to the device. The devices without one go to the
    members that lead the fewest; with ``reshare`` as many more go from those that lead most as make the shares equal.

    Args:
        members: those that are alive, by id.
        leaders: dpid -> id of the leader, of all known devices.
    """
    able = {
        dpid: [name for name, member in members.items() if dpid in member.devices and not member.is_leaving]
        for dpid in leaders
    }
    chosen = {dpid: leader if leader in able[dpid] else NOBODY for dpid, leader in leaders.items()}
    load = dict.fromkeys(members, 0)
    for leader in chosen.values():
        if leader:
            load[leader] += 1
    # Those with the fewest candidates first, as the others can make way for them.
    for dpid in sorted(
        (dpid for dpid in chosen if not chosen[dpid]), key=lambda dpid: (len(able[dpid]), dpid)
    ):
        if able[dpid]:
            chosen[dpid] = _least(able[dpid], load, dpid)
            load[chosen[dpid]] += 1
    if reshare:
        _level(chosen, able, load)
    return chosen


def _least(names: Iterable[str], load: Mapping[str, int], dpid: int) -> str:
    """Return the member that leads the fewest; of several one by a hash, so that not all of them choose the first."""
    return min(names, key=lambda name: (load[name], crc32(f"{dpid:x} {name}".encode()), name))


def _level(chosen: dict[int, str], able: Mapping[int, Collection[str]], load: dict[str, int]) -> None:
    """Move devices from members that lead more to those that lead fewer, while that makes the shares more equal."""
    led: dict[str, list[int]] = {name: [] for name in load}
    for dpid in sorted(chosen, reverse=True):
        if chosen[dpid]:
            led[chosen[dpid]].append(dpid)
    while (move := _next_move(led, able, load)) is not None:
        dpid, source, target = move
        led[source].remove(dpid)
        led[target].append(dpid)
        load[source], load[target] = load[source] - 1, load[target] + 1
        chosen[dpid] = target


def _next_move(
    led: Mapping[str, list[int]], able: Mapping[int, Collection[str]], load: Mapping[str, int]
) -> tuple[int, str, str] | None:
    """Find a device that is to change its leader: (dpid, from, to); None where the shares are equal."""
    order = sorted(load, key=lambda name: (load[name], name))
    for source in reversed(order):
        for target in order:
            if load[source] - load[target] < 2:
                break
            for dpid in reversed(led[source]):
                if target in able[dpid]:
                    return dpid, source, target
    return None


class Work(NamedTuple):
    """What a member has to do: claim devices that nobody leads, and hand some of its own over (dpid -> to whom)."""

    claims: tuple[int, ...]
    hand_overs: Mapping[int, str]


def work(own: str, members: Mapping[str, Member], leaders: Mapping[int, str], *, reshare: bool) -> Work:
    """Return what a member has to do.

    A device whose leader is a living member is changed by that one only, so two never act on one device.

    Args:
        own: its id.
        members: those that are alive, by id.
        leaders: dpid -> id of the leader; that of a member that is gone counts as :data:`NOBODY`.
    """
    present = {dpid: leader if leader in members else NOBODY for dpid, leader in leaders.items()}
    chosen = shares(members, present, reshare=reshare)
    claims = tuple(dpid for dpid in sorted(present) if not present[dpid] and chosen[dpid] == own)
    mine = (dpid for dpid in sorted(present) if present[dpid] == own)
    return Work(claims, {dpid: chosen[dpid] for dpid in mine if chosen[dpid] not in (own, NOBODY)})


def next_generation(last: int, wall: float) -> int:
    """Return the generation id with which a new leader asks a device for its role (OpenFlow 1.3.5, 6.3.6).

    It is larger than the last one, and where the database was lost larger than what a device remembers.

    Args:
        last: the one of the leader before.
        wall: Unix time in seconds.
    """
    return max(last + 1, int(wall * 1000))
