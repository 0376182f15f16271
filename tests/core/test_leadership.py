"""Leases and shares, by many random members and devices, and a model of a database that stalls."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from flowlane.core import leadership
from flowlane.core.leadership import BEAT, EXPIRE, GAP, LEASE, NOBODY, Member, Sighting

NAMES = ("a", "b", "c", "d")
DPIDS = range(1, 13)


@st.composite
def situations(draw: st.DrawFn) -> tuple[dict[str, Member], dict[int, str]]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    member = st.builds(Member, st.frozensets(st.sampled_from(DPIDS)), st.booleans())
    members = {name: draw(member) for name in names}
    leader = st.sampled_from((*NAMES, NOBODY))
    return members, draw(st.dictionaries(st.sampled_from(DPIDS), leader))


def can_lead(members: dict[str, Member], name: str, dpid: int) -> bool:
    return name in members and dpid in members[name].devices and not members[name].is_leaving


@settings(max_examples=50)
@given(situations(), st.booleans())
def test_every_device_has_a_leader_that_can_lead_it(
    situation: tuple[dict[str, Member], dict[int, str]], reshare: bool
) -> None:
    members, leaders = situation
    chosen = leadership.shares(members, leaders, reshare=reshare)
    assert chosen.keys() == leaders.keys()
    for dpid, leader in chosen.items():
        able = [name for name in members if can_lead(members, name, dpid)]
        assert leader in able if able else leader == NOBODY
        if not reshare and leaders[dpid] in able:
            assert leader == leaders[dpid], "who leads well goes on"
    assert leadership.shares(members, chosen, reshare=reshare) == chosen, "what is right is not changed"
    backwards = dict(reversed(members.items())), dict(reversed(leaders.items()))
    assert leadership.shares(*backwards, reshare=reshare) == chosen, "every member comes to the same"


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from(NAMES), unique=True, min_size=1),
    st.dictionaries(st.sampled_from(DPIDS), st.sampled_from((*NAMES, NOBODY))),
)
def test_shares_are_equal_and_as_few_as_possible_move(names: list[str], leaders: dict[int, str]) -> None:
    members = {name: Member(frozenset(DPIDS)) for name in names}
    chosen = leadership.shares(members, leaders)
    load = dict.fromkeys(names, 0)
    for leader in chosen.values():
        load[leader] += 1
    assert max(load.values(), default=0) - min((load[name] for name in names), default=0) <= 1
    moved = sum(leaders[dpid] in names and leaders[dpid] != leader for dpid, leader in chosen.items())
    before = Counter(leader for leader in leaders.values() if leader in names)
    least, more = divmod(len(leaders), len(names))
    most_first = sorted((before[name] for name in names), reverse=True)
    quotas = [least + 1] * more + [least] * (len(names) - more)
    assert moved == sum(max(0, count - quota) for count, quota in zip(most_first, quotas, strict=True))


@settings(max_examples=50)
@given(situations(), st.booleans())
def test_no_two_members_act_on_one_device(
    situation: tuple[dict[str, Member], dict[int, str]], reshare: bool
) -> None:
    members, leaders = situation
    acts: Counter[int] = Counter()
    for own in members:
        work = leadership.work(own, members, leaders, reshare=reshare)
        acts.update([*work.claims, *work.hand_overs])
        assert all(leaders[dpid] == own for dpid in work.hand_overs)
        assert all(leaders[dpid] not in members for dpid in work.claims)
    assert all(count == 1 for count in acts.values())


class Model:
    """Two members and a database: beats take a while to be committed, and a while to be seen."""

    def __init__(self) -> None:
        self.committed = dict.fromkeys(NAMES[:2], 0)
        self.sent = dict.fromkeys(NAMES[:2], float("-inf"))
        self.seen: dict[str, dict[str, Sighting]] = {name: {} for name in NAMES[:2]}
        self.copies = {name: dict(self.committed) for name in NAMES[:2]}


STEP = st.tuples(
    st.floats(0.01, 1.0),
    st.sampled_from(NAMES[:2]),
    st.sampled_from(("beat", "lost beat", "see", "stale look")),
    st.floats(0.0, 1.4),
)


@settings(max_examples=100)
@given(st.lists(STEP, max_size=60))
def test_nobody_is_dead_for_another_while_it_may_lead(steps: list[tuple[float, str, str, float]]) -> None:
    """Whatever is lost, late or stale: a death that the database commits is of a member without a lease."""
    model, now = Model(), 100.0
    for pause, name, act, delay in steps:
        now += pause
        if act == "beat":  # sent a while ago, committed now
            model.committed[name] += 1
            model.sent[name] = max(model.sent[name], now - delay)
        elif act == "see":
            model.copies[name] = dict(model.committed)
        if act in ("see", "stale look"):
            model.seen[name] = leadership.sightings(model.seen[name], model.copies[name], name, now)
            for other in leadership.dead(model.seen[name], name):
                if model.committed[other] == model.seen[name][other].beat:  # what the transaction waits for
                    assert not leadership.holds_lease(model.sent[other], now)


def test_a_silent_member_is_dead_in_time() -> None:
    seen: dict[str, Sighting] = {}
    for number in range(30):
        seen = leadership.sightings(seen, {"a": number, "b": min(number, 9)}, "a", number * BEAT)
        silent = (number - 9) * BEAT
        assert (leadership.dead(seen, "a") == ["b"]) == (silent >= EXPIRE - 1e-9), silent


def test_after_a_gap_of_all_nobody_is_dead() -> None:
    seen = leadership.sightings({}, {"a": 1, "b": 1}, "a", 10.0)
    seen = leadership.sightings(seen, {"a": 2, "b": 1}, "a", 10.0 + GAP + 5.0)
    assert leadership.dead(seen, "a") == []
    assert leadership.dead(seen, "nobody") == []


def test_lease_ends_before_others_begin() -> None:
    assert LEASE < EXPIRE
    assert leadership.holds_lease(5.0, 5.0)
    assert not leadership.holds_lease(5.0, 5.0 + LEASE)
    assert not leadership.holds_lease(float("-inf"), 5.0)


def test_generations_only_grow() -> None:
    assert leadership.next_generation(7, 1.0) == 1000
    assert leadership.next_generation(5000, 1.0) == 5001
