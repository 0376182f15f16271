from __future__ import annotations

from types import MappingProxyType

from flowlane.core.events import DescriptionRemoved, DeviceDescribed
from flowlane.southbound.ovsdb.descriptions import TAKE_OVER_AFTER, Conflict, Descriptions


def device(dpid: int, name: str = "br0") -> DeviceDescribed:
    return DeviceDescribed(dpid, name, None, MappingProxyType({}), "system", MappingProxyType({}))


ONE, TWO = device(1), device(2)
GONE = DescriptionRemoved


def made(*connected: int) -> Descriptions:
    return Descriptions(lambda dpid: dpid in connected, forget_after=600)


def test_only_changes_are_emitted() -> None:
    known = made()
    assert known.replace("a", {1: ONE, 2: TWO}, 0) == [ONE, TWO]
    assert known.replace("a", {1: ONE, 2: TWO}, 1) == []
    assert known.replace("a", {1: device(1, "new")}, 2) == [GONE(2), device(1, "new")]


def test_the_first_database_that_describes_a_device_keeps_it() -> None:
    known = made()
    known.replace("a", {1: ONE}, 0)
    assert known.replace("b", {1: device(1, "other"), 2: TWO}, 0) == [TWO]
    assert known.conflicts("b") == (Conflict(1, "a"),)
    assert known.conflicts("a") == ()
    assert (known.owned("a"), known.owned("b")) == ((1,), (2,))
    assert known.replace("a", {}, 1) == [device(1, "other")], "the other one takes over when it is gone there"
    assert known.conflicts("b") == ()
    assert known.replace("b", {}, 2) == [GONE(2), GONE(1)] or known.owned("b") == ()


def test_a_database_that_is_away_keeps_its_devices() -> None:
    known = made()
    known.replace("a", {1: ONE}, 0)
    known.leave("a", 1)
    assert known.expire(600) == []
    assert known.replace("a", {1: ONE}, 600) == [], "and nothing changes when it is back"
    assert known.expire(10_000) == []


def test_after_the_stated_time_it_is_forgotten() -> None:
    known = made()
    known.replace("a", {1: ONE}, 0)
    known.leave("a", 1)
    assert known.expire(601) == [GONE(1)]
    assert "a" not in known
    assert known.replace("a", {1: ONE}, 700) == [ONE]


def test_a_connected_device_keeps_what_it_has() -> None:
    connected = {1}
    known = Descriptions(lambda dpid: dpid in connected, forget_after=600)
    known.replace("a", {1: ONE, 2: TWO}, 0)
    known.leave("a", 1)
    assert known.expire(5000) == [GONE(2)]
    assert known.expire(6000) == []
    connected.clear()
    assert known.expire(6001) == [GONE(1)]


def test_another_database_takes_over_from_one_that_is_away_for_long() -> None:
    known = made(1)
    known.replace("a", {1: ONE}, 0)
    known.replace("b", {1: device(1, "moved")}, 0)
    known.leave("a", 10)
    assert known.expire(10 + TAKE_OVER_AFTER - 1) == []
    assert known.expire(10 + TAKE_OVER_AFTER) == [device(1, "moved")]
    assert known.replace("a", {1: ONE}, 100) == [], "the first one is back too late"
    assert known.conflicts("a") == (Conflict(1, "b"),)


def test_a_database_that_appears_meanwhile_takes_over_too() -> None:
    known = made()
    known.replace("a", {1: ONE}, 0)
    known.leave("a", 0)
    assert known.replace("b", {1: ONE}, TAKE_OVER_AFTER) == [], "the same description is no change"
    assert known.owned("b") == (1,)


def test_a_database_that_is_withdrawn_is_forgotten_at_once() -> None:
    known = made(2)
    known.replace("a", {1: ONE, 2: TWO}, 0)
    known.withdraw("a")
    assert known.expire(0) == [GONE(1)], "but a connected device keeps what it has"
    assert known.replace("b", {2: device(2, "new")}, 1) == [device(2, "new")]
    assert known.expire(2) == []
    assert "a" not in known
