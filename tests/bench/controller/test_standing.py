"""A simulated switch lists what it was given, as a controller reads it: by cookie and mask, table and kind."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from bench.controller.recording import FLOW_STATS
from bench.controller.standing import GROUPS, METERS, Standing, reply
from os_ken.ofproto import ofproto_v1_3, ofproto_v1_3_parser

from flowlane.southbound.openflow.session import packing, readback
from flowlane.southbound.openflow.tables.entries import Change, FlowEntry, MeterEntry, Op
from flowlane.southbound.openflow.tables.layout import DEFAULT
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies, fields, flow_stats
from flowlane.southbound.openflow.wire.cookies import Kind

OLD = SimpleNamespace(ofproto=ofproto_v1_3, ofproto_parser=ofproto_v1_3_parser)


def entry(kind: Kind, number: int, table: TableId = TableId.OUTPUT) -> FlowEntry:
    return FlowEntry(
        table, 100 + number, (fields.Term("in_port", number + 1),), (), cookies.pack(kind, 0, number)
    )


def give(switch: Standing, op: Op, flow: FlowEntry) -> None:
    switch.take(packing.change(OLD, Change(op, flow), DEFAULT), 10.0)


def listed(switch: Standing, cookie: int = 0, mask: int = 0, table: int = 0xFF) -> list[flow_stats.RawEntry]:
    request = bytearray(56)
    request[16], request[32:48] = table, cookie.to_bytes(8) + mask.to_bytes(8)
    data = reply(bytes(4), FLOW_STATS, switch.flows(bytes(request), 12.5))
    messages = []
    while data:
        length = int.from_bytes(data[2:4])
        messages.append(data[:length])
        data = data[length:]
    assert [bool(message[11]) for message in messages] == [True] * (len(messages) - 1) + [False]
    return [raw for message in messages for raw in flow_stats.entries(SimpleNamespace(buf=message)) or ()]


def test_entries_are_listed_as_they_were_given_and_pins_are_not() -> None:
    switch = Standing()
    kinds = (Kind.INFRASTRUCTURE, Kind.STANDING, Kind.GROUP, Kind.PIN, Kind.LEARNED)
    for number, kind in enumerate(kinds):
        give(switch, Op.ADD, entry(kind, number, TableId.SPREAD if kind == Kind.STANDING else TableId.OUTPUT))
    assert [raw.cookie >> 44 & 15 for raw in listed(switch)] == [1, 2, 5]
    assert [raw.priority - 100 for raw in listed(switch, *cookies.of_kind(Kind.GROUP))] == [2]
    assert [raw.priority - 100 for raw in listed(switch, table=int(TableId.SPREAD))] == [1]
    assert {raw.seconds for raw in listed(switch)} == {2.5}
    assert {raw.fields for raw in listed(switch)} == {
        fields.pack(entry(kind, n).match) for n, kind in enumerate(kinds[:3])
    }


def test_entries_are_replaced_and_deleted() -> None:
    switch = Standing()
    for number in range(3):
        give(switch, Op.ADD, entry(Kind.STANDING, number))
    give(switch, Op.MODIFY, entry(Kind.STANDING, 7))
    assert len(listed(switch)) == 3, "there was none to modify"
    give(switch, Op.DELETE, entry(Kind.STANDING, 1))
    assert [raw.priority - 100 for raw in listed(switch)] == [0, 2]
    everything = bytearray(packing.change(OLD, Change(Op.DELETE, entry(Kind.STANDING, 0)), DEFAULT))
    everything[8:24], everything[24], everything[25] = bytes(16), 0xFF, 3
    switch.take(bytes(everything), 11.0)
    assert listed(switch) == []


@pytest.mark.parametrize("size", [1, 900])
def test_long_lists_come_in_parts(size: int) -> None:
    switch = Standing()
    for number in range(size):
        give(switch, Op.ADD, entry(Kind.STANDING, number))
    assert len(listed(switch)) == size


def test_meters_are_listed_as_they_are() -> None:
    switch = Standing()
    for op, meter in ((Op.ADD, 3), (Op.ADD, 4), (Op.MODIFY, 4), (Op.DELETE, 3)):
        rate = 900 if op is Op.MODIFY else 1000
        switch.take(packing.change(OLD, Change(op, MeterEntry(meter, rate, 100)), DEFAULT), 1.0)
    data = reply(bytes(4), METERS, switch.items(METERS))
    parsed = ofproto_v1_3_parser.OFPMultipartReply.parser(OLD, *data[:2], len(data), 0, data)
    assert set(readback.meters((parsed,))) == {MeterEntry(4, 900, 100)}
    assert switch.items(GROUPS) == []
