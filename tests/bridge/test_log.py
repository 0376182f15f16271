"""The log of a controller with a real switch and a real database: what is in force, decisions, connections."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lab.inside.manager import Launched, launched, wait_for
from lab.inside.private_ovs import PrivateOvs
from support.openflow import messages
from support.openflow.raw_switch import RawSwitch
from support.ovs.frames import ether, ipv4, mac, udp

pytestmark = pytest.mark.ovs

BRIDGE, DPID = "logged", 0x4C06
HOSTILE = "vm\x1b[2J\n2026 INFO forged \u202e"
"""The name of a VM, as somebody may write it into OVSDB."""


class Running(NamedTuple):
    ovs: PrivateOvs
    manager: Launched
    policy: Path

    def records(self, **wanted: str) -> list[dict[str, Any]]:
        """The records of the log with these values."""
        found: list[dict[str, Any]] = [json.loads(line) for line in self.manager.log.splitlines()]
        return [record for record in found if wanted.items() <= record.items()]

    def said(self, start: str, level: str) -> list[dict[str, Any]]:
        return [record for record in self.records(level=level) if record["message"].startswith(start)]

    def send(self, port: int) -> None:
        """Have the VM send a packet of a flow of its own."""
        frame = ether(mac(9), mac(1), 0x800, ipv4(1, 9, 17, udp(port, 53)))
        self.ovs.control("netdev-dummy/receive", "logged-vm", frame.hex())

    def flows(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.manager.rest("/v1/flows?limit=1000")["items"]
        return items


@pytest.fixture(scope="module")
def on(ovs: PrivateOvs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    policy = tmp_path_factory.mktemp("policy") / "mine.yaml"
    policy.write_text("version: 1\nclasses:\n  heavy: {priority: 1}\nlearn-after: 0\n")
    options = f"--ovsdb={ovs.database}", f"--policy={policy}", "--log-format=json", "--verbose"
    with launched(*options) as manager:
        target = f"tcp:127.0.0.1:{manager.openflow_port}"
        with ovs.together():
            ovs.add_bridge(BRIDGE, ("logged-vm", "logged-up"), dpid=DPID, controller=target)
            ovs.vsctl("set", "interface", "logged-up", "external_ids:flowlane-port=uplink")
            quoted = json.dumps(HOSTILE, ensure_ascii=False)
            ovs.vsctl("set", "interface", "logged-vm", f"external_ids:iface-id={quoted}")
        wait_for(lambda: HOSTILE in [vm["id"] for vm in manager.rest("/v1/vms")["items"]], 20)
        wait_for(lambda: "table=8" in ovs.ofctl("dump-flows", BRIDGE), 20)
        yield Running(ovs, manager, policy)


def test_at_start_it_says_what_is_in_force(on: Running) -> None:
    (policy,) = on.said("policy in force: ", "info")
    assert f" {on.policy} " in policy["message"]
    assert policy["message"].endswith(", 2 classes, 0 rules")
    assert policy["fields"]["hash"] == hashlib.sha256(on.policy.read_bytes()).hexdigest()
    assert policy["fields"]["hash"].startswith(policy["message"].split()[-5].strip(","))
    assert len(on.said("Flowlane 0.", "info")) == 1
    assert len(on.said(f"listening for switches on 127.0.0.1 port {on.manager.openflow_port}", "info")) == 1
    assert len(on.said(f"REST on http://127.0.0.1:{on.manager.rest_port}/", "info")) == 1
    (databases,) = on.said("1 database: ", "info")
    assert databases["fields"] == {"databases": [on.ovs.database]}


def test_every_line_is_an_object_with_the_same_keys(on: Running) -> None:
    records = on.records()
    assert len(records) > 20
    assert {tuple(record) for record in records} == {("time", "level", "logger", "message", "fields")}
    assert on.manager.log.isascii()


def test_each_decision_is_a_line_with_the_id_of_rest(on: Running) -> None:
    before = {flow["id"] for flow in on.flows()}
    on.send(1000)
    wait_for(lambda: len(on.flows()) == len(before) + 1)
    (flow,) = [flow for flow in on.flows() if flow["id"] not in before]
    decisions = [
        record for record in on.records(logger="flowlane.decisions") if record["fields"]["flow"] == flow["id"]
    ]
    assert [record["fields"]["change"] for record in decisions] == ["seen", "assigned"]
    assert {record["level"] for record in decisions} == {"debug"}
    assert all(record["message"].startswith(f"flow {flow['id']} on {BRIDGE}: ") for record in decisions)
    assert decisions[1]["fields"]["reason"] == flow["assignments"][0]["reason"]
    assert decisions[1]["fields"]["vm"] == flow["vm"] == HOSTILE


def test_packets_are_no_information(on: Running) -> None:
    def shown() -> list[str]:
        return [record["message"] for record in on.records() if record["level"] != "debug"]

    before, count = shown(), len(on.flows())
    for port in range(2000, 2030):
        on.send(port)
    wait_for(lambda: len(on.flows()) == count + 30)
    assert shown() == before


def test_a_connection_is_lost_once_and_found_once(on: Running) -> None:
    name = f"{BRIDGE} ({DPID:016x})"
    found = len(on.said(f"{name} is connected from ", "info"))
    assert (found, on.said(f"{name} is gone", "warning")) == (1, [])
    on.ovs.vsctl("set-controller", BRIDGE, "tcp:127.0.0.1:1")
    wait_for(lambda: on.said(f"{name} is gone: its connection has ended", "warning") != [], 20)
    on.ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{on.manager.openflow_port}")
    wait_for(lambda: len(on.said(f"{name} is connected from ", "info")) == 2, 20)
    assert len(on.said(f"{name} is gone", "warning")) == 1
    about = [record for record in on.records() if f"{DPID:016x}" in record["message"]]
    shown = [record["message"] for record in about if record["level"] != "debug"]
    assert len([text for text in shown if "connect" in text]) == 3, shown


def test_a_peer_that_is_refused_again_and_again_is_one_line(on: Running) -> None:
    def refused() -> list[str]:
        shown = [record for record in on.records() if record["level"] in ("warning", "error")]
        return [record["message"] for record in shown if "127.0.0.1" in record["message"]]

    before = refused()
    for _ in range(3):
        with RawSwitch(on.manager.openflow_port) as peer:
            peer.send(messages.hello(1, b""))
            assert peer.is_closed()
    wait_for(lambda: on.manager.rest("/v1/status")["ready"])
    assert len(refused()) == len(before) + 1
    assert "version" in refused()[-1]


def test_a_database_is_lost_once_and_found_once(on: Running) -> None:
    """The last test of the module: its Open vSwitch has no database for a while."""
    name = f"database {on.ovs.database}"
    assert len(on.said(f"{name}: synchronized: ", "info")) == 1
    server = on.ovs._daemons[0]
    server.terminate()
    server.wait(10)
    wait_for(lambda: on.manager.rest("/v1/databases")["items"][0]["state"] == "connecting", 20)
    wait_for(lambda: len(on.said(f"{name}: ", "debug")) >= 1, 20)
    (lost,) = on.said(f"{name}: ", "warning")
    assert "connection" in lost["message"] or "database" in lost["message"]
    (on.ovs.directory / "db.sock").unlink(missing_ok=True)
    on.ovs._daemons.pop(0)
    options = f"--remote=punix:{on.ovs.directory}/db.sock", f"--unixctl={on.ovs.directory}/ovsdb.ctl"
    on.ovs._spawn("ovsdb-server", f"{on.ovs.directory}/conf.db", *options)
    wait_for(lambda: len(on.said(f"{name}: synchronized again: ", "info")) == 1, 30)
    assert len(on.said(f"{name}: ", "warning")) == 1
