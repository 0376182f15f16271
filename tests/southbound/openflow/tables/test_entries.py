from __future__ import annotations

from support.engine.plans import ABLE, PORTS, plan

from flowlane.southbound.openflow.tables import desired
from flowlane.southbound.openflow.tables.entries import (
    Goto,
    Meter,
    SetQueue,
    flow,
)
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire.constants import SEND_FLOW_REMOVED
from flowlane.southbound.openflow.wire.fields import match

PIN = flow(
    TableId.ASSIGN,
    1000,
    match(in_port=1, metadata=(3, 0xFFFFFFFF), vlan_vid=0, eth_type=0x800, ip_proto=6, ipv4_src=0x0A000001,
        tcp_dst=443),
    (Meter(9), SetQueue(2), Goto(TableId.OUTPUT)),
    0xF10A300300000005,
    idle_timeout=10,
    flags=SEND_FLOW_REMOVED,
)  # fmt: skip


def test_an_entry_reads_like_ovs_ofctl() -> None:
    assert str(PIN) == (
        "table=4,priority=1000,cookie=0xf10a300300000005,idle_timeout=10,send_flow_rem,in_port=1,"
        "metadata=0x3/0xffffffff,dl_type=0x800,vlan_vid=0x0,nw_proto=6,nw_src=10.0.0.1,tcp_dst=443,"
        "actions=meter:9,set_queue:2,goto_table:8"
    )


def test_an_entry_without_steps_drops() -> None:
    assert str(flow(TableId.OUTPUT, 0, (), (), 0)).endswith("actions=drop")


def test_devices_with_equal_plans_share_their_entries() -> None:
    first, second = (desired.compile_plan(plan(), ABLE, PORTS).standing.flows for _ in range(2))
    assert first
    assert all(one is other for one, other in zip(first, second, strict=True))
