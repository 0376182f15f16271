"""The os-ken app: its guard in process, and all of it as a process on a real Open vSwitch."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from lab.inside import private_ovs
from lab.inside.dump_flows import read_entry
from lab.inside.manager import Launched, launched, wait_for
from lab.inside.private_ovs import PrivateOvs
from os_ken.controller import ofp_event
from os_ken.controller.handler import MAIN_DISPATCHER

from flowlane import app, hub
from flowlane.errors import ProtocolError

DPID = 0x42
VERSIONS = ("OpenFlow13", "OpenFlow14", "OpenFlow15")
TABLES = tuple(f"table={number}" for number in range(9))
TALK = 9
"""Packets of a flow: enough for an entry of its own, whether or not the device counts young flows."""
ADDRESSES = {1: "02:00:00:00:00:01", 2: "02:00:00:00:00:02"}


def broken(_app: Any, _event: Any) -> None:
    raise ValueError("a mistake of ours")


@pytest.mark.parametrize("by_message", [True, False])
def test_exception_in_a_handler_costs_one_connection(by_message: bool) -> None:
    closed: list[str] = []
    faults: list[str] = []
    datapath = SimpleNamespace(close=lambda: closed.append("closed"))
    event = (
        SimpleNamespace(msg=SimpleNamespace(datapath=datapath))
        if by_message
        else SimpleNamespace(datapath=datapath)
    )
    flowlane = SimpleNamespace(composition=SimpleNamespace(fault=faults.append), worked=lambda _seconds: None)
    handler: Callable[[Any, Any], None] = app.on(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)(broken)
    handler(flowlane, event)
    hub.sleep()
    assert (closed, faults) == (["closed"], ["SimpleNamespace"])


def unreadable(_app: Any, _event: Any) -> None:
    raise ProtocolError("OFPFlowStatsReply cannot be read")


def test_a_message_that_cannot_be_read_costs_its_connection_and_is_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed: list[str] = []
    faults: list[str] = []
    datapath = SimpleNamespace(close=lambda: closed.append("closed"), address=("192.0.2.7", 1))
    flowlane = SimpleNamespace(composition=SimpleNamespace(fault=faults.append), worked=lambda _seconds: None)
    app.on(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)(unreadable)(
        flowlane, SimpleNamespace(msg=SimpleNamespace(datapath=datapath))
    )
    hub.sleep()
    assert (closed, faults) == (["closed"], [])
    assert "switch at 192.0.2.7:1: OFPFlowStatsReply cannot be read; connection closed" in caplog.text


def test_every_handler_is_guarded() -> None:
    """os-ken finds handlers by a mark on them; each must be marked through the guard."""
    handlers = [value for value in vars(app.Flowlane).values() if hasattr(value, "callers")]
    assert len(handlers) >= 8
    assert all(handler.__code__.co_name == "guarded" for handler in handlers)


@contextmanager
def controlled(
    ovs: PrivateOvs, version: str, bridge: str = "br0", ports: tuple[str, ...] = ("p1", "p2")
) -> Iterator[Launched]:
    """A controller on a bridge of its own; both are gone afterwards."""
    with launched(f"--ovsdb={ovs.database}") as manager:
        ovs.add_bridge(
            bridge, ports, dpid=DPID, controller=f"tcp:127.0.0.1:{manager.openflow_port}", versions=version
        )
        ovs.vsctl("set", "Controller", bridge, "max_backoff=1000")
        try:
            wait_for(lambda: is_programmed(ovs, bridge, version), 20, manager.log)
            yield manager
        finally:
            ovs.vsctl("del-br", bridge)


def is_programmed(ovs: PrivateOvs, bridge: str, version: str) -> bool:
    return all(table in ovs.ofctl("dump-flows", bridge, version=version) for table in TABLES)


def device(manager: Launched) -> Any:
    return manager.rest(f"/v1/devices/{DPID:016x}")


def talk(ovs: PrivateOvs, source: int, destination: int, port: int = 1000) -> None:
    """One TCP packet of a host on a dummy port to the host on another."""
    ovs.receive(
        f"p{source}",
        f"in_port({source}),eth(src={ADDRESSES[source]},dst={ADDRESSES[destination]}),eth_type(0x0800),"
        f"ipv4(src=10.0.0.{source},dst=10.0.0.{destination},proto=6,tos=0,ttl=64,frag=no),"
        f"tcp(src={port},dst=80),tcp_flags(0x002)",
        200,
    )


def announce(ovs: PrivateOvs, source: int) -> None:
    """A host asks for the other by ARP, as hosts do first: so it becomes known where it is."""
    ovs.receive(
        f"p{source}",
        f"in_port({source}),eth(src={ADDRESSES[source]},dst=ff:ff:ff:ff:ff:ff),eth_type(0x0806),"
        f"arp(sip=10.0.0.{source},tip=10.0.0.{3 - source},op=1,sha={ADDRESSES[source]},tha=00:00:00:00:00:00)",
    )


def meet(ovs: PrivateOvs, version: str) -> None:
    """Both hosts become known, and send each other some packets."""
    for host in (1, 2):
        announce(ovs, host)
    known = "priority=1000,dl_dst=02:00:"
    wait_for(
        lambda: ovs.ofctl("dump-flows", "br0", "table=1", version=version).count(known) == 2, 10, "hosts"
    )
    for _ in range(TALK):
        talk(ovs, 2, 1)
        talk(ovs, 1, 2)


def learned(ovs: PrivateOvs, version: str) -> list[str]:
    """Entries of single TCP flows: here those that the switch learned itself, for no flow needs a pin."""
    text = ovs.ofctl("dump-flows", "br0", version=version)
    assert "cookie=0xf10a3" not in text
    return [line for line in text.splitlines() if line.startswith(" cookie=0xf10a4") and ",tcp," in line]


def tcp_flows(manager: Launched) -> list[Any]:
    """The assignments of TCP flows; the hosts' ARP is listed too."""
    return [item for item in manager.rest("/v1/assignments")["items"] if item["protocol"] == "tcp"]


