"""Verdicts on queues, from counters before and after packets were sent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from flowlane.core.frame import read_frame
from flowlane.core.model import QueueKind
from flowlane.hosttools import proof
from flowlane.hosttools.proof import PACKETS, Counters, Verdict


def counters(
    at: float, kernel: Mapping[str, int], *, switch: int = 0, driver: Mapping[int, int] | None = None
) -> Counters:
    return Counters({2: switch}, kernel, driver, at)


QUIET = (counters(0.0, {"1:3": 5}), counters(0.5, {"1:3": 5}))
NONE, BOTH = {"1:1": 100, "1:3": 5, "1:fffe": 105}, {"1:1": 100, "1:3": 15, "1:fffe": 115}


def test_the_packet_is_marked_and_no_bridge_forwards_it() -> None:
    data = bytes.fromhex(proof.frame())
    frame = read_frame(data)
    assert frame is not None
    assert (len(data), frame.eth_type, frame.is_for_bridges) == (60, 0x88B5, True)
    assert frame.eth_src[0] & 3 == 2, "a locally administered address of one station"
    assert proof.actions(2, 7) == "set_queue:2" + ",output:7" * PACKETS


def test_queue_statistics_are_read_with_numbers_or_names() -> None:
    text = """OFPST_QUEUE reply (OF1.3) (xid=0x2): 2 queues
  port 1 queue 0: bytes=600, pkts=10, errors=0, duration=1.2s
  port "eth 0" queue 12: bytes=?, pkts=7, errors=?, duration=?
"""
    assert proof.parse_queue_statistics(text) == {0: 10, 12: 7}


CASES = {
    "real": (BOTH, None, {}, Verdict.REAL, "class 1:3; the driver does not count by queue"),
    "by a hash": (BOTH, {0: 3, 1: 10}, {}, Verdict.REAL, "class 1:3; transmit queue 1 by a hash"),
    "as mapped": (BOTH, {2: 10}, {"mapped": True}, Verdict.REAL, "class 1:3; transmit queue 2 as mapped"),
    "mapped, another": (
        BOTH,
        {1: 10},
        {"mapped": True},
        Verdict.NOT_REAL,
        "class 1:3 counted them, but they left by transmit queue 1, and the filter says 2",
    ),
    "no class": (
        {"1:1": 110, "1:fffe": 115},
        None,
        {},
        Verdict.NOT_REAL,
        "the kernel has no class 1:3; they went by 1:1",
    ),
    "class by-passed": (
        {"1:1": 110, "1:3": 5, "1:fffe": 115},
        None,
        {},
        Verdict.NOT_REAL,
        "class 1:3 counted 0 of 10; they went by 1:1",
    ),
    "lost": (NONE, None, {}, Verdict.NOT_REAL, "class 1:3 counted 0 of 10"),
    "userspace": (
        NONE,
        None,
        {"scheduled": False},
        Verdict.NOT_REAL,
        "the userspace datapath does not schedule queues",
    ),
}


@pytest.mark.parametrize(("kernel", "driver", "words", "verdict", "why"), CASES.values(), ids=CASES)
def test_the_verdict_goes_by_what_counted_the_packets(
    kernel: Mapping[str, int],
    driver: Mapping[int, int] | None,
    words: Mapping[str, bool],
    verdict: Verdict,
    why: str,
) -> None:
    before = counters(0.5, NONE, driver=None if driver is None else dict.fromkeys(range(4), 0))
    after = counters(0.6, kernel, switch=10, driver=driver)
    found = proof.prove(2, QueueKind.PHYSICAL, before, after, QUIET, **words)
    assert (found.verdict, found.why) == (verdict, why)


@pytest.mark.parametrize(("others", "verdict"), [(10, Verdict.REAL), (40, Verdict.UNCLEAR)])
def test_a_busy_class_proves_nothing(others: int, verdict: Verdict) -> None:
    """What others send in as much time is weighed: 10 or 40 packets in 0.5 s, and 0.1 s until all were counted."""
    idle = (counters(0.0, {"1:3": 0}), counters(0.5, {"1:3": others}))
    found = proof.prove(2, None, counters(0.5, NONE), counters(0.6, BOTH, switch=10), idle)
    assert found.verdict is verdict


def test_packets_have_arrived_when_every_counter_has_them() -> None:
    before = counters(0.0, NONE, driver={0: 0})
    assert not proof.has_arrived(2, before, counters(0.1, NONE, driver={0: 0}))
    assert not proof.has_arrived(2, before, counters(0.1, BOTH, switch=10, driver={0: 0}))
    assert proof.has_arrived(2, before, counters(0.1, BOTH, switch=10, driver={0: 10}))
    assert not proof.has_arrived(9, before, Counters({}, NONE, None, 0.1))
    assert proof.has_arrived(9, before, Counters({}, {**NONE, "1:1": 110}, None, 0.1)), "by another class"
