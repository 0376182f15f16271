"""M14: the switch places new flows by itself, whatever becomes of the copies and of the controller.

On tap devices of a private Open vSwitch, with real packets; judged by ovs-ofctl and by what arrives.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab.inside import tap_host
from lab.inside.dump_flows import read_entry
from lab.inside.manager import free_port, launched, wait_for

HEAD = "version: 1\ndefault: small\npins: {idle-timeout: 300s, budget: %d}\ncopy-rate: %d\n"
AT_ONCE = "learn-after: 0\n"
"""Flows get their entry with their first packet."""

PLAIN = "classes:\n  small: {}\n"
WANTING = """classes:
  small: {}
  metered: {limit: 4Mbit/s}
  sole: {queues: exclusive}
rules:
  - {name: metered, match: {protocol: udp, dst-port: 873}, class: metered}
  - {name: sole, match: {protocol: udp, dst-port: 5000}, class: sole}
"""
METERED, EXCLUSIVE = 873, 5000
STILL = "balance: {interval: 1h}\n"
"""No flow is moved to make loads more even: what changes then is not the balance's doing."""

QUEUES = {0, 1, 2, 3}


def burst(
    host: tap_host.TapHost, count: int, pace: float = 0.0, first: int = 2000, dst_port: int = 80
) -> None:
    """The first packet of so many flows; ``pace`` is how long to rest after every hundredth, in seconds."""
    for number in range(count):
        host.send(1, first + number, dst_port)
        if pace and number % 100 == 99:
            time.sleep(pace)


@pytest.mark.mininet
def test_without_learning_flows_are_placed_at_once_and_pins_follow(tmp_path: Path) -> None:
    rate = 50
    with (
        tap_host.running(tmp_path, HEAD % (10_000, rate) + AT_ONCE + PLAIN, "--nolearn") as host,
        tap_host.capturing() as arrived,
    ):
        assert host.device()["mode"] == "all"
        assert host.entries(tap_host.LEARNED) == []
        before, began = host.proxy.count("packet-in"), time.monotonic()
        burst(host, 400)
        assert sum(arrived.wait_for(400).values()) == 400
        wait_for(lambda: (host.device()["copies_dropped"] or 0) > 0, 10, host.manager.log)
        # The controller's meter passes its rate, and a quarter of a second's worth at once.
        copies = host.proxy.count("packet-in") - before
        assert copies <= rate / 4 + rate * (time.monotonic() - began) + 1
        # Whose copy was dropped is known, and has its pin, some packets later.
        missing = 400
        while missing:
            known = {item["src_port"] for item in host.assignments()}
            for number in range(400):
                if 2000 + number not in known:
                    host.send(1, 2000 + number)
            time.sleep(0.5)
            missing = 400 - len(known)
            assert time.monotonic() - began < 60, f"{missing} of 400 flows are not known"
        host.wait_until_consistent(400)
        pins = host.entries(tap_host.PIN)
        assert len(pins) == 400
        assert {pin.queue for pin in pins} == QUEUES


@pytest.mark.mininet
def test_copies_that_were_dropped_are_counted_and_their_flows_learnt_later(tmp_path: Path) -> None:
    with (
        tap_host.running(tmp_path, HEAD % (10_000, 20) + AT_ONCE + PLAIN) as host,
        tap_host.capturing() as arrived,
    ):
        before = host.proxy.count("packet-in")
        burst(host, 500)
        assert sum(arrived.wait_for(500).values()) == 500
        wait_for(lambda: (host.device()["copies_dropped"] or 0) > 0, 10, host.manager.log)
        # No flow sends another packet: the controller has them from the switch's own entries.
        wait_for(lambda: len(host.assignments()) == 500, 20, host.manager.log)
        host.wait_until_consistent(500)
        copies = host.proxy.count("packet-in") - before
        assert copies + host.device()["copies_dropped"] == 500


