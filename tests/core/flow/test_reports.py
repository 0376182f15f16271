"""Events are complete, whether or not anybody reads them: from its first packet to its end, each flow's story."""

from __future__ import annotations

import pytest
from support.engine.scenario import ABLE, DPID, LEARNING, UPLINK, Scenario

from flowlane.core import events as ev
from flowlane.core.effects import FlowReport, Report
from flowlane.core.model import NO_QUEUE, Capabilities, HintSource, PortReport, Reason


def story(scenario: Scenario, row_key: bytes) -> list[str]:
    return [report.change for report in scenario.flow_reports if report.key == row_key]


def of_kind(scenario: Scenario, kind: str) -> list[Report]:
    return [report for report in scenario.reports if report.kind == kind]


@pytest.mark.parametrize("caps", [ABLE, LEARNING], ids=["all pinned", "learning"])
def test_the_reports_of_a_flow_lead_from_queue_to_queue(caps: Capabilities) -> None:
    scenario = Scenario(queues=4, caps=caps)
    rows = [scenario.flow(1 + n % 8, 1000 + n, queue_id=n % 4) for n in range(24)]
    keys = [scenario.device.flows.keys[row] or b"" for row in rows]
    scenario.send({row: 11_000_000 + row * 50_000 for row in rows}, 20)
    scenario.do(ev.QueuesReported(DPID, {UPLINK: (0, 1)}))
    scenario.send({row: 11_000_000 + row * 50_000 for row in rows}, 20)
    for row, key in zip(rows, keys, strict=True):
        queue_id, meter_id, reason = NO_QUEUE, 0, int(Reason.UNPLACED)
        for report in scenario.flow_reports:
            if report.key == key and report.change in ("assigned", "changed", "moved"):
                if report.change == "moved":
                    assert report.old_queue_id == queue_id != report.queue_id
                queue_id, meter_id, reason = report.queue_id, report.meter_id, report.reason
        flows = scenario.device.flows
        assert (queue_id, meter_id) == (flows.queue_id[row], flows.meter_id[row])
        assert Reason(reason) in (Reason(flows.reason[row]), Reason.QUEUE_GONE)
        assert story(scenario, key)[:2] == ["seen", "assigned"]
    assert {report.class_name for report in scenario.flow_reports if report.change == "reclassified"}
    scenario.end(rows[0])
    assert story(scenario, keys[0])[-1] == "ended"
    assert all(report.why for report in scenario.flow_reports if report.kind == "flow")


def test_queues_that_come_and_go_are_reported() -> None:
    scenario = Scenario(queues=4)
    scenario.do(ev.QueuesReported(DPID, {UPLINK: (0, 1)}))
    scenario.do(ev.QueuesReported(DPID, {UPLINK: (0, 1, 3)}))
    found = [(report.data["change"], report.data["queues"]) for report in of_kind(scenario, "queue")]
    assert found == [("added", [0, 1, 2, 3]), ("removed", [2, 3]), ("added", [3])]


def test_exclusive_queues_are_reported_as_they_are_given_and_shared_again() -> None:
    scenario = Scenario(queues=8)
    rows = [scenario.flow(n % 8 + 1, 2000 + n) for n in range(3)]
    scenario.send(dict.fromkeys(rows, 40_000_000), 20)
    exclusive = {row for row in rows if scenario.device.flows.reason[row] == Reason.EXCLUSIVE}
    for row in rows:
        scenario.end(row)
    count = dict.fromkeys(("exclusive", "shared"), 0)
    for report in of_kind(scenario, "queue"):
        if report.data["change"] in count:
            count[str(report.data["change"])] += 1
    assert exclusive
    assert count["exclusive"] == count["shared"] >= len(exclusive)


def test_ports_and_hints_of_the_database_are_reported() -> None:
    scenario = Scenario()
    scenario.do(ev.PortChanged(DPID, PortReport(1, "pf0vf1", up=False)))
    scenario.do(ev.PortChanged(DPID, PortReport(1, "pf0vf1")))
    scenario.do(ev.PortChanged(DPID, PortReport(50, "tap50")))
    scenario.do(ev.PortRemoved(DPID, 50))
    changes = [report.data["change"] for report in of_kind(scenario, "device")]
    assert changes == ["up", "port-down", "port-up", "port-added", "port-removed"]
    scenario.describe(4, ids={1: {"iface-id": "vm1", "flowlane-class": "heavy"}})
    scenario.describe(4, ids={1: {"iface-id": "vm1"}})
    hints = [(report.data["change"], report.data["source"]) for report in of_kind(scenario, "hint")]
    source = HintSource.OVSDB.name.lower()
    assert hints == [("given", source), ("withdrawn", source)]


def test_flows_that_end_with_their_port_or_their_vm_are_reported() -> None:
    scenario = Scenario()
    key = scenario.device.flows.keys[scenario.flow(1, 1000)]
    scenario.do(ev.PortRemoved(DPID, 1))
    (report,) = [one for one in scenario.flow_reports if one.key == key and one.change == "ended"]
    assert isinstance(report, FlowReport)
    assert report.why == "its VM has moved or is gone"
