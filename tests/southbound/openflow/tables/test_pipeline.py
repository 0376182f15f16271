from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.pipeline import TABLES, Act, PipelineError, TableId
from flowlane.southbound.openflow.wire.fields import FIELDS, match

U32 = st.integers(0, 0xFFFFFFFF)


def test_every_table_is_declared_once_and_leads_only_forward() -> None:
    assert [table.table_id for table in TABLES] == list(TableId)
    for table in TABLES:
        assert all(following > table.table_id for following in table.goes_to)
        assert table.miss is None or table.miss in table.goes_to


def test_declared_fields_exist() -> None:
    assert {name for table in TABLES for name in table.matches} <= set(FIELDS)


@pytest.mark.parametrize(
    ("table", "wanted", "acts", "goto"),
    [
        (9, (), (), None),
        (TableId.OUTPUT, match(eth_src=1), (), None),
        (TableId.INGRESS, (), (Act.SET_QUEUE,), TableId.FORWARD),
        (TableId.INGRESS, (), (), TableId.OUTPUT),
        (TableId.OUTPUT, (), (), TableId.INGRESS),
    ],
    ids=["table", "match", "act", "goto", "goto from the last table"],
)
def test_the_undeclared_raises(table: int, wanted: object, acts: tuple[Act, ...], goto: int | None) -> None:
    with pytest.raises(PipelineError):
        pipeline.check(table, wanted, acts, goto)  # type: ignore[arg-type]


def test_the_declared_passes() -> None:
    pipeline.check(TableId.ASSIGN, match(in_port=1, metadata=2), (Act.METER, Act.SET_QUEUE), TableId.OUTPUT)


@given(U32, U32)
def test_metadata_holds_port_and_vm_side_by_side(port_no: int, vm_number: int) -> None:
    both, mask = pipeline.egress_and_sender(port_no, vm_number)
    assert (pipeline.egress_of(both), pipeline.sender_of(both)) == (port_no, vm_number)
    assert mask == 0xFFFFFFFFFFFFFFFF
    (port, port_mask), (sender, sender_mask) = pipeline.egress(port_no), pipeline.sender(vm_number)
    assert port | sender == both
    assert port_mask | sender_mask == mask
    assert port_mask & sender_mask == 0
