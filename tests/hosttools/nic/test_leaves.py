"""Plans of leaves, carried out on qdiscs in memory: they lead to the leaves, and a second plan is empty."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.hosttools.nic.leaves import (
    leaves_of,
    plan_first_leaves,
    plan_leaves,
    plan_removal,
    timing,
    why_not_scheduled,
)
from flowlane.hosttools.nic.tc import Qdisc

HTB = Qdisc("htb", "1:", True, "")
CLSACT = Qdisc("clsact", "ffff:", False, "ffff:fff1")
LINE = re.compile(r"qdisc (add|del) dev pf0 parent 1:([0-9a-f]+)( fq_codel)?\Z")


def leaf(queue_id: int, kind: str = "fq_codel") -> Qdisc:
    return Qdisc(kind, f"80{queue_id:02x}:", False, f"1:{queue_id + 1:x}")


def applied(lines: tuple[str, ...], qdiscs: tuple[Qdisc, ...]) -> tuple[Qdisc, ...]:
    """What the kernel would have; nothing is added where something is, nor deleted where nothing is."""
    rows = {qdisc.parent: qdisc for qdisc in qdiscs}
    for line in lines:
        match = LINE.match(line)
        assert match, line
        verb, minor, kind = match.groups()
        assert (f"1:{minor}" in rows) == (verb == "del"), line
        assert bool(kind) == (verb == "add"), line
        if verb == "del":
            rows.pop(f"1:{minor}")
        else:
            rows[f"1:{minor}"] = leaf(int(minor, 16) - 1)
    return tuple(rows.values())


def test_class_numbers_are_hexadecimal_and_one_more_than_the_queue() -> None:
    plan = plan_leaves("pf0", [0, 9, 15], "fq_codel", [HTB], range(16))
    assert plan.lines == (
        "qdisc add dev pf0 parent 1:1 fq_codel",
        "qdisc add dev pf0 parent 1:a fq_codel",
        "qdisc add dev pf0 parent 1:10 fq_codel",
    )
    assert plan == plan_first_leaves("pf0", [15, 0, 9], "fq_codel")
    assert plan_first_leaves("pf0", [0], "none").lines == ()
    assert leaves_of([HTB, CLSACT, leaf(9), leaf(15, "sfq")]) == {9: "fq_codel", 15: "sfq"}


KINDS = st.dictionaries(st.integers(0, 20), st.sampled_from(["fq_codel", "sfq", "pfifo"]))


@given(kinds=KINDS, queues=st.integers(1, 20))
def test_from_anything_to_the_leaves_and_back_without_touching_those_of_others(
    kinds: dict[int, str], queues: int
) -> None:
    qdiscs: tuple[Qdisc, ...] = (HTB, CLSACT, *(leaf(key, kind) for key, kind in kinds.items()))
    others = {key: kind for key, kind in kinds.items() if kind != "fq_codel"}
    ids = range(queues)
    plan = plan_leaves("pf0", ids, "fq_codel", qdiscs, range(21))
    made = applied(plan.lines, qdiscs)
    assert leaves_of(made) == {**kinds, **{key: others.get(key, "fq_codel") for key in ids}}
    assert len(plan.left_alone) == len(set(others) & set(ids))
    assert plan_leaves("pf0", ids, "fq_codel", made, range(21)).lines == ()
    removed = applied(plan_leaves("pf0", ids, "none", made, range(21)).lines, made)
    assert {key: kind for key, kind in leaves_of(removed).items() if key in ids} == {
        key: kind for key, kind in others.items() if key in ids
    }
    assert leaves_of(applied(plan_removal("pf0", made).lines, made)) == others


def test_a_queue_without_a_class_gets_none_and_that_is_said() -> None:
    plan = plan_leaves("pf0", [0, 1], "fq_codel", [HTB], [0])
    assert plan.lines == ("qdisc add dev pf0 parent 1:1 fq_codel",)
    assert plan.left_alone == ("pf0: Open vSwitch has made no class for queue 1; no leaf",)
    assert plan_leaves("pf0", [1], "none", [HTB], [0]) == ((), ())


@pytest.mark.parametrize(
    ("qdiscs", "text"),
    [
        ((), "no root qdisc"),
        ((Qdisc("mq", "0:", True, ""), Qdisc("fq_codel", "0:", False, ":1")), "mq 0:"),
        ((Qdisc("mqprio", "8001:", True, ""),), "mqprio 8001:"),
        ((Qdisc("noqueue", "0:", True, ""),), "noqueue 0:"),
        ((Qdisc("htb", "5:", True, ""), leaf(0)), "htb 5:"),
        ((Qdisc("hfsc", "1:", True, ""), leaf(0)), "hfsc 1:"),
        ((Qdisc("htb", "1:", True, "", offloaded=True), leaf(0)), "the NIC schedules"),
    ],
)
def test_where_linux_does_not_schedule_the_queues_nothing_is_done(
    qdiscs: tuple[Qdisc, ...], text: str
) -> None:
    assert text in why_not_scheduled(qdiscs)
    (said,) = plan_leaves("pf0", [0], "fq_codel", qdiscs, [0]).left_alone
    assert said.startswith("pf0: ")
    assert text in said
    assert plan_leaves("pf0", [0], "fq_codel", qdiscs, [0]).lines == ()
    assert plan_leaves("pf0", [0], "none", qdiscs, [0]) == ((), ())
    assert plan_removal("pf0", qdiscs) == ((), ())


@pytest.mark.parametrize(
    ("queues", "rate", "words"),
    [
        (8, None, ""),
        (8, 0, ""),
        (64, 10_000_000_000, ""),
        (8, 1_000_000_000, ""),
        (8, 50_000_000, " target 83886us interval 1000000us"),
        (1, 100_000_000, " target 5243us interval 104860us"),
        (64, 10_000_000, " target 3355443us interval 6710886us"),
    ],
)
def test_on_a_slow_port_codel_waits_for_the_turns_of_the_other_queues(
    queues: int, rate: int | None, words: str
) -> None:
    """64 kB at 50 Mbit/s take 10.5 ms, for each of 8 queues."""
    assert timing(queues, rate) == words
    plan = plan_leaves("pf0", range(queues), "fq_codel", [HTB], range(queues), rate)
    assert plan.lines[0] == f"qdisc add dev pf0 parent 1:1 fq_codel{words}"
    assert plan == plan_first_leaves("pf0", range(queues), "fq_codel", rate)
