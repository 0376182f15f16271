"""The collector on a socket of this machine: whose datagrams become events, and what becomes of the others."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from lab.inside.manager import wait_for
from support.ipfix import DPID, message, of_ovs

from flowlane.core.events import PacketsSampled
from flowlane.errors import ConfigError
from flowlane.southbound.ipfix.collector import Collector


class Stage:
    def __init__(self, peer: str | None) -> None:
        self.events: list[PacketsSampled] = []
        self.collector = Collector("127.0.0.1", 0, self.events.append, {DPID: peer}.get)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.connect(self.collector.address)

    def send(self, *datagrams: bytes) -> dict[str, int]:
        before = self.collector.datagrams
        for data in datagrams:
            self.sender.send(data)

        def is_read() -> bool:
            self.collector.read()
            return self.collector.datagrams == before + len(datagrams)

        wait_for(is_read)
        return self.collector.counts()

    def stop(self) -> None:
        self.collector.stop()
        self.sender.close()


@pytest.fixture(params=["127.0.0.1:5000", "[::ffff:127.0.0.1]:5000", ""])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Of a device that is connected from this machine, by IPv4 in any form, or by a Unix socket."""
    running = Stage(request.param)
    yield running
    running.stop()


def test_samples_of_a_connected_device_are_one_event_and_the_rest_is_counted(stage: Stage) -> None:
    good = of_ovs("tcp")[0]
    counts = stage.send(good, b"no IPFIX", good, message())
    assert counts == {"read": 3, "malformed": 1, "foreign": 0}
    assert sum(len(event.packets) for event in stage.events) == 2
    assert {event.dpid for event in stage.events} == {DPID}


@pytest.mark.parametrize("peer", [None, "127.0.0.2:5000", "[fd00::1]:1"])
def test_samples_from_elsewhere_than_the_device_are_ignored(peer: str | None) -> None:
    stage = Stage(peer)
    good = of_ovs("tcp")[0]
    assert stage.send(good, good) == {"read": 0, "malformed": 0, "foreign": 2}
    assert stage.events == []
    stage.stop()


def test_a_port_that_is_in_use_is_refused(stage: Stage) -> None:
    with pytest.raises(ConfigError, match="--ipfix-listen"):
        Collector(*stage.collector.address, stage.events.append, lambda _: None)
