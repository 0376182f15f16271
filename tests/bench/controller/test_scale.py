"""Simulated switches are what a real one is to the controller, and each scenario of the bench runs, small."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from bench.controller import reading, recording, scale
from bench.controller.recording import (
    FLOW_MOD,
    GROUPS,
    HEADER,
    LEARNED,
    MULTIPART_REQUEST,
    PACKET_IN,
    QUEUES,
    UPLINK,
    Recording,
)
from bench.controller.switches import PACKET_OCTETS, PACKET_RATE, PER_MESSAGE, Switch, Templates, started
from lab.inside.manager import launched, wait_for

from flowlane.southbound.openflow.session import counters
from flowlane.southbound.openflow.wire import flow_stats, packet_in_match
from flowlane.southbound.openflow.wire.constants import OPENFLOW_13

pytestmark = pytest.mark.ovs

GROUP = (7).to_bytes(4)


@pytest.fixture(scope="module")
def record() -> Recording:
    return recording.record()


def split(data: bytes) -> list[bytes]:
    messages = []
    while data:
        length = int.from_bytes(data[2:4])
        messages.append(data[:length])
        data = data[length:]
    return messages


def request(kind: int, body: bytes, xid: int = 77) -> bytes:
    return HEADER.pack(OPENFLOW_13, kind, 8 + len(body), xid) + body


def flows_request(cookie: bytes, table: int = 5) -> bytes:
    body = (
        bytes((0, 1, *bytes(6), table, *bytes(15))) + cookie + b"\xff" * 8 + bytes((0, 1, 0, 4, 0, 0, 0, 0))
    )
    return request(MULTIPART_REQUEST, body)


def test_replies_are_the_recorded_ones_with_the_requests_transaction_id(record: Recording) -> None:
    switch = Switch(Templates(record), 3)
    description = record.replies[MULTIPART_REQUEST, 0]
    tables = record.replies[MULTIPART_REQUEST, 12]
    for kind, recorded in ((0, description), (12, tables)):
        sent = switch.take(request(MULTIPART_REQUEST, kind.to_bytes(2) + bytes(6)), 0.0)
        assert [part[:4] + part[8:] for part in split(sent)] == [part[:4] + part[8:] for part in recorded]
        assert {part[4:8] for part in split(sent)} == {(77).to_bytes(4)}
    ports = switch.take(request(MULTIPART_REQUEST, (13).to_bytes(2) + bytes(6)), 0.0)
    assert b"s3vm20\0" in ports
    assert b"\0uplink\0" in ports


def test_flows_are_copied_and_listed_in_the_group_that_entries_were_sent_for(record: Recording) -> None:
    switch = Switch(Templates(record), 3)
    half, rest = (entry := request(FLOW_MOD, bytes(56) + LEARNED + GROUP))[:30], entry[30:]
    assert switch.take(half, 0.0) == switch.take(rest, 0.0) == b""
    assert switch.mods == 1
    copies = split(switch.begin(PER_MESSAGE + 10, 100.0))
    assert len({copy[58:] for copy in copies}) == len(copies) == PER_MESSAGE + 10
    fields = packet_in_match.read_fields(copies[4])
    assert copies[4][1] == PACKET_IN
    assert (fields["in_port"], fields["metadata"] & 0xFFFFFFFF) == (5, UPLINK)
    assert {packet_in_match.read_fields(copy)["reg1"] for copy in copies} == set(range(1, QUEUES + 1))
    parts = split(switch.take(flows_request(LEARNED + GROUP), 110.0))
    entries = [entry for part in parts for entry in flow_stats.entries(SimpleNamespace(buf=part)) or ()]
    assert len({entry.fields for entry in entries}) == len(entries) == PER_MESSAGE + 10
    assert {(entry.seconds, entry.packets) for entry in entries} == {(10.0, 10 * PACKET_RATE)}
    assert {entry.octets for entry in entries} == {10 * PACKET_RATE * PACKET_OCTETS}
    assert [bool(part[11]) for part in parts] == [True] * (len(parts) - 1) + [False]
    assert [len(part) for part in split(switch.take(flows_request(LEARNED + bytes(4)), 110.0))] == [16]
    (counted,) = split(switch.take(flows_request(GROUPS + GROUP), 110.0))
    of_group = counters.groups_counted(3, (SimpleNamespace(buf=counted),)).octets
    assert of_group == {7: len(entries) * 10 * PACKET_RATE * PACKET_OCTETS}
    switch.connect()
    assert [len(part) for part in split(switch.take(flows_request(LEARNED + GROUP), 110.0))] == [16]


def test_every_scenario_runs(record: Recording) -> None:
    rows = {row.scenario: row for row in scale.run(4, 200, 0.5, list(scale.SCENARIOS), record)}
    assert list(rows) == [
        *(
            "joins, 50/s",
            "idle",
            "rolling restart, 50/s",
            "the same, policy checked and replaced twice",
            "flows begin",
            "the same flows alive",
        ),
        *("POST /v1/policy/check", "PUT /v1/policy", "PUT the old policy"),
        *("cold start, 7 new flows/s each", "the same flows go on"),
    ]
    assert not any(row.lost for row in rows.values())
    assert rows["the same flows alive"].note == "200 of 200 known"
    assert rows["POST /v1/policy/check"].note == "200 flows, 0 in another class"
    assert rows["the same flows go on"].flows > 0
    assert all(row.megabytes > 20 and row.share > 0 for row in rows.values())


def test_the_bench_of_readings_counts_every_flow(record: Recording) -> None:
    controller = reading.Controller(record)
    controller.begin(300)
    assert controller.known == 300
    for case in reading.CASES:
        assert len(reading.measure(controller, case, 1)) == 1
    begin = controller.octets
    reading.measure(controller, "all", 1)
    each = PACKET_RATE * PACKET_OCTETS * reading.SETTLING
    assert controller.octets - begin >= 300 * each, (
        "each reading has counted what has come since the last one"
    )


def test_what_was_recorded_is_served_by_the_controller_as_a_nic_with_its_uplink(record: Recording) -> None:
    with launched() as manager, started(record, 2, manager.openflow_port) as generator:
        generator.command("join", 50.0)
        wait_for(lambda: generator.status().programmed == 2, 30)
        generator.command("load", 40)
        wait_for(lambda: generator.status().unread == 0, 30)
        devices = manager.rest("/v1/devices")["items"]
        flows = manager.rest("/v1/flows?limit=100")["items"]
    assert [(item["role"], item["flows"], item["left_out"], item["refusals"]) for item in devices] == [
        ("nic", 40, [], {})
    ] * 2
    assert {flow["vm"] for flow in flows} == {f"s{index}vm{n}" for index in (0, 1) for n in range(1, 21)}
    assert {assigned["port"] for flow in flows for assigned in flow["assignments"]} == {"uplink"}
