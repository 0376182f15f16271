"""Faults of a switch, in short: a good switch beside it is answered, memory is bounded, and the fault is named.

``python -m bench.bounds`` is the whole trial, with times.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from bench.bounds import __main__ as trial
from bench.bounds.cases import CASES, Case, Site
from bench.bounds.good import Good, beside
from bench.bounds.switch import PACKET_OUT, Switch, frame, match, message, oxm, packet_in
from lab.inside.manager import Launched, launched, wait_for

LONG = frozenset(
    ("half messages", "silent session", "not reading", "endless, asked", "endless, unasked", "changed bytes")
)
"""Cases that need seconds or a hundred MB to show what they are for; the whole trial has them."""


@pytest.fixture(scope="module")
def manager() -> Iterator[Launched]:
    with launched() as running:
        yield running


@pytest.fixture(scope="module")
def good(manager: Launched) -> Iterator[Good]:
    with beside(manager.openflow_port, manager.process.pid) as peer:
        yield peer


@pytest.mark.parametrize("name", sorted(CASES.keys() - LONG))
def test_a_good_switch_is_served_beside_one_at_fault(manager: Launched, good: Good, name: str) -> None:
    case: Case = CASES[name]
    memory = trial.Memory(manager.process.pid)
    with ExitStack() as stack:
        switch = case.run(Site(manager.openflow_port, manager.rest_port, stack, 20.0), case.short)
        memory.stop()
        assert switch is None or switch.is_closed == (case.ends is not None)
    waits = good.look()
    assert waits.served
    assert waits.asked
    assert memory.most - memory.before < 100, "MB"
    if case.ends is not None:
        wait_for(lambda: case.ends is None or case.ends in manager.log, 5.0, case.ends)
    assert trial.faults_of(manager) == 0, manager.log


def test_messages_of_the_trial_are_as_the_specification_has_them() -> None:
    assert message(0, b"ab", 7) == struct.pack("!BBHI", 4, 0, 10, 7) + b"ab"
    sent = packet_in(3, frame(5))
    assert struct.unpack_from("!BBHI", sent) == (4, 10, len(sent), 3)
    assert sent[24:40] == match(oxm(0, b"\0\0\0\1"))
    assert sent[42:] == frame(5)
    assert len(frame(5)) == 54
    assert frame(5) != frame(6)


def test_the_good_switch_has_its_packets_sent_back(manager: Launched) -> None:
    with Switch(manager.openflow_port, 0x77) as switch:
        switch.connect()
        assert not switch.is_closed
        switch.send(packet_in(1, frame(9)))
        switch.sock.settimeout(0.5)
        wait_for(lambda: any(received[1] == PACKET_OUT for received in switch.read()), 10.0)
