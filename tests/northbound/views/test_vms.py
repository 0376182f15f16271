"""VMs in REST and on the command line: the ports that claim one, conflicts, NICs of one VM."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.engine.controller import FakeController
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy
from webob import Request

from flowlane.cli.list_command import _notes
from flowlane.cli.lists import DEVICES, VMS
from flowlane.core.model import HintSource
from flowlane.core.policy import Match, Rule, Trust, VmSelector
from flowlane.northbound.app import make_app

UUID = "5e0f0c5a-1111-4222-8333-444455556666"
MAC = "02:00:00:00:00:01"
IDS = {
    1: {"iface-id": "nic1", "vm-uuid": UUID, "attached-mac": MAC},
    2: {"iface-id": "nic2", "vm-uuid": UUID, "attached-mac": "02:00:00:00:00:02"},
    3: {"iface-id": "same", "attached-mac": MAC},
    4: {"iface-id": "twice"},
    5: {"iface-id": "twice"},
}
TRUST = Trust(VmSelector(), frozenset((HintSource.REST,)), frozenset((1,)))


@pytest.fixture
def scenario() -> Scenario:
    made = Scenario(small_policy(trust=(TRUST,), gates=(), rules=()))
    made.describe(4, ids=IDS)
    return made


def ask(scenario: Scenario, path: str, method: str = "GET", **options: Any) -> Any:
    controller = FakeController(scenario.engine)
    controller.now = scenario.now
    answer = Request.blank(path, method=method, **options).get_response(make_app(controller))
    assert answer.status_code in (200, 204, 404), answer.text
    return answer.json if answer.body else None


def test_the_ports_that_claim_a_vm(scenario: Scenario) -> None:
    shown = ask(scenario, "/v1/vms/twice")
    assert shown["port"] == "pf0vf4"
    assert [(claim["port"], claim["state"], claim["sign"]) for claim in shown["claims"]] == [
        ("pf0vf4", "current", "row"),
        ("pf0vf5", "waiting", "row"),
    ]
    assert {claim["device"] for claim in shown["claims"]} == {f"{DPID:016x}"}
    scenario.flow(4, 1000)
    first = ask(scenario, "/v1/vms/twice")["claims"][0]
    assert first["sign"] == "packet"
    assert first["seen"] >= first["since"]


def test_conflicts(scenario: Scenario) -> None:
    shown = {vm["id"]: vm for vm in ask(scenario, "/v1/vms")["items"]}
    holder = shown["same"]["conflicts"][0]["holder"]
    assert holder in ("nic1", "same"), "both came together"
    assert shown["nic1"]["conflicts"] == [
        {"what": "address", "key": MAC, "others": ["same"], "holder": holder}
    ]
    assert shown["same"]["conflicts"][0]["others"] == ["nic1"]
    assert shown["nic2"]["conflicts"] == []
    assert _notes(shown["nic1"]) == [f"pf0vf1: {MAC} is claimed by same, too; {holder} has it"]
    device = ask(scenario, f"/v1/devices/{DPID:016x}")
    assert device["vms_in_conflict"] == ["nic1", "same"]
    cells = {column.head: column.read(device) for column in DEVICES.columns}
    assert cells["PROBLEMS"].startswith("2 VMs in conflict")
    cells = {column.head: column.read(shown["twice"]) for column in VMS.columns}
    assert cells["ALSO AT"] == "br-int/pf0vf5 (waiting)"


def test_nics_of_one_vm(scenario: Scenario) -> None:
    shown = {vm["id"]: vm for vm in ask(scenario, "/v1/vms")["items"]}
    assert [shown[name]["vm_uuid"] for name in ("nic1", "nic2", "same")] == [UUID, UUID, None]
    assert [shown[name]["nics"] for name in ("nic1", "nic2", "same")] == [["nic1", "nic2"]] * 2 + [["same"]]
    for port in (1, 2, 3):
        scenario.flow(port, 1000 + port)
    assert {flow["vm"] for flow in ask(scenario, f"/v1/flows?vm={UUID}")["items"]} == {"nic1", "nic2"}
    assert "2 VMs have the vm-uuid" in ask(scenario, f"/v1/vms/{UUID}")["detail"]


def test_hints_for_all_nics(scenario: Scenario) -> None:
    rows = [scenario.flow(port, 1000 + port) for port in (1, 2, 3)]
    body = json.dumps({"hints": [{"class": "heavy"}]}).encode()
    given = ask(scenario, f"/v1/vms/{UUID}/hints", "PUT", body=body, content_type="application/json")
    assert given["vm"] == UUID
    assert [scenario.class_of(row) for row in rows] == ["heavy", "heavy", "small"]
    assert ask(scenario, "/v1/vms/nic2")["hints"] == 1
    later = scenario.flow(2, 2000)
    assert scenario.class_of(later) == "heavy"
    ask(scenario, f"/v1/vms/{UUID}/hints", "DELETE")
    assert [scenario.class_of(row) for row in (*rows, later)] == ["small"] * 4


def test_a_rule_on_a_vm_uuid_selects_its_nics() -> None:
    scenario = Scenario(small_policy(rules=(Rule("uuid", 0, Match(vms=VmSelector((UUID,))), 2),), gates=()))
    scenario.describe(4, ids=IDS)
    rows = [scenario.flow(port, 1000 + port, egress=UPLINK) for port in (1, 2, 3)]
    assert [scenario.class_of(row) for row in rows] == ["limited", "limited", "small"]


def test_a_vm_beyond_its_quota_is_shown_in_rest_on_the_command_line_and_in_the_metrics() -> None:
    there = Scenario(small_policy(copy_rate=100, vm_flows=10), caps=LEARNING)
    there.now += 10
    there.tick()
    for sport in range(1000, 1020):
        there.flow(3, sport, queue_id=1)
    there.tick()
    (vm,) = (item for item in ask(there, "/v1/vms")["items"] if item["port_no"] == 3)
    (quota,) = vm["quota"]
    assert (quota["device"], quota["excess"], quota["times"]) == (f"{DPID:016x}", "flows", 1)
    assert quota["since"] < quota["until"]
    (note,) = _notes(vm)
    assert note.startswith(f"{vm['name']} is beyond its quota of flows on {DPID:016x}")
    text = Request.blank("/metrics").get_response(make_app(FakeController(there.engine))).text
    labels = f'device="{DPID:016x}",name="br-int",vm="{vm["id"]}"'
    assert f"flowlane_vm_beyond_quota{{{labels}}} 1" in text
    assert f"flowlane_vm_quota_exceeded_total{{{labels}}} 1" in text
    others = [item["quota"] for item in ask(there, "/v1/vms")["items"] if item["port_no"] != 3]
    assert others == [[]] * 7
