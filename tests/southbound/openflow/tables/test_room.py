from __future__ import annotations

from support.engine.plans import ABLE, PORTS, REST, UPLINK, VOICE, WEB, plan
from support.openflow.memory_switch import MemorySwitch

from flowlane.southbound.openflow.session.programming import HELD_CALLS, MAX_RETRIES, Programming
from flowlane.southbound.openflow.tables import room
from flowlane.southbound.openflow.tables.desired import compile_plan
from flowlane.southbound.openflow.tables.entries import FlowEntry, Op
from flowlane.southbound.openflow.tables.pipeline import TableId

NOT_RULES = 2
"""Entries of table spread that stand there without any rule: frames of no VM, and the table's miss."""


class Small(MemorySwitch):
    """Takes so many entries in table spread, and any number elsewhere."""

    def __init__(self, entries: int) -> None:
        super().__init__(PORTS)
        self.entries = entries

    def _apply_flow(self, op: Op, entry: FlowEntry) -> None:
        self.table_size = self.entries if entry.table_id == TableId.SPREAD else 1_000_000
        super()._apply_flow(op, entry)


def live(programming: Programming, switch: MemorySwitch, seconds: int = 20) -> int:
    """Let a session's seconds pass; returns how many messages were refused."""
    refused, changes = 0, programming.program(plan(), PORTS)
    for _ in range(seconds):
        for refusal in switch.apply(changes):
            refused += 1
            if refusal.change.entry is not None:
                programming.note_refusal(refusal.change.entry, refusal.error)
        changes = programming.settle(PORTS)
    assert switch.apply(changes) == []
    return refused


def rules_in(switch: MemorySwitch) -> set[int]:
    entries = (counted.entry for counted in switch.flows.values())
    return {entry.priority - 100 for entry in entries if room.is_rule(entry)}


def test_trim_keeps_the_general_rules() -> None:
    entries = compile_plan(plan(), ABLE, PORTS).standing.flows
    whole = sum(map(room.is_rule, entries))
    assert room.trim(plan(), entries, whole) == (plan(), ())
    left, gone = room.trim(plan(), entries, whole - 1)
    assert left.rules == (WEB, REST)
    assert [item.what for item in gone] == [f"standing rule of class {VOICE.class_name}"]
    left, gone = room.trim(plan(), entries, 1)
    assert left.rules == (REST,)
    assert {item.what for item in gone} == {
        f"standing rule of class {rule.class_name}" for rule in (WEB, VOICE)
    }
    assert room.trim(plan(), entries, 0)[0].rules == ()


def test_of_equal_rules_those_with_queues_stay() -> None:
    bare = REST._replace(egress_port=1, queues=())
    entries = compile_plan(plan(bare, REST), ABLE, PORTS).standing.flows
    assert room.trim(plan(bare, REST), entries, 1)[0].rules == (REST,)
    assert REST.egress_port == UPLINK


def test_a_table_that_is_full_ends_with_what_matters_most() -> None:
    for entries in range(NOT_RULES + 1, 12):
        programming, switch = Programming(ABLE), Small(entries)
        refused = live(programming, switch)
        fits = entries - NOT_RULES
        assert 0 in rules_in(switch), f"no rule for the rest in a table of {entries}"
        assert refused <= 3 * MAX_RETRIES
        assert set(programming.present.flows) == {counted.entry for counted in switch.flows.values()}
        assert bool(programming.all_left_out) == (fits < len(list(filter(room.is_rule, whole()))))


def whole() -> tuple[FlowEntry, ...]:
    return compile_plan(plan(), ABLE, PORTS).standing.flows


def test_an_entry_of_another_full_table_is_held_back_and_then_tried_again() -> None:
    programming = Programming(ABLE)
    programming.program(plan(), PORTS)
    entry = next(flow for flow in programming.present.flows if flow.table_id == TableId.OUTPUT)
    programming.note_refusal(entry, room.TABLE_FULL)
    assert programming.settle(PORTS) == ()
    assert entry not in [change.entry for change in programming.program(plan(unknown_port=None), PORTS)]
    assert ("entries of table output", "the device's table is full") in [
        item[:2] for item in programming.all_left_out
    ]
    programming.program(plan(), PORTS)
    again = [change.entry for _ in range(HELD_CALLS) for change in programming.settle(PORTS)]
    assert entry in again
    assert programming.all_left_out == ()
