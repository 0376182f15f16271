from __future__ import annotations

import pytest

from flowlane.errors import RequestError
from flowlane.southbound.nic import Nic
from flowlane.southbound.nic_qos import Wish, want
from flowlane.southbound.ovsdb.inventory import PortEntry
from flowlane.southbound.ovsdb.rows import InterfaceRow

GBIT = 10**9
PF = Nic("pf0", hardware=True, up=True, tx_queues=8, speed=GBIT)


def port(*interfaces: str, speed: int | None = None) -> PortEntry:
    return PortEntry(
        "pf0", "br0", "system", tuple(InterfaceRow(name, link_speed=speed) for name in interfaces)
    )


def test_as_many_queues_as_the_nic_has() -> None:
    wanted = want(Wish(), port("pf0"), [PF])
    assert (len(wanted.queues), wanted.max_rate) == (8, GBIT)
    assert {queue.min_rate for queue in wanted.queues} == {GBIT // 8}


def test_a_bond_has_the_queues_and_the_speed_of_its_poorest_interface() -> None:
    wanted = want(Wish(), port("pf0", "pf1"), [PF, PF._replace(tx_queues=4, speed=10**8)])
    assert (len(wanted.queues), wanted.max_rate) == (4, 10**8)


def test_what_is_given_is_not_asked_for() -> None:
    wanted = want(Wish(3, 1, 10**6, 0, "linux-hfsc"), port("pf0"), [None])
    assert (len(wanted.queues), wanted.max_rate, wanted.type) == (4, 10**6, "linux-hfsc")
    assert {queue.min_rate for queue in wanted.queues} == {None}


def test_the_speed_that_the_database_knows_counts_first() -> None:
    assert want(Wish(2), port("pf0", speed=5 * GBIT), [PF]).max_rate == 5 * GBIT


@pytest.mark.parametrize(
    ("nics", "text"),
    [
        ([None], "not a NIC of this host"),
        ([PF._replace(up=False)], "ip link set pf0 up"),
        ([PF._replace(speed=None)], "--rate"),
    ],
)
def test_what_cannot_be_known_has_to_be_given(nics: list[Nic | None], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        want(Wish(), port("pf0"), nics)


def test_guarantees_beyond_the_rate_are_refused() -> None:
    with pytest.raises(RequestError, match="exceed"):
        want(Wish(4, rate=GBIT, min_rate=GBIT // 2), port("pf0"), [PF])
