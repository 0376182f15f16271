"""Without table output a switch does with every packet what it does with the table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine.packets import packet
from support.engine.plans import ABLE, OTHER_VM, OTHER_VM_MAC, PORTS, UPLINK, VM, VM_MAC, pin, plan
from support.openflow.memory_switch import MemorySwitch

from flowlane.southbound.openflow.session.programming import Programming
from flowlane.southbound.openflow.tables import desired, diff, folding, pins
from flowlane.southbound.openflow.tables.entries import EMPTY, Change, Goto, Op
from flowlane.southbound.openflow.tables.pipeline import TableId

PORT_NUMBERS = st.sampled_from([VM, OTHER_VM, UPLINK, 77])
MACS = st.sampled_from([VM_MAC, OTHER_VM_MAC, 0xFFFFFFFFFFFF, 0x333300000001, 0x0A0000000099])
TYPES = st.sampled_from([(0x800, 6), (0x800, 17), (0x86DD, 6), (0x806, 1), (0x88CC, 0)])


def switches() -> tuple[MemorySwitch, MemorySwitch]:
    """A switch with table output, and one without."""
    whole, folded = MemorySwitch(PORTS), MemorySwitch(PORTS)
    standing = desired.compile_plan(plan(), ABLE, PORTS).standing
    assert whole.apply(diff.changes(standing, EMPTY)) == []
    assert whole.apply([pins.change(pin(meter_id=0))]) == []
    programming = Programming(ABLE, folds=True)
    assert folded.apply(programming.program(plan(), PORTS)) == []
    assert folded.apply(programming.pin(pins.change(pin(meter_id=0)))) == []
    return whole, folded


WHOLE, FOLDED = switches()


@given(PORT_NUMBERS, MACS, MACS, TYPES, st.sampled_from([80, 443, 5000]), st.sampled_from([0, 46]))
def test_each_packet_leaves_as_with_the_table(
    in_port: int, source: int, destination: int, kind: tuple[int, int], port: int, dscp: int
) -> None:
    eth_type, protocol = kind
    others = {
        "eth_type": eth_type,
        "ip_proto": protocol,
        "ip_dscp": dscp,
        "ipv4_src": 0x0A000001,
        "ipv4_dst": 0x0A000009,
    }
    ports = {"tcp_src": 40000, "tcp_dst": port, "udp_src": 40000, "udp_dst": port, "icmpv6_type": 1}
    frame = packet(in_port, eth_src=source, eth_dst=destination, **others, **ports)
    with_table, without = WHOLE.receive(dict(frame)), FOLDED.receive(dict(frame))
    assert without.sent == with_table.sent
    assert [copy.cookie for copy in without.copies] == [copy.cookie for copy in with_table.copies]
    assert without.meters == with_table.meters


@pytest.mark.parametrize("normal", [False, True])
def test_nothing_leads_to_table_output_any_more(normal: bool) -> None:
    flows = desired.compile_plan(plan(), replace(ABLE, normal=normal), PORTS).standing.flows
    folded = folding.fold(flows, folding.outputs(flows))
    assert all(
        entry.table_id != TableId.OUTPUT and Goto(TableId.OUTPUT) not in entry.steps for entry in folded
    )
    places = [(entry.table_id, entry.priority, entry.match) for entry in folded]
    assert len(places) == len(set(places)), "no entry replaces another"
    if normal:
        outputs = sum(entry.table_id == TableId.OUTPUT for entry in flows)
        assert len(folded) == len(flows) - outputs, "one entry of each"


def test_a_deletion_stays_one() -> None:
    deletion = Change(Op.DELETE, replace(pins.entry(pin()), steps=()))
    assert Programming(ABLE, folds=True).pin(deletion) == (deletion,)
