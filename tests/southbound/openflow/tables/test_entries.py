from __future__ import annotations

import pytest

from flowlane.southbound.openflow.tables import entries
from flowlane.southbound.openflow.tables.entries import (
    Bucket,
    Change,
    Goto,
    GroupEntry,
    Meter,
    MeterEntry,
    Op,
    Output,
    SetQueue,
    UseGroup,
    WriteMetadata,
    flow,
)
from flowlane.southbound.openflow.tables.pipeline import PipelineError, TableId
from flowlane.southbound.openflow.wire.constants import CONTROLLER_METER, CONTROLLER_PORT, SEND_FLOW_REMOVED
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


def test_an_explanation_names_table_and_cookie() -> None:
    assert entries.explain(PIN).startswith("assign [1000] in_port=1,")
    assert entries.explain(PIN).endswith("-> meter:9 set_queue:2 goto_table:8 (pin 5 (generation 3))")


def test_groups_meters_and_changes_read_like_ovs_ofctl() -> None:
    group = GroupEntry(7, (Bucket(1, 3, 5), Bucket(2, 3, 1)))
    assert str(group) == (
        "group_id=7,type=select,bucket=weight:5,actions=set_queue:1,output:3,"
        "bucket=weight:1,actions=set_queue:2,output:3"
    )
    assert str(MeterEntry(9, 5000, 400)) == "meter=9,kbps,burst,bands=type=drop,rate=5000,burst_size=400"
    assert str(MeterEntry(CONTROLLER_METER, 10, 0, packets=True)) == (
        "meter=controller,pktps,bands=type=drop,rate=10"
    )
    assert str(Change(Op.DELETE, group)) == f"delete {group}"
    assert str(entries.BARRIER) == "barrier"


def test_steps_of_different_kinds_are_never_equal() -> None:
    steps = (Meter(1), SetQueue(1), Output(1), UseGroup(1), WriteMetadata(1, 1), Goto(1))
    assert len(set(steps)) == len(steps)


def test_a_queue_set_after_the_output_is_refused() -> None:
    with pytest.raises(PipelineError, match="has no effect"):
        entries.check_queue_first((Output(1), SetQueue(1)))


def test_a_copy_to_the_controller_may_come_before_the_queue() -> None:
    made = flow(TableId.SPREAD, 1, (), (Output(CONTROLLER_PORT, 128), SetQueue(1), Goto(TableId.OUTPUT)), 0)
    assert len(made.steps) == 3


def test_an_undeclared_entry_is_refused() -> None:
    with pytest.raises(PipelineError, match="does not lead to"):
        flow(TableId.OUTPUT, 1, (), (Goto(TableId.INGRESS),), 0)
