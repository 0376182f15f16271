"""Connections that wait for a datapath id, and those that have taken each other's place."""

from __future__ import annotations

from types import SimpleNamespace

from flowlane.southbound.openflow.session.owners import TAKEOVERS, WITHIN, Claims, Takeovers


def test_one_connection_waits_for_an_id_and_gets_no_more_time_by_another() -> None:
    claims, first, second = Claims(), SimpleNamespace(id=1), SimpleNamespace(id=1)
    assert claims.add(first, 5.0) is None
    assert claims.add(second, 7.0) is first
    assert [(dpid, claim.asked) for dpid, claim in claims] == [(1, 5.0)]
    assert not claims.drop(first)
    assert claims.drop(second)
    assert claims.take(1) is None


def test_many_takeovers_in_a_short_time_are_of_several_switches() -> None:
    takeovers = Takeovers()
    noted = [takeovers.note(1, second, "192.0.2.1:1", "192.0.2.2:2") for second in range(TAKEOVERS)]
    assert noted == [False] * (TAKEOVERS - 1) + [True]
    assert takeovers.peers(1) == ("192.0.2.1", "192.0.2.2")
    takeovers.note(2, 0.0, "192.0.2.1:1", "192.0.2.1:2")
    assert takeovers.peers(2) == ("192.0.2.1:1", "192.0.2.1:2")
    assert takeovers.forget(WITHIN + 1.0) == [2]
    assert takeovers.forget(2 * WITHIN) == [1]
    assert not takeovers.note(1, 2 * WITHIN, "192.0.2.1:1", "192.0.2.2:2")
