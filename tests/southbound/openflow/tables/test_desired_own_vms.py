"""A device's tables have the rules for its own VMs, at any number of hosts."""

from __future__ import annotations

import pytest
from bench.controller.added_vm import OVS
from support.engine.scenario import small_policy

from flowlane.core import events as ev
from flowlane.core.engine import Engine
from flowlane.core.model import PortFacts, PortReport, QueueFacts
from flowlane.core.policy import LimitScope, Match, Rule, TrafficClass, VmSelector
from flowlane.southbound.openflow.tables.desired import compile_plan

VMS_PER_HOST, UPLINK, QUEUES = 10, 100, (0, 1, 2, 3)
POLICY = small_policy(
    classes=(
        TrafficClass("small", 0),
        TrafficClass("tenant", 1),
        TrafficClass("slow", 2, rate_limit=1_000_000, limit_scope=LimitScope.VM),
    ),
    rules=(
        Rule("tenant", 0, Match(vms=VmSelector(("vm-*",)), dst_ports=((443, 443),)), 1),
        Rule("slow", 1, Match(vms=VmSelector(("vm-*-1",)), dst_ports=((873, 873),)), 2),
    ),
    gates=(),
)


def entries(hosts: int) -> tuple[int, list[str]]:
    """The entries of the first of so many hosts, and what it does not get."""
    engine = Engine(POLICY)
    for dpid in range(1, hosts + 1):
        facts = {
            n: PortFacts(
                f"tap{n}", {"iface-id": f"vm-{dpid}-{n}", "attached-mac": f"02:00:00:00:{dpid:02x}:{n:02x}"}
            )
            for n in range(1, VMS_PER_HOST + 1)
        }
        facts[UPLINK] = PortFacts(
            "eth0", {"flowlane-port": "uplink"}, queues={n: QueueFacts() for n in QUEUES}
        )
        engine.step_and_catch_up(ev.DeviceDescribed(dpid, f"br-{dpid}", "nic", {}, "system", facts), 1.0)
        reports = tuple(PortReport(number, port.name) for number, port in facts.items())
        engine.step_and_catch_up(ev.DeviceUp(dpid, OVS, reports, {UPLINK: QUEUES}), 1.0)
    plan = engine.devices[1].plan
    assert plan is not None
    compiled = compile_plan(plan, OVS, {port.port_no: port.queues for port in plan.ports})
    standing = compiled.standing
    left_out = [item.what for item in (*engine.devices[1].left_out, *compiled.left_out)]
    return len(standing.flows) + len(standing.groups) + len(standing.meters), left_out


@pytest.mark.parametrize("hosts", [10, 100])
def test_as_many_entries_as_on_one_host(hosts: int) -> None:
    alone, nothing = entries(1)
    assert entries(hosts) == (alone, nothing)
    assert nothing == []