@pytest.mark.ovs
@pytest.mark.parametrize("version", VERSIONS)
def test_device_is_known_programmed_and_followed(ovs: PrivateOvs, version: str) -> None:
    with controlled(ovs, version) as manager:
        found = device(manager)
        assert found["connected"]
        assert found["version"] == f"1.{int(version[-1])}"
        assert found["name"] == "br0"
        assert {"p1", "p2"} <= {port["name"] for port in found["ports"]}
        # A dummy device reports queue 0 and no other.
        assert {port["name"]: port["queues"] for port in found["ports"]}["p1"] == [0]
        assert found["capabilities"]["max_meters"] > 0
        assert found["capabilities"]["select_groups"]
        assert found["refusals"] == {}
        ovs.add_port("br0", "p9", 9)
        wait_for(lambda: "p9" in [port["name"] for port in device(manager)["ports"]])
        wait_for(lambda: "metadata=0x9/" in ovs.ofctl("dump-flows", "br0", "table=8", version=version))
        ovs.vsctl("del-port", "br0", "p9")
        wait_for(lambda: "p9" not in [port["name"] for port in device(manager)["ports"]])
        wait_for(lambda: "output:9" not in ovs.ofctl("dump-flows", "br0", version=version))
        assert "Traceback" not in manager.log


@pytest.mark.ovs
@pytest.mark.parametrize("version", VERSIONS)
def test_flow_is_learnt_and_forgotten(version: str) -> None:
    """On a switch of its own: its clock is moved, so that nobody waits for the idle timeout."""
    with private_ovs.running() as ovs, controlled(ovs, version) as manager:
        meet(ovs, version)
        wait_for(lambda: len(learned(ovs, version)) == 2, 10, manager.log)
        assert [item["queue_id"] for item in tcp_flows(manager)] == [0, 0]
        assert [read_entry(entry).learned_queue for entry in learned(ovs, version)] == [0, 0]
        idle = int(re.findall(r"idle_timeout=(\d+)", learned(ovs, version)[0])[0])
        ovs.appctl("time/stop")
        ovs.appctl("time/warp", str(1000 * (idle + 2)), "1000")
        wait_for(lambda: manager.rest("/v1/flows")["items"] == [], idle + 20, manager.log)
        assert learned(ovs, version) == []


