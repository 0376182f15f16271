"""M14: a switch that refuses: the cause is found, a fallback is used, REST shows it, nothing loops.

Tables are full because Open vSwitch has a limit of entries (Flow_Table, ovs-vswitchd.conf.db(5)); groups,
meters and its own actions are refused by what stands between the switch and its controller (``between``).
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from lab.inside import proxy, tap_host
from lab.inside.manager import wait_for

POLICY = """
version: 1
default: small
pins: {idle-timeout: 100s}
learn-after: 0
classes:
  small: {}
  backup: {limit: 4Mbit/s}
rules:
  - {name: backup, match: {protocol: udp, dst-port: 873}, class: backup}
"""
BACKUP = 873
ASSIGN, SEEN, SPREAD, OUTPUT = 4, 5, 6, 8
CHANGES = ("flow-mod", "group-mod", "meter-mod")
QUIET = 6.0
"""Seconds that are watched: longer than it takes until weights are looked at again."""


def mods_in(host: tap_host.TapHost, seconds: float = QUIET) -> int:
    """Changes that the controller sends while nothing happens. A change of weights or a move is one or a few."""
    before = host.proxy.count(*CHANGES)
    time.sleep(seconds)
    return host.proxy.count(*CHANGES) - before


def errors_in(host: tap_host.TapHost, seconds: float = QUIET) -> int:
    """Messages that the switch refuses while nothing happens."""
    before = host.proxy.count("error") + len(host.proxy.refused)
    time.sleep(seconds)
    return host.proxy.count("error") + len(host.proxy.refused) - before


def left_out(host: tap_host.TapHost) -> dict[str, str]:
    """What REST says that the device does not get, and why."""
    return {item["what"]: item["why"] for item in host.device()["left_out"]}


@pytest.mark.mininet
def test_a_full_table_of_pins_holds_the_most_valuable(tmp_path: Path) -> None:
    with tap_host.running(tmp_path, POLICY) as host:
        standing = sum(f"table={ASSIGN}," in line for line in host.dump())
        tap_host.limit_table(host.ovs, ASSIGN, standing + 6)
        for number in range(10):
            host.send(1, 3000 + number, BACKUP)
        host.wait_until_consistent(10)
        pins = host.entries(tap_host.PIN)
        assert len(pins) == 6
        assert all(pin.meter for pin in pins)
        # The four others are on their standing rule, with no limit, and REST does not claim one.
        assert sum(item["meter"] is None for item in host.assignments()) == 4
        assert host.device()["pin_budget"] == 6
        assert any("TABLE_FULL" in why for why in left_out(host).values()), left_out(host)
        # What comes now asks for no pin.
        refused = host.proxy.count("error")
        for number in range(10, 20):
            host.send(1, 3000 + number, BACKUP)
        host.wait_until_consistent(20)
        assert host.proxy.count("error") == refused
        assert errors_in(host) == 0


@pytest.mark.mininet
def test_standing_rules_that_do_not_fit_leave_the_general_ones(tmp_path: Path) -> None:
    """Seven entries of table spread are no rules; of the rules' five the one for the uplink's rest counts most."""
    with tap_host.running(tmp_path, POLICY, limits={SPREAD: 9}) as host:
        wait_for(lambda: "standing rule of class backup" in left_out(host), 10, host.manager.log)
        rules = [entry for entry in host.entries(tap_host.STANDING) if "group" in entry.actions]
        assert [rule.match.get("priority") for rule in rules] == ["100"]
        for number in range(8):
            host.send(1, 2000 + number)
            host.send(1, 3000 + number, BACKUP)
        host.wait_until_consistent(16)
        # What the special rule was for is put right by pins.
        limited = [item for item in host.assignments() if item["dst_port"] == BACKUP]
        assert all(item["meter"] and item["pinned"] for item in limited)
        # The entries that mark these pins' meters as ours find no room either: each is tried once, not again.
        assert errors_in(host) <= len(limited)
        assert errors_in(host) == 0


@pytest.mark.mininet
def test_a_full_table_of_learned_flows_loses_no_packet(tmp_path: Path) -> None:
    with tap_host.running(tmp_path, POLICY, limits={SEEN: 6}) as host, tap_host.capturing() as arrived:
        for packet in range(3):
            for number in range(20):
                host.send(1, 2000 + number, payload=b"%d" % packet)
            time.sleep(0.2)
        wait_for(lambda: len(host.assignments()) == 20, 20, host.manager.log)
        assert sum(arrived.wait_for(60).values()) == 60
        assert len(host.entries(tap_host.LEARNED)) <= 6
        # Not in the table: on the queue in the copy, by the group's hash.
        assert {item["queue_id"] for item in host.assignments()} <= {0, 1, 2, 3}
        assert errors_in(host) == 0


@pytest.mark.mininet
def test_a_full_table_of_queues_is_told_and_not_tried_every_time(tmp_path: Path) -> None:
    with tap_host.running(tmp_path, POLICY, limits={OUTPUT: 4}) as host, tap_host.capturing() as arrived:
        wait_for(lambda: "entries of table output" in left_out(host), 10, host.manager.log)
        # Another plan comes every time that the weights change.
        for number in range(20):
            host.send(1, 2000 + number)
        assert sum(arrived.wait_for(20).values()) == 20
        assert errors_in(host, 2 * QUIET) == 0


@pytest.mark.mininet
def test_refused_groups_leave_a_queue_for_each_rule(tmp_path: Path) -> None:
    with tap_host.running(tmp_path, POLICY, refuse=proxy.refuse_groups) as host:
        assert host.groups() == []
        assert len(host.proxy.refused) <= 4
        assert host.device()["refusals"]["group"] == len(host.proxy.refused)
        assert left_out(host)["standing rule of class small"] == "the device has no select groups"
        for number in range(12):
            host.send(1, 2000 + number)
        host.wait_until_consistent(12)
        assert {entry.learned_queue for entry in host.entries(tap_host.LEARNED)} <= {0, 1, 2, 3}
        assert errors_in(host) == 0


@pytest.mark.mininet
def test_refused_meters_leave_flows_without_a_limit_and_say_so(tmp_path: Path) -> None:
    with tap_host.running(tmp_path, POLICY, refuse=proxy.refuse_meters) as host:
        host.send(1, 3000, BACKUP)
        wait_for(lambda: len(host.proxy.refused) > 0, 10, host.manager.log)
        host.wait_until_consistent(1)
        for number in range(1, 8):
            host.send(1, 3000 + number, BACKUP)
        host.wait_until_consistent(8)
        assert [item["meter"] for item in host.assignments()] == [None] * 8
        assert "limits of flows beyond 0 meters" in left_out(host)
        # After the first refusal flows that came later requested none.
        assert len(host.proxy.refused) == 1
        assert errors_in(host) == 0


@pytest.mark.mininet
def test_meter_numbers_that_others_took_are_left_to_them(tmp_path: Path) -> None:
    """Open vSwitch's own refusal: OFPMMFC_METER_EXISTS."""
    with tap_host.running(tmp_path, POLICY) as host:
        host.ovs.ofctl(
            "add-meter", tap_host.BRIDGE, "meter=1,kbps,band=type=drop,rate=77", version=host.version
        )
        host.send(1, 3000, BACKUP)
        host.wait_until_consistent(1)
        wait_for(lambda: "rate=4000" in host.meters(), 5, f"{host.meters()} {host.manager.log}")
        assert "rate=77" in host.meters()
        assert host.device()["refusals"] == {"meter": 1}
        (pin,) = (line for line in host.dump() if "cookie=0xf10a3" in line)
        assert "meter:2," in pin
        assert errors_in(host) == 0


@pytest.mark.mininet
@pytest.mark.parametrize("version", ["OpenFlow13", "OpenFlow15"])
def test_a_switch_without_extensions_pins_every_flow(tmp_path: Path, version: str) -> None:
    """Open vSwitch with its own actions refused: as any switch that knows no more than OpenFlow."""
    with tap_host.running(tmp_path, POLICY, refuse=proxy.refuse_extensions, version=version) as host:
        assert host.device()["mode"] == "all"
        text = "\n".join(host.dump() + host.groups())
        assert "learn" not in text
        assert "resubmit" not in text
        assert "reg1" not in text
        with tap_host.capturing() as arrived:
            for number in range(12):
                host.send(1, 2000 + number)
                host.send(1, 3000 + number, BACKUP)
            host.wait_until_consistent(24)
            assert sum(arrived.wait_for(24).values()) == 24
        assert len(host.entries(tap_host.PIN)) == 24
        assert all(item["meter"] for item in host.assignments() if item["dst_port"] == BACKUP)
        # Only the entries by which learning, tracking and sampling were tried.
        assert len(host.proxy.refused) == 3
        assert errors_in(host) == 0
