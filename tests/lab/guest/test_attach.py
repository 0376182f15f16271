"""``flowlane attach`` and ``detach`` on the kernel's datapath: packets pass meanwhile, and entries are as before."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest
from lab.inside.controller import flowlane
from lab.inside.counters import BRIDGE, run, wait_until
from lab.inside.namespaces import FAR_END, udp_socket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.inside.controller import Controller

    from .conftest import Lab


TIMES = 5
PORT, GAP_S = 7400, 0.005
OURS = "cookie=0xf10a"


class Stream:
    """Numbered packets from vm1 to the wire."""

    def __init__(self) -> None:
        self.sender, self.receiver = udp_socket("vm1"), udp_socket("wire", PORT)
        self.sent = 0
        self.received: set[int] = set()
        self.last = -1
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.send, self.receive)]

    def send(self) -> None:
        while not self.ended.wait(GAP_S):
            self.sender.sendto(b"%08x" % self.sent, (FAR_END, PORT))
            self.sent += 1

    def receive(self) -> None:
        while not self.ended.is_set():
            with contextlib.suppress(TimeoutError):
                self.last = int(self.receiver.recv(64), 16)
                self.received.add(self.last)

    def lost(self) -> int:
        """Packets that were sent since the last call and have not arrived."""
        sent = self.sent
        assert wait_until(lambda: self.last >= sent, 20), "nothing arrives"
        lost = set(range(sent)) - self.received.copy()
        self.received |= lost
        return len(lost)


@pytest.fixture
def stream() -> Iterator[Stream]:
    made = Stream()
    for thread in made.threads:
        thread.start()
    yield made
    made.ended.set()
    for thread in made.threads:
        thread.join()
    made.sender.close()
    made.receiver.close()


def tables() -> tuple[str, ...]:
    """Flows, groups and meters, without transaction ids and the counters of flows."""
    commands = (("--no-stats", "--sort", "dump-flows"), ("dump-groups",), ("dump-meters",))
    return tuple(
        run("ovs-ofctl", "-O", "OpenFlow15", *command, BRIDGE).partition("\n")[2] for command in commands
    )


def test_packets_pass_while_it_is_attached_and_detached(
    lab: Lab, running: Controller, stream: Stream
) -> None:
    """The controller of the other tests was attached by hand: it is taken off, and put back by hand at the end."""
    assert flowlane("detach", BRIDGE).returncode == 0
    before = tables()
    assert OURS not in before[0]
    stream.lost()
    lost = []
    try:
        for _ in range(TIMES):
            assert flowlane("attach", BRIDGE).returncode == 0
            assert wait_until(lambda: OURS in tables()[0], 30)
            time.sleep(2)
            lost.append(stream.lost())
            done = flowlane("detach", BRIDGE)
            assert done.returncode == 0, done.stderr
            lost.append(stream.lost())
            assert tables() == before
    finally:
        run("ovs-vsctl", "set-controller", BRIDGE, "tcp:127.0.0.1:6653")
        run("ovs-vsctl", "set", "controller", BRIDGE, "max_backoff=1000")
        print(lost)
    assert wait_until(lambda: OURS in tables()[0], 30)
    assert max(lost) <= 2, lost
