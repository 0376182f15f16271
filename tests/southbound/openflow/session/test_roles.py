"""Roles on shared devices: what is asked, and that nothing is written before the device has given the role."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack, unpack_from
from types import SimpleNamespace
from typing import Any

import pytest
from os_ken.ofproto import ofproto_protocol
from support.openflow import messages
from support.openflow.messages import ERROR, VERSIONS

from flowlane import hub
from flowlane.core import events as ev
from flowlane.southbound.openflow.session.roles import ROLE_TIMEOUT
from flowlane.southbound.openflow.session.sessions import Sessions

DPID = 0x42
ROLE_REQUEST, ROLE_REPLY, ROLE_STATUS = 24, 25, 30
NOCHANGE, PRIMARY, SECONDARY = 0, 2, 3
STALE, UNSUPPORTED = (11, 0), (1, 1)


class Datapath:
    """As much of os-ken's Datapath as sessions use."""

    def __init__(self, version: int) -> None:
        self.ofproto, self.ofproto_parser = ofproto_protocol._versions[version]
        self.id, self.address, self.socket = (
            DPID,
            ("192.0.2.1", 50000),
            SimpleNamespace(pause=0.0, has_unread=False, is_stalled=False),
        )
        self.sent: list[bytes] = []
        self._xid = 0

    def set_xid(self, message: Any) -> int:
        self._xid += 1
        message.set_xid(self._xid)
        return self._xid

    def send(self, data: bytes) -> bool:
        while data:
            length = unpack_from("!H", data, 2)[0]
            self.sent.append(data[:length])
            data = data[length:]
        return True

    def close(self) -> None:
        pass


class World:
    """Sessions that share a device, and what the observer was told."""

    def __init__(self, version: int) -> None:
        self.now, self.version = 100.0, version
        self.events: list[Any] = []
        self.told: list[tuple[Any, ...]] = []
        self.sessions = Sessions(self.events.append, lambda: self.now)
        self.sessions.share(self)
        self.datapath = Datapath(version)
        self.sessions.connected(self.datapath)

    def connected(self, dpid: int) -> None:
        self.told.append(("connected", dpid))

    def disconnected(self, dpid: int) -> None:
        self.told.append(("disconnected", dpid))

    def demoted(self, dpid: int, floor: int = 0) -> None:
        self.told.append(("demoted", dpid, floor))

    def generation_of(self, dpid: int) -> int:
        return 7

    def sent(self) -> list[bytes]:
        hub.sleep()
        sent, self.datapath.sent = self.datapath.sent, []
        return sent

    def asked(self) -> tuple[int, int, int]:
        """The only message that was sent: the role that it asks for, its generation id and its transaction id."""
        (message,) = self.sent()
        assert message[1] == ROLE_REQUEST
        return (
            unpack_from("!I", message, 8)[0],
            unpack_from("!Q", message, 16)[0],
            unpack_from("!I", message, 4)[0],
        )

    def read(self, data: bytes) -> Any:
        return self.datapath.ofproto_parser.msg_parser(
            self.datapath, data[0], data[1], len(data), unpack_from("!I", data, 4)[0], data
        )

    def reply(self, role: int, generation: int, xid: int) -> None:
        body = pack("!I4xQ", role, generation)
        self.sessions.reply(self.read(messages.message(self.version, ROLE_REPLY, body, xid)))

    def refuse(self, error: tuple[int, int], xid: int) -> None:
        body = pack("!HH", *error) + bytes(64)
        self.sessions.error(self.read(messages.message(self.version, ERROR, body, xid)))


@pytest.fixture(params=VERSIONS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(request.param)
    yield made
    for session in made.sessions:
        session.stop()


def test_a_device_that_another_leads_gets_nothing_but_the_role_of_a_standby(world: World) -> None:
    role, generation, xid = world.asked()
    assert (role, generation) == (SECONDARY, 7)
    world.reply(SECONDARY, 7, xid)
    assert world.told == [("connected", DPID)]
    assert (world.sent(), world.events) == ([], [])
    world.sessions.disconnected(world.datapath)
    assert world.told[1:] == [("disconnected", DPID)]
    assert world.events == [], "it was never in use"


def test_the_leader_writes_when_the_device_has_given_the_role(world: World) -> None:
    world.asked()
    world.sessions.lead(DPID, 1 << 40)
    role, generation, xid = world.asked()
    assert (role, generation) == (PRIMARY, 1 << 40)
    world.reply(PRIMARY, 1 << 40, xid)
    assert len(world.sent()) > 5, "the handshake begins"
    world.sessions.stand_by(DPID, 1 << 40, "handed over")
    assert world.asked()[:2] == (SECONDARY, 1 << 40)
    assert world.events == [ev.DeviceDown(DPID, "handed over")]


def test_a_role_that_comes_too_late_begins_nothing(world: World) -> None:
    world.asked()
    world.sessions.lead(DPID, 8)
    xid = world.asked()[2]
    world.sessions.stand_by(DPID, 8, "the lease is over")
    world.reply(PRIMARY, 8, xid)
    assert world.asked()[0] == SECONDARY


@pytest.mark.parametrize("error", [UNSUPPORTED, None])
def test_a_device_without_roles_is_led_all_the_same(world: World, error: tuple[int, int] | None) -> None:
    world.asked()
    world.sessions.lead(DPID, 8)
    xid = world.asked()[2]
    if error is None:
        world.now += ROLE_TIMEOUT
        world.sessions.tick()
    else:
        world.refuse(error, xid)
    assert len(world.sent()) > 5


def test_an_old_generation_id_is_reported_with_the_one_that_the_device_accepts(world: World) -> None:
    world.asked()
    world.sessions.lead(DPID, 8)
    world.refuse(STALE, world.asked()[2])
    role, _generation, xid = world.asked()
    assert role == NOCHANGE
    world.reply(SECONDARY, 50, xid)
    assert world.told[-1] == ("demoted", DPID, 51)
    assert world.sent() == []


def test_a_standby_with_an_old_generation_id_takes_the_one_of_the_device(world: World) -> None:
    world.refuse(STALE, world.asked()[2])
    world.reply(SECONDARY, 50, world.asked()[2])
    assert world.asked()[:2] == (SECONDARY, 50)


def test_a_refused_change_shows_that_another_leads(world: World) -> None:
    world.asked()
    world.sessions.lead(DPID, 8)
    world.reply(PRIMARY, 8, world.asked()[2])
    world.refuse((1, 10), unpack_from("!I", world.sent()[-1], 4)[0])  # OFPBRC_IS_SLAVE
    assert world.told[-1] == ("demoted", DPID, 0)


def test_a_role_status_shows_that_another_leads() -> None:
    world = World(5)
    world.asked()
    world.sessions.lead(DPID, 8)
    world.reply(PRIMARY, 8, world.asked()[2])
    body = pack("!IB3xQ", SECONDARY, 0, 9)
    world.sessions.role_status(world.read(messages.message(5, ROLE_STATUS, body)))
    assert world.told[-1] == ("demoted", DPID, 0)


def test_another_generation_of_a_device_that_is_led_only_asks_again(world: World) -> None:
    world.asked()
    world.sessions.lead(DPID, 8)
    world.reply(PRIMARY, 8, world.asked()[2])
    world.sent()
    world.sessions.lead(DPID, 9)
    role, generation, xid = world.asked()
    assert (role, generation) == (PRIMARY, 9)
    world.reply(PRIMARY, 9, xid)
    assert world.sent() == []
