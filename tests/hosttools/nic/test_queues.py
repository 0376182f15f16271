"""Plans of tc commands, applied to filters in memory: they lead to the mapping, and a second plan is empty."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.errors import RequestError
from flowlane.hosttools.inventory import PortEntry
from flowlane.hosttools.nic.queues import (
    QosRequest,
    desired_qos,
    foreign_filters,
    mapped_queues,
    plan_mapping,
    plan_unmapping,
)
from flowlane.hosttools.nic.reader import Nic
from flowlane.hosttools.nic.tc import Filter, Qdisc
from flowlane.southbound.ovsdb.rows import InterfaceRow

CLSACT = Qdisc("clsact", "ffff:", False, "ffff:fff1")
HTB = Qdisc("htb", "1:", True, "")
THEIRS = Filter(1, "flower", 1)
LINE = re.compile(
    r"filter (add|replace|del) dev pf0 egress protocol all pref (\d+) handle (\w+) (basic|matchall)"
    r"(?: match meta\(priority eq (\d+)\))?(?: action skbedit queue_mapping (\d+))?\Z"
)


def applied(lines: list[str], filters: tuple[Filter, ...]) -> tuple[Filter, ...]:
    """What the kernel would have; it refuses to add what is there and to delete or replace what is not."""
    rows = {(row.pref, row.handle): row for row in filters}
    for line in lines:
        if line == "qdisc add dev pf0 clsact":
            continue
        match = LINE.match(line)
        assert match, line
        verb, pref, handle, kind, priority, queue = match.groups()
        key = (int(pref), int(handle, 0))
        assert (key in rows) == (verb != "add"), line
        assert verb != "replace" or kind == "basic", "the kernel cannot replace a matchall filter"
        rows.pop(key, None)
        if verb != "del":
            rows[key] = Filter(*key[:1], kind, key[1], "all", int(priority) if priority else None, int(queue))
    return tuple(sorted(rows.values()))


def test_a_bare_nic_gets_the_filters_of_the_lab() -> None:
    assert plan_mapping("pf0", 2, [HTB], []) == [
        "qdisc add dev pf0 clsact",
        "filter add dev pf0 egress protocol all pref 61706 handle 1 basic match meta(priority eq 65537) "
        "action skbedit queue_mapping 0",
        "filter add dev pf0 egress protocol all pref 61706 handle 2 basic match meta(priority eq 65538) "
        "action skbedit queue_mapping 1",
        "filter add dev pf0 egress protocol all pref 61707 handle 1 matchall action skbedit queue_mapping 0",
    ]


ROWS = st.builds(
    Filter,
    st.sampled_from([61706]),
    st.just("basic"),
    st.integers(1, 12),
    st.just("all"),
    st.one_of(st.none(), st.integers(65537, 65548)),
    st.one_of(st.none(), st.integers(0, 12)),
)


@given(
    rows=st.lists(ROWS, unique_by=lambda row: row.handle), first=st.integers(0, 10), then=st.integers(1, 10)
)
def test_from_anything_of_ours_to_the_mapping_and_then_nothing_more(
    rows: list[Filter], first: int, then: int
) -> None:
    filters: tuple[Filter, ...] = (*rows, THEIRS)
    for queues in (first, then):
        filters = applied(plan_mapping("pf0", queues, [CLSACT], filters), filters)
        assert mapped_queues(filters) == tuple(range(queues))
        assert plan_mapping("pf0", queues, [CLSACT], filters) == []
        assert foreign_filters(filters) == [THEIRS]
    assert applied(plan_unmapping("pf0", filters), filters) == (THEIRS,)


def test_a_changed_last_filter_is_put_right() -> None:
    filters = applied(plan_mapping("pf0", 1, [CLSACT], []), ())
    wrong = tuple(row._replace(queue=3) if row.kind == "matchall" else row for row in filters)
    assert applied(plan_mapping("pf0", 1, [CLSACT], wrong), wrong) == filters


def test_what_is_in_the_way_is_refused() -> None:
    with pytest.raises(RequestError, match="ingress qdisc"):
        plan_mapping("pf0", 1, [Qdisc("ingress", "ffff:", False, "ffff:fff1")], [])
    with pytest.raises(RequestError, match="flower filter with Flowlane's pref"):
        plan_mapping("pf0", 1, [CLSACT], [Filter(61706, "flower", 1)])
    assert plan_unmapping("pf0", [Filter(61706, "flower", 1)]) == []


GBIT = 10**9
PF = Nic("pf0", hardware=True, up=True, tx_queues=8, speed=GBIT)


def port(*interfaces: str, speed: int | None = None) -> PortEntry:
    return PortEntry(
        "pf0", "br0", "system", tuple(InterfaceRow(name, link_speed=speed) for name in interfaces)
    )


def test_as_many_queues_as_the_nic_has() -> None:
    wanted = desired_qos(QosRequest(), port("pf0"), [PF])
    assert (len(wanted.queues), wanted.max_rate) == (8, GBIT)
    assert {queue.min_rate for queue in wanted.queues} == {GBIT // 8}


def test_a_bond_has_the_queues_and_the_speed_of_its_poorest_interface() -> None:
    wanted = desired_qos(QosRequest(), port("pf0", "pf1"), [PF, PF._replace(tx_queues=4, speed=10**8)])
    assert (len(wanted.queues), wanted.max_rate) == (4, 10**8)


def test_what_is_given_is_not_asked_for() -> None:
    wanted = desired_qos(QosRequest(3, 1, 10**6, 0, "linux-hfsc"), port("pf0"), [None])
    assert (len(wanted.queues), wanted.max_rate, wanted.type) == (4, 10**6, "linux-hfsc")
    assert {queue.min_rate for queue in wanted.queues} == {None}


def test_the_speed_in_the_database_comes_first() -> None:
    assert desired_qos(QosRequest(2), port("pf0", speed=5 * GBIT), [PF]).max_rate == 5 * GBIT


@pytest.mark.parametrize(
    ("nics", "text"),
    [
        ([None], "not a NIC of this host"),
        ([PF._replace(up=False)], "ip link set pf0 up"),
        ([PF._replace(speed=None)], "--rate"),
    ],
)
def test_what_this_host_cannot_count_has_to_be_given(nics: list[Nic | None], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        desired_qos(QosRequest(), port("pf0"), nics)


def test_guarantees_beyond_the_rate_are_refused() -> None:
    with pytest.raises(RequestError, match="exceed"):
        desired_qos(QosRequest(4, rate=GBIT, min_rate=GBIT // 2), port("pf0"), [PF])


def test_priorities_are_for_the_named_queues_and_0_for_the_others() -> None:
    def given(priorities: dict[int, int] | None) -> list[int | None]:
        request = QosRequest(3, priorities=priorities)
        return [queue.priority for queue in desired_qos(request, port("pf0"), [PF]).queues]

    assert given({1: 2}) == [0, 2, 0]
    assert given(None) == [None, None, None]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (QosRequest(2, priorities={0: 1, 2: 1}), "no queue 2; the port gets queues 0-1"),
        (QosRequest(2, type="linux-hfsc", priorities={0: 1}), "linux-hfsc has no priorities"),
    ],
)
def test_priorities_that_cannot_be_are_refused(request_: QosRequest, text: str) -> None:
    with pytest.raises(RequestError, match=text):
        desired_qos(request_, port("pf0"), [PF])


def test_only_htb_gets_leaves() -> None:
    assert desired_qos(QosRequest(2), port("pf0"), [PF]).leaf == "fq_codel"
    assert desired_qos(QosRequest(2, leaf="none"), port("pf0"), [PF]).leaf == "none"
    assert desired_qos(QosRequest(2, type="linux-hfsc"), port("pf0"), [PF]).leaf == "none"
