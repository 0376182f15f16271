"""Requirements that reach a switch, on a real Open vSwitch with four queues: M1, M2, M4, M5, M6, M7, M10 and M12.

Judged by ``ovs-ofctl``: what the switch holds of each flow, which meters it has, and whether REST says the same.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from lab.inside import compare
from lab.inside.manager import wait_for
from support.hosts.ovs_host import BRIDGE, Flow, OvsHost, running

VMS = ("trusted", "doubted")
EF = 46
ENOUGH = 12
"""Packets of a flow for which the device keeps an entry: more than `learn-after`."""

POLICY = """
version: 1
default: small
classes:
  small: {queues: shared}
  voice: {priority: 5, min-queues: 1, max-queues: 1}
  backup: {limit: 4Mbit/s, alike: [rate-limit], max-queues: 1}
  names: {limit: 800kbit/s, burst: 40kB, limit-scope: class}
rules:
  - {name: backup, match: {protocol: tcp, dst-port: 873}, class: backup}
  - {name: names, match: {protocol: tcp, dst-port: 53}, class: names}
  - {name: marked voice, match: {hint: voice}, class: voice}
trust:
  - {vm: trusted, sources: [dscp], classes: voice, dscp: {ef: voice}}
"""

ALTERED = (
    POLICY
    + """
devices:
  - {match: {name: "flr-*"}, change: {backup: {limit: 2Mbit/s}}}
"""
)


@pytest.fixture(scope="module", params=["OpenFlow13", "OpenFlow15"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OvsHost]:
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(POLICY)
    with running(VMS, policy, version=request.param) as ovs_host:
        yield ovs_host


@pytest.mark.mininet
def test_what_the_switch_holds_is_what_the_requirements_ask(host: OvsHost) -> None:
    for vm in VMS:
        for flow in range(12):
            host.send(Flow(vm, 2000 + flow), ENOUGH)
        host.send(Flow(vm, 3000, dst_port=873), ENOUGH)
        host.send(Flow(vm, 4000, dscp=EF), ENOUGH)
    wait_for(lambda: host.differences(28) == [], 15, str(host.differences(28)))
    items = host.assignments()
    # M1: the VMs are known by their identities.
    assert {item["vm"] for item in items} == set(VMS)
    # M5, M6, M7: 28 flows on four physical queues, several on each.
    assert {item["kind"] for item in items} == {"physical"}
    assert {item["queue_id"] for item in items} <= {0, 1, 2, 3}
    # M4: each has the class that its port, or its mark, gives it; the limited ones are pinned to it with meters.
    classes = {(item["class"], item["dst_port"]) for item in items if item["src_port"] < 4000}
    assert classes == {("small", 80), ("backup", 873)}
    # M10: each limited flow has a meter of its own in the switch, and they share a queue.
    limited = [item for item in items if item["class"] == "backup"]
    assert len({item["meter"]["id"] for item in limited}) == len(VMS)
    assert len({item["queue_id"] for item in limited}) == 1
    assert host.meter_rates() == [800, 4000, 4000]
    # M12: the mark counts from the VM that is trusted, and not from the other.
    marked = {item["vm"]: item["class"] for item in items if item["src_port"] == 4000}
    assert marked == {"trusted": "voice", "doubted": "small"}


@pytest.mark.mininet
def test_a_device_gets_the_rules_as_the_operator_changed_them_for_it(host: OvsHost) -> None:
    """M2."""
    for vm in VMS:
        host.send(Flow(vm, 3000, dst_port=873), ENOUGH)
    wait_for(lambda: host.meter_rates() == [800, 4000, 4000], 15, host.manager.log)
    freed = POLICY.replace("class: backup", "class: small")
    foretold = host.check_policy(freed)["flows"]
    assert foretold["total"] >= foretold["reclassified"] >= len(VMS), (
        "a flow of the backup class from each VM"
    )
    assert host.meter_rates() == [800, 4000, 4000], "a check changes nothing"
    answer = host.put_policy(ALTERED)
    assert answer.status_code == 200, answer.text
    wait_for(lambda: host.meter_rates() == [800, 2000, 2000], 10, host.manager.log)
    assert host.put_policy("version: 2").status_code == 422
    assert host.meter_rates() == [800, 2000, 2000]


@pytest.mark.mininet
def test_a_limit_of_a_class_holds_flows_that_have_no_entry_of_their_own(host: OvsHost) -> None:
    """M10: by the meter's own counters; what the switch lets through is bounded by time."""
    (meter_id,) = [number for number, rate in class_meters(host) if rate == 800]
    begin, counted = time.monotonic(), meter_counts(host, meter_id)
    for flow in range(20):
        host.send(Flow("trusted", 5000 + flow, dst_port=53), packets=30, length=1000)
    wait_for(lambda: meter_counts(host, meter_id)[0] - counted[0] == 600, 15, host.manager.log)
    seconds = time.monotonic() - begin
    passed = 600 - (meter_counts(host, meter_id)[1] - counted[1])
    # The burst is 40 kB, and 100 kB more pass each second.
    assert passed * 1000 <= 40_000 + 100_000 * seconds + 1000
    assert passed >= 40

    def without_pin() -> bool:
        """A flow of which no packet has passed may be unknown; one that was moved to another queue has an entry."""
        flows = [item for item in host.assignments() if item["class"] == "names"]
        pinned = [
            entry
            for entry in host.entries()
            if entry.table == compare.ASSIGN_TABLE and entry.match.get("tp_dst") == "53"
        ]
        limited = {item["meter"] and item["meter"]["id"] for item in flows}
        agreed = host.differences(len(host.assignments())) == []
        return len(flows) > 10 > len(pinned) and limited == {meter_id} and agreed

    wait_for(without_pin, 15, host.manager.log)


def class_meters(host: OvsHost) -> list[tuple[int, int]]:
    """(number, rate in kbit/s) of meters that standing rules use."""
    used = {entry.meter for entry in host.entries() if entry.table == compare.SPREAD_TABLE}
    text = host.ovs.ofctl("dump-meters", BRIDGE, version=host.version)
    items = re.findall(r"meter=(\d+) [^\n]*\n\s*type=drop rate=(\d+)", text)
    return [(int(number), int(rate)) for number, rate in items if int(number) in used]


def meter_counts(host: OvsHost, meter_id: int) -> tuple[int, int]:
    """Packets that came to a meter, and those that it dropped."""
    text = host.ovs.ofctl("meter-stats", BRIDGE, f"meter={meter_id}", version=host.version)
    came = re.search(r"packet_in_count:(\d+)", text)
    dropped = re.search(r"bands:\s*0: packet_count:(\d+)", text)
    assert came is not None, text
    assert dropped is not None, text
    return int(came[1]), int(dropped[1])
