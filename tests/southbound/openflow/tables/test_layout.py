"""The numbers of tables on a device, and the priorities in its start table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.engine.plans import ABLE, PORTS, VM, plan

from flowlane.southbound.openflow.tables import desired, layout
from flowlane.southbound.openflow.tables.entries import Change, FlowEntry, Op
from flowlane.southbound.openflow.tables.layout import DEFAULT, OUTSIDE, Layout
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId

CAN = replace(ABLE, normal=True, learn=True, conntrack=True)
STANDING = desired.compile_plan(
    plan(learned_idle=10, learn_after=8, tracked_ports=(VM,)), CAN, PORTS
).standing
SPREAD_OUT = Layout({table: 20 + 3 * table for table in TableId}, base=700)


@pytest.mark.parametrize("arranged", [DEFAULT, SPREAD_OUT], ids=["default", "spread out"])
def test_entries_are_translated_and_back(arranged: Layout) -> None:
    assert STANDING.flows
    assert STANDING.groups
    for entry in STANDING.flows:
        assert arranged.flow_from_device(arranged.flow_on_device(entry)) == entry
    for group in STANDING.groups:
        changed = arranged.on_device(Change(Op.ADD, group)).entry
        assert arranged.group_from_device(changed) == group  # type: ignore[arg-type]


def test_every_number_in_an_entry_is_that_of_the_device() -> None:
    text = "\n".join(str(SPREAD_OUT.flow_on_device(entry)) for entry in STANDING.flows)
    for there in (
        "table=20,priority=700,",
        "goto_table:23",
        "resubmit(,35)",
        "learn(table=35,",
        "ct(commit,table=29,",
    ):
        assert there in text
    (group, *_) = STANDING.groups
    assert "resubmit(,41)" in str(SPREAD_OUT.on_device(Change(Op.ADD, group)).entry)


def test_an_entry_of_ours_outside_the_layout_is_deleted_where_it_stands() -> None:
    old = DEFAULT.flow_on_device(STANDING.flows[0])
    found = SPREAD_OUT.flow_from_device(old)
    assert found.table_id == OUTSIDE
    deletion = SPREAD_OUT.on_device(Change(Op.DELETE, replace(found, steps=()))).entry
    assert deletion == replace(old, steps=())


def test_an_old_priority_in_the_start_table_is_outside_too() -> None:
    entry = FlowEntry(20, 1000, (), (), 0)
    assert SPREAD_OUT.flow_from_device(entry).table_id == OUTSIDE + 20
    assert SPREAD_OUT.flow_from_device(replace(entry, priority=702)).priority == Priority.SOURCE


@pytest.mark.parametrize(
    ("learn", "conntrack", "count"), [(True, True, 9), (True, False, 7), (False, False, 5)]
)
def test_tables_that_stay_empty_get_no_number(learn: bool, conntrack: bool, count: int) -> None:
    tables = layout.tables_for(learn, conntrack)
    assert len(tables) == count
    arranged = layout.arrange(tables, 0, range(254))
    assert arranged is not None
    assert list(arranged.values()) == list(range(count))


def test_tables_of_others_are_skipped() -> None:
    assert layout.arrange(layout.tables_for(False, False), 3, [1, 3, 4, 7, 8, 30]) == {
        TableId.INGRESS: 3, TableId.FORWARD: 4, TableId.ASSIGN: 7, TableId.SPREAD: 8, TableId.OUTPUT: 30,
    }  # fmt: skip
    assert layout.arrange(layout.tables_for(False, False), 3, [4, 7, 8]) is None