@pytest.mark.mininet
@pytest.mark.parametrize("budget", [10_000, 300])
def test_five_thousand_flows_within_the_pin_budget(tmp_path: Path, budget: int) -> None:
    """With the default budget no flow wants a pin but to balance; with 300, 1,000 of the 5,000 want one."""
    policy = HEAD % (budget, 10_000) + AT_ONCE + (PLAIN if budget > 1000 else WANTING)
    with tap_host.running(tmp_path, policy) as host:
        if budget > 1000:
            burst(host, 5000, 0.05)
        else:
            burst(host, 4000, 0.05)
            burst(host, 500, 0.05, 10_000, METERED)
            burst(host, 500, 0.05, 20_000, EXCLUSIVE)
        wait_for(lambda: len(host.assignments()) == 5000, 30, host.manager.log)
        host.wait_until_consistent(5000, 30)
        text = host.dump()
        pins = [read_entry(line) for line in text if "cookie=0xf10a3" in line]
        device = host.device()
        assert len(pins) == device["pinned"] <= device["pin_budget"] == budget
        assert sum("cookie=0xf10a4" in line and "nw_src=10.9." in line for line in text) == 5000
        assert {item["queue_id"] for item in host.assignments()} == QUEUES
        assert len(host.groups()) <= 3
        if budget > 1000:
            assert len(pins) < 500, "the exact entries are far fewer than the flows"
        else:
            # Limited flows come first: all room is theirs, since there are more of them than room.
            assert len(pins) == budget
            assert {pin.match["tp_dst"] for pin in pins} == {str(METERED)}
            assert all(pin.meter for pin in pins)
            metered = [item for item in host.assignments() if item["meter"]]
            assert len(metered) == budget


LIFE = 24
"""Packets of a new flow, some 0.2 s apart: more than pass before it has an entry of its own."""


class Load:
    """Flows that go on, and new ones, one after the other; every packet has a number of its own."""

    def __init__(self, host: tap_host.TapHost, established: int, new_per_second: int) -> None:
        self.sent = 0
        self.first_new = 10_000
        self.new = 0
        self._host = host
        self._established, self._rate = established, new_per_second
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _send(self, port: int) -> None:
        self._host.send(1, port, payload=b"%d" % self.sent)
        self.sent += 1

    def _run(self) -> None:
        """Each new flow has its turn once in ``LIFE`` steps, and ends after as many packets."""
        begin, step = time.monotonic(), 0
        while step % LIFE or not self._ends.is_set() or self._last_packets(step):
            self._send(2000 + step % self._established)
            number = step // LIFE - step % LIFE
            if number >= 0 and not (self._ends.is_set() and number >= self.new):
                self._send(self.first_new + number)
                self.new = max(self.new, number + 1)
            step += 1
            rest = begin + step / (LIFE * self._rate) - time.monotonic()
            if rest > 0:
                time.sleep(rest)

    def _last_packets(self, step: int) -> bool:
        """Whether flows that have begun are not at their end yet."""
        return step < (self.new + LIFE) * LIFE

    def stop(self) -> None:
        self._ends.set()
        self._thread.join()


@contextmanager
def loaded(host: tap_host.TapHost, established: int, new_per_second: int) -> Iterator[Load]:
    load = Load(host, established, new_per_second)
    load.start()
    try:
        yield load
    finally:
        load.stop()


AWAY = 60.0
"""Seconds for which the controller is dead."""


@pytest.mark.mininet
def test_a_controller_that_is_killed_for_a_minute_is_not_missed(tmp_path: Path) -> None:
    policy = HEAD % (10_000, 1000) + STILL + WANTING
    port = free_port()
    option = f"--ofp-tcp-listen-port={port}"
    with tap_host.running(tmp_path, policy, option) as host, tap_host.capturing() as arrived:
        for number in range(5 * LIFE):
            host.send(1, 30_000 + number % 5, METERED)
            time.sleep(0.01)
        host.wait_until_consistent(5)
        with loaded(host, established=40, new_per_second=5) as load:
            wait_for(lambda: load.new > 50, 30)
            host.manager.process.send_signal(signal.SIGKILL)
            host.manager.process.wait()
            before, known, killed = stable(host), load.new, time.monotonic()
            time.sleep(AWAY)
            assert stable(host).keys() >= before.keys(), "entries went while the controller was away"
            placed = new_flows(host, load, known)
            assert len(placed) > 0.7 * 5 * AWAY
            shares = Counter(placed.values())
            assert set(shares) == (named := queues_for_new_flows(host)), (shares, named)
            assert len(shares) > 1
            assert min(shares.values()) > 0.1 * len(placed), shares
            words = (option, f"--ovsdb={host.ovs.database}", f"--policy={tmp_path / 'policy.yaml'}")
            with launched(*words) as again:
                host.manager = again
                wait_for(lambda: len(list(tap_host.assignments(again))) >= load.new, 30, again.log)
                time.sleep(5)
                after, away = stable(host), time.monotonic() - killed
                assert replaced(before, after, away) == []
                load.stop()
                host.wait_until_consistent(40 + 5 + load.new)
        packets = arrived.wait_for(load.sent + 5 * LIFE)
        numbered = {key: count for key, count in packets.items() if key[0] < 30_000}
        assert sum(numbered.values()) == load.sent
        assert set(numbered.values()) == {1}