@pytest.mark.ovs
def test_metrics_count_what_the_switch_logs() -> None:
    """The judge is Open vSwitch's own log of the messages that it receives and sends (its module vconn)."""
    version = VERSIONS[-1]
    with private_ovs.running() as ovs:
        ovs.appctl("vlog/set", "vconn:console:dbg")
        ovs.appctl("vlog/disable-rate-limit", "vconn")
        with controlled(ovs, version) as manager:
            meet(ovs, version)
            wait_for(lambda: len(learned(ovs, version)) == 2, 10, manager.log)
            log = ovs.directory / "ovs-vswitchd.log"

            def logged(what: str) -> int:
                return len(re.findall(rf"tcp:127\.0\.0\.1:\d+: {what}", log.read_text()))

            def agree() -> bool:
                read = metrics(manager)
                mods = sum(
                    value for key, value in read.items() if key.startswith("flowlane_flow_mods_total{")
                )
                seen = (
                    logged("received: OFPT_(FLOW|GROUP|METER)_MOD"),
                    logged(r"sent \(Success\): OFPT_PACKET_IN"),
                )
                return (mods, read[f"flowlane_packet_ins_total{{{BRIDGE}}}"]) == seen and min(seen) > 3

            wait_for(agree, 10, manager.log)
            read = metrics(manager)
            assert (
                read["flowlane_decision_duration_seconds_count"]
                == read[f"flowlane_packet_ins_total{{{BRIDGE}}}"]
            )
            assert read[f"flowlane_flows{{{BRIDGE}}}"] == len(manager.rest("/v1/flows")["items"])
            assert read[f"flowlane_device_connected{{{BRIDGE}}}"] == 1
            assert read["flowlane_hub_lag_seconds_count"] > 0


BRIDGE = f'device="{DPID:016x}",name="br0"'


def metrics(manager: Launched) -> dict[str, float]:
    """What GET /metrics has: a series, as it is written -> its value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{manager.rest_port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")
    }


@pytest.mark.ovs
@pytest.mark.parametrize("version", (VERSIONS[0], VERSIONS[-1]))
def test_controller_that_comes_back_touches_nothing_that_is_right(ovs: PrivateOvs, version: str) -> None:
    with controlled(ovs, version) as manager:
        port = manager.openflow_port
        meet(ovs, version)
        wait_for(lambda: len(learned(ovs, version)) == 2, 10, manager.log)
        before = entries(ovs, version)
        assert manager.stop()[0] == 0
        assert entries(ovs, version) == before
        stopped = time.monotonic()
        with launched(f"--ovsdb={ovs.database}", f"--ofp-tcp-listen-port={port}") as again:
            wait_for(lambda: keeps_talking(ovs) and "is connected" in again.log, 30, again.log)
            wait_for(lambda: len(tcp_flows(again)) == 2, 10, again.log)
            assert entries(ovs, version) == before
            assert min(ages(ovs, version)) > time.monotonic() - stopped


def keeps_talking(ovs: PrivateOvs) -> bool:
    """Both flows send a packet, so that they do not idle out while their controller is away."""
    talk(ovs, 1, 2)
    talk(ovs, 2, 1)
    return True


def ages(ovs: PrivateOvs, version: str) -> list[float]:
    """Seconds that each entry has stood there."""
    text = ovs.ofctl("dump-flows", "br0", version=version)
    return [float(age) for age in re.findall(r"duration=([\d.]+)s", text)]


def entries(ovs: PrivateOvs, version: str) -> list[str]:
    """All entries without their counters and ages; where the hosts are is learnt anew, and their ARP idles out."""
    text = ovs.ofctl("dump-flows", "br0", version=version)
    lines = [
        line
        for line in text.splitlines()
        if "cookie" in line and not re.search("dl_dst=02|0xf10a4.*,arp,", line)
    ]
    return sorted(
        re.sub(r" (duration|n_packets|n_bytes|idle_age|hard_age)=[^,]*,", "", line) for line in lines
    )


@pytest.mark.mininet
def test_queues_that_go_are_named_by_nothing_and_those_that_come_are_used() -> None:
    """On tap devices, whose queues are those of their QoS row."""
    version = VERSIONS[0]
    with private_ovs.running(system=True) as ovs:
        ovs_ports = ("fla-p1", "fla-p2", "fla-up")
        with controlled(ovs, version, "fla-br", ovs_ports) as manager:
            ovs.set_queues("fla-up", {number: {} for number in range(4)})
            wait_for(lambda: named_queues(ovs, version) == {0, 1, 2, 3}, 5, manager.log)
            rows = ovs.vsctl("get", "Port", "fla-up", "qos").strip()
            ovs.vsctl("remove", "QoS", rows, "queues", "2", "3")
            wait_for(lambda: named_queues(ovs, version) == {0, 1}, 5, manager.log)
            ovs.vsctl(
                "--id=@q", "create", "Queue", "external_ids:n=7", "--", "set", "QoS", rows, "queues:7=@q"
            )
            wait_for(lambda: named_queues(ovs, version) == {0, 1, 7}, 5, manager.log)


def named_queues(ovs: PrivateOvs, version: str) -> set[int]:
    """Every queue id that any entry of the device names."""
    texts = [ovs.ofctl(command, "fla-br", version=version) for command in ("dump-flows", "dump-groups")]
    return {int(number) for text in texts for number in re.findall(r"set_queue:(\d+)", text)}
