"""What it costs to read the counters of 10,000 learned entries: guard, session and core, in one process.

Usage: ``python -m bench.controller.reading [--entries N] [--rounds N]``; needs Open vSwitch, of which one entry is
recorded (no root). The replies are those of a simulated switch (:mod:`bench.controller.switches`). They go the way of
every reply, from the guard to the end of the engine's step, and the processor time of that is measured. Three cases:
the counters of all entries have changed, those of each tenth, and those of none.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from bench.controller import recording
from bench.controller.recording import BARRIER_REPLY, COUNTERS_AT, GET_CONFIG_REPLY, MATCH_AT, PACKET_IN
from bench.controller.switches import Switch, Templates
from os_ken.controller.handler import MAIN_DISPATCHER
from os_ken.ofproto import ofproto_protocol

from flowlane import hub
from flowlane.core.effects import ReadCounters
from flowlane.core.engine import Engine
from flowlane.core.events import CatchUp, Event
from flowlane.policy.loader import load
from flowlane.southbound.openflow.osken import listener
from flowlane.southbound.openflow.session.sessions import Sessions
from flowlane.southbound.openflow.wire.constants import MULTIPART_REPLY, OPENFLOW_13, QUEUE_GET_CONFIG_REPLY

POLICY = "version: 1\ndefault: small\nclasses: {small: {}}\nrules: []\n"
CASES = {"all": 1, "each tenth": 10, "none": 0}
"""Case -> of so many entries the counters of one change; 0: those of none."""

SETTLING = 15
"""Readings before those that are measured."""

_HEAD = 16
_HANDSHAKE_ROUNDS = 50


class Connection:
    """As much of os-ken's Datapath as a session uses; what is sent goes to the simulated switch."""

    def __init__(self, switch: Switch) -> None:
        self.ofproto, self.ofproto_parser = ofproto_protocol._versions[OPENFLOW_13]
        self.switch, self.state = switch, MAIN_DISPATCHER
        self.id, self.address, self.xid = switch.dpid, ("127.0.0.1", 1), 0
        self.socket = SimpleNamespace(pause=0.0, has_unread=False, is_stalled=False, received=0)
        self.sent = b""

    def set_xid(self, message: Any) -> int:
        """Give a message the next transaction id."""
        self.xid += 1
        message.set_xid(self.xid)
        return self.xid

    def send(self, data: bytes) -> bool:
        """Keep what is sent, for the switch."""
        self.sent += data
        return True

    def close(self) -> None:
        """Do nothing."""


class Controller:
    """Engine and sessions with one simulated switch, without a network."""

    def __init__(self, record: recording.Recording) -> None:
        self.now = 1000.0
        self._engine = Engine(load(POLICY))
        self._sessions = Sessions(self._submit, lambda: self.now)
        self.switch = Switch(Templates(record), 0)
        self._connection = Connection(self.switch)
        self._sessions.connected(self._connection)
        for _ in range(_HANDSHAKE_ROUNDS):
            self.now += 0.1
            self.receive(self._replies())
            while self._engine.is_behind:
                self._submit(CatchUp())

    def _submit(self, event: Event) -> None:
        for effect in self._engine.step(event, self.now):
            self._sessions.execute(effect)

    def _replies(self) -> list[bytes]:
        """Let the switch answer what was sent."""
        hub.sleep(0)
        data, self._connection.sent = self._connection.sent, b""
        return list(_messages(self.switch.take(data, self.now)))

    def receive(self, messages: Sequence[bytes]) -> None:
        """Take messages of the switch, as the listener does."""
        for data in messages:
            message = listener.read(self._connection, 0, 0, 0, 0, bytearray(data))
            if message is None:
                continue
            take = {PACKET_IN: self._sessions.packet_in, BARRIER_REPLY: self._sessions.barrier_reply}.get(
                data[1]
            )
            if data[1] not in (MULTIPART_REPLY, QUEUE_GET_CONFIG_REPLY, GET_CONFIG_REPLY) and take is None:
                continue
            (take or self._sessions.reply)(message)

    def begin(self, flows: int) -> None:
        """Begin flows, each with its copied packet."""
        for first in range(0, flows, 100):
            self.now += 0.05
            self.receive(list(_messages(self.switch.begin(min(100, flows - first), self.now))))

    @property
    def groups(self) -> tuple[int, ...]:
        """The groups of learned entries of the switch."""
        return tuple(int.from_bytes(group) for group in self.switch._groups)

    @property
    def known(self) -> int:
        """How many flows the engine knows."""
        return sum(len(device.flows) for device in self._engine.state.devices.values())

    @property
    def octets(self) -> int:
        """How many bytes its flows have sent, by their counters."""
        return sum(sum(device.flows.octets) for device in self._engine.state.devices.values())

    def replies(self) -> list[bytes]:
        """Request the counters of all entries; return the replies."""
        self._sessions.execute(ReadCounters(self.switch.dpid, groups=self.groups))
        return self._replies()


def _messages(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 2 : at + 4])
        yield data[at : at + length]
        at += length


class Counters:
    """The counters of all entries in a reading, so that only some of them have changed in the next."""

    def __init__(self) -> None:
        self._stored: list[bytes] = []

    def held(self, replies: Sequence[bytes], step: int) -> list[bytes]:
        """Return replies in which only the counters of each ``step``-th entry have changed; 0: of none."""
        number, out = 0, []
        for reply in replies:
            parts = [reply[:_HEAD]]
            for entry in recording.entries_of(reply[_HEAD:]):
                counters = entry[COUNTERS_AT:MATCH_AT]
                if number == len(self._stored):
                    self._stored.append(counters)
                elif step and not number % step:
                    self._stored[number] = counters
                parts += (entry[:COUNTERS_AT], self._stored[number], entry[MATCH_AT:])
                number += 1
            out.append(b"".join(parts))
        return out


def measure(controller: Controller, case: str, rounds: int) -> list[float]:
    """Read the counters of all entries again and again; return the processor time of each reading, in seconds."""
    counters, seconds = Counters(), []
    for number in range(rounds + SETTLING):
        controller.now += 1.0
        replies = counters.held(controller.replies(), CASES[case])
        began = time.thread_time()
        controller.receive(replies)
        if number >= SETTLING:
            seconds.append(time.thread_time() - began)
    return seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--case", choices=CASES, default=None)
    given = parser.parse_args(argv)
    controller = Controller(recording.record())
    controller.begin(given.entries)
    print(
        f"{controller.known:,} flows known; counters of {given.entries:,} entries, processor time of a reading"
    )
    print("| changed | ms | us an entry |\n|---|---:|---:|")
    for case in [given.case] if given.case else CASES:
        seconds = statistics.median(measure(controller, case, given.rounds))
        print(f"| {case} | {1e3 * seconds:.1f} | {1e6 * seconds / given.entries:.2f} |", flush=True)


if __name__ == "__main__":
    main()