def stable(host: tap_host.TapHost) -> dict[str, float]:
    """Entries as text without what changes by itself -> seconds that they have stood there.

    Standing rules are left out: how many queues a class has for new flows follows from the load, which is not known
    at first. They are other entries then, but no flow that has one of its own is touched by that.
    """
    ages = {}
    for line in host.dump():
        duration = re.search(r"duration=([\d.]+)s", line)
        text = re.sub(r" (duration|n_packets|n_bytes|idle_age|hard_age)=[^,]*,?", "", line)
        if duration is not None and "cookie=0xf10a2" not in line:
            ages[text] = float(duration[1])
    return ages


def new_flows(host: tap_host.TapHost, load: Load, known: int) -> dict[int, int | None]:
    """Source port -> queue of the flows that began after the first ``known`` ones."""
    entries = host.entries(tap_host.LEARNED)
    ports = {int(entry.match["tp_src"]): entry.learned_queue for entry in entries if "tp_src" in entry.match}
    new = range(load.first_new + known, load.first_new + load.new)
    return {number: queue for number, queue in ports.items() if number in new}


def queues_for_new_flows(host: tap_host.TapHost) -> set[int]:
    """Queues among which the switch spreads what is no other class's, by the group that its standing rule names."""
    (rule,) = (
        entry
        for entry in host.entries(tap_host.STANDING)
        if entry.match.get("metadata") == "0x2/0xffffffff" and entry.match["priority"] == "100"
    )
    number = re.search(r"group:(\d+)", rule.actions)
    assert number is not None, rule
    (group,) = (line for line in host.groups() if f"group_id={number[1]}," in line)
    return {int(value, 0) - 1 for value in re.findall(r"set_field:(\w+)->reg1", group)}


def replaced(before: dict[str, float], after: dict[str, float], seconds: float) -> list[str]:
    """Return entries that are gone, or younger than they would be."""
    gone = [text for text in before if text not in after]
    young = [text for text in before if text in after and after[text] < before[text] + seconds - 10]
    return [*gone, *young]


@pytest.mark.mininet
def test_weights_follow_the_load_with_few_changes_and_move_no_flow_that_is_learned(tmp_path: Path) -> None:
    """On an uplink of 2 Mbit/s, one flow of some 600 kbit/s and many small ones."""
    with tap_host.running(tmp_path, HEAD % (10_000, 1000) + AT_ONCE + PLAIN, rate=2_000_000) as host:
        burst(host, 60)
        host.wait_until_consistent(60)
        before = queues_of(host)
        groups, changes = host.groups(), host.proxy.count("group-mod")
        stop = threading.Event()
        heavy = threading.Thread(target=steady, args=(host, stop.is_set), daemon=True)
        heavy.start()
        try:
            wait_for(
                lambda: weights(host.groups()) != weights(groups), 30, "the weights did not follow the load"
            )
            time.sleep(25)
        finally:
            stop.set()
            heavy.join()
        assert 1 <= host.proxy.count("group-mod") - changes <= 3
        now = queues_of(host)
        assert {port: now[port] for port in before} == before, "a flow that was learned has moved"
        # New flows go by the weights as they are now, and the old ones' packets as before.
        for port in before:
            host.send(1, port)
        time.sleep(1)
        assert {port: queues_of(host)[port] for port in before} == before


def steady(host: tap_host.TapHost, ended: Callable[[], bool]) -> None:
    while not ended():
        host.send(1, 2000, payload=bytes(1400))
        time.sleep(0.018)


def weights(groups: list[str]) -> list[str]:
    return sorted(re.findall(r"weight:(\d+)", " ".join(groups)))


def queues_of(host: tap_host.TapHost) -> dict[int, int | None]:
    """Source port -> queue in the learned entries: pins that balance the load are another matter."""
    entries = host.entries(tap_host.LEARNED)
    return {int(entry.match["tp_src"]): entry.learned_queue for entry in entries if "tp_src" in entry.match}
