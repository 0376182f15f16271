"""One VM more on a switch of many: the switch is sent the entries of that VM, and no others."""

from __future__ import annotations

from bench.controller.added_vm import Host

from flowlane.southbound.openflow.tables.entries import FlowEntry, Op
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import fields


def test_a_switch_of_200_vms_is_sent_the_entries_of_the_new_one_only() -> None:
    host = Host(200)
    added = host.add(201)
    changes = [change for change in added.changes if change.op is not Op.BARRIER]
    assert {change.op for change in changes} == {Op.ADD}
    of_table: dict[int, FlowEntry] = {}
    for change in changes:
        assert isinstance(change.entry, FlowEntry)
        of_table[change.entry.table_id] = change.entry
    assert len(of_table) == len(changes), "one entry of each table"
    assert of_table.keys() == {TableId.INGRESS, TableId.FORWARD, TableId.SPREAD, TableId.OUTPUT}
    assert fields.values(of_table[TableId.INGRESS].match)["in_port"] == 201
    assert fields.values(of_table[TableId.FORWARD].match)["eth_dst"] == 0x0200000000C9
    for table in (TableId.SPREAD, TableId.OUTPUT):
        assert "metadata=0xc9/0xffffffff" in str(of_table[table])
    assert not [change for change in host.add(202).changes if change.op in (Op.MODIFY, Op.DELETE)]
