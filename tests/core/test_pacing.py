"""Long loops of the engine have places for pauses, and what others do in them changes nothing of what is made."""

from __future__ import annotations

from support.engine.scenario import small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.engine import Engine
from flowlane.core.flowkey import IPV4, TCP, FlowParts, pack
from flowlane.core.model import Capabilities, PinRef, PortFacts, PortReport
from flowlane.core.pacing import BETWEEN, no_pause, paced
from flowlane.core.policy import Match, Rule

BIG, GOOD, THIRD = 1, 2, 3
CAPS = Capabilities(max_meters=100, select_groups=True, max_groups=100, normal=True, learn=True)
PORTS = 6 * BETWEEN
QUEUES = {1: tuple(range(8))}


def up(dpid: int, ports: int, pins: int = 0) -> ev.DeviceUp:
    reports = tuple(
        PortReport(number, f"d{dpid}p{number}", 0x020000000000 | number) for number in range(1, ports + 1)
    )
    found = tuple(
        ev.FoundPin(
            PinRef(row, 1),
            pack(FlowParts(0, None, IPV4, TCP, row, 443, b"\x0a\0\0\1", b"\xc0\0\2\1")),
            *(2, 1, row % 8, 0, 1, 64),
        )
        for row in range(pins)
    )
    return ev.DeviceUp(dpid, CAPS, reports, QUEUES, found, "peer")


def described(dpid: int, ports: dict[int, str]) -> ev.DeviceDescribed:
    facts = {number: PortFacts(f"d{dpid}p{number}", {"iface-id": vm}) for number, vm in ports.items()}
    return ev.DeviceDescribed(dpid, f"br{dpid}", None, {}, "system", facts)


def plan_of(effects: list[fx.Effect], dpid: int) -> fx.DevicePlan:
    return [effect.plan for effect in effects if isinstance(effect, fx.Program) and effect.plan.dpid == dpid][
        -1
    ]


def frame(number: int, source: int) -> bytes:
    addresses = bytes.fromhex("0200000000ff") + (0x020000000000 | source).to_bytes(6)
    ip = bytes.fromhex("4500002800000000400600000a000001c0000201")
    return addresses + b"\x08\x00" + ip + number.to_bytes(2) + b"\x01\xbb" + bytes(8) + b"\x50\x02" + bytes(6)


def test_items_come_in_their_order_with_places_between() -> None:
    calls: list[int] = []
    seen: list[int] = []
    seen.extend(paced(range(2 * BETWEEN + 1), lambda: calls.append(len(seen))))
    assert seen == list(range(2 * BETWEEN + 1))
    assert len(calls) == 2
    assert list(paced((), no_pause)) == []


def test_connection_and_news_have_places_in_all_long_loops() -> None:
    engine = Engine(small_policy())
    counts: list[int] = []
    engine.state.pace = lambda: counts.append(0)
    engine.step(up(BIG, PORTS), 1.0)
    assert len(counts) > 50
    counts.clear()
    engine.step(ev.PortChanged(BIG, PortReport(9999, "new", 5)), 1.0)
    assert not counts
    engine.step(ev.CatchUp(BIG), 1.0)
    assert len(counts) > 50
    assert not engine.is_behind


def test_found_pins_and_rules_have_places() -> None:
    rules = tuple(
        Rule(f"r{index}", index, Match(dst_ports=((index, index),)), 0) for index in range(1, 4 * BETWEEN)
    )
    few, many = (Engine(small_policy(rules=some, gates=())) for some in (rules[:1], rules))
    counts: dict[str, int] = {"few": 0, "many": 0, "pins": 0}

    def note(name: str) -> None:
        counts[name] += 1

    few.state.pace = lambda: note("few")
    few.step(up(BIG, 4), 1.0)
    many.state.pace = lambda: note("many")
    many.step(up(BIG, 4), 1.0)
    assert counts["many"] >= counts["few"] + 12
    many.state.pace = lambda: note("pins")
    many.step(up(GOOD, 4, pins=4 * BETWEEN), 1.0)
    assert counts["pins"] >= counts["few"] + 4


def test_rules_are_compiled_once_for_all_devices() -> None:
    engine = Engine(small_policy())
    engine.step(up(BIG, 4), 1.0)
    engine.step(up(GOOD, 4), 1.0)
    first, second = (engine.devices[dpid].classifier for dpid in (BIG, GOOD))
    assert first.fields is second.fields
    assert first.views is not second.views


def test_what_others_do_meanwhile_changes_nothing() -> None:
    """In pauses of a big device's work others have packets, ticks and news; a VM of it moves away."""
    alone, among = Engine(small_policy()), Engine(small_policy())
    for engine in (alone, among):
        engine.step(up(GOOD, 4), 1.0)
        engine.step(described(BIG, {2: "vm-a", 3: "vm-b"}), 1.0)
        engine.step_and_catch_up(up(BIG, PORTS), 1.0)
        engine.step_and_catch_up(described(THIRD, {2: "vm-a"}), 1.0)
        engine.step_and_catch_up(up(THIRD, 4), 1.0)
    state = among.state
    others: list[fx.Effect] = []
    number = 0

    def others_turn() -> None:
        nonlocal number
        if state.busy is None or number >= 200:
            return
        state.pace, number = no_pause, number + 1
        others.extend(among.step(ev.FlowSeen(GOOD, 2, frame(number, 2), None, None), 2.0))
        others.extend(among.step(ev.FlowSeen(THIRD, 2, frame(number, 0x77), None, None), 2.0))
        others.extend(among.step(ev.Tick(GOOD), 2.0))
        others.extend(among.step(ev.Poll(), 2.0))
        among.step(ev.PortChanged(THIRD, PortReport(4, "other", 0x020000000009)), 2.0)
        state.pace = others_turn

    for engine in (alone, among):
        engine.step(ev.PortChanged(BIG, PortReport(9999, "new", 5)), 2.0)
    state.pace, state.busy = others_turn, BIG
    among.step(ev.CatchUp(BIG), 2.0)
    state.pace, state.busy = no_pause, None
    assert number > 50
    assert len(among.devices[GOOD].flows.rows) == number
    made = among.step_and_catch_up(ev.PortChanged(BIG, PortReport(9998, "newer", 6)), 3.0)
    for n in range(1, number + 1):
        alone.step(ev.FlowSeen(GOOD, 2, frame(n, 2), None, None), 2.0)
        alone.step(ev.FlowSeen(THIRD, 2, frame(n, 0x77), None, None), 2.0)
    alone.step(ev.PortChanged(THIRD, PortReport(4, "other", 0x020000000009)), 2.0)
    alone.step_and_catch_up(ev.Poll(), 2.0)
    expected = alone.step_and_catch_up(ev.PortChanged(BIG, PortReport(9998, "newer", 6)), 3.0)
    assert plan_of(made, BIG) == plan_of(expected, BIG)
    assert among.state.vms == alone.state.vms
    assert others
    assert not [effect for effect in others if isinstance(effect, fx.Program)]


def test_a_busy_device_is_neither_polled_nor_rebalanced() -> None:
    engine = Engine(small_policy())
    engine.step_and_catch_up(up(BIG, 4), 1.0)
    engine.step(ev.FlowSeen(BIG, 2, frame(1, 2), None, None), 1.5)
    engine.state.busy = BIG
    engine.state.restless.add(BIG)
    assert engine.step(ev.Poll((BIG,)), 20.0) == []
    assert engine.state.restless == {BIG}
    engine.state.busy = None
    effects = engine.step(ev.Poll((BIG,)), 20.0)
    assert [effect for effect in effects if isinstance(effect, fx.ReadCounters)]
    assert not engine.state.restless


def test_one_device_is_worked_off_where_it_is_named() -> None:
    engine = Engine(small_policy())
    for dpid in (BIG, GOOD):
        engine.step_and_catch_up(up(dpid, 4), 1.0)
    for dpid in (BIG, GOOD):
        engine.step(ev.PortChanged(dpid, PortReport(9, "new", 5)), 2.0)
    assert engine.behind(()) == (BIG, None)
    assert engine.behind({BIG}) == (GOOD, None)
    assert engine.behind({BIG, GOOD}) == (None, None)
    engine.step(ev.CatchUp(GOOD), 2.0)
    assert engine.state.due.keys() == {BIG}
    engine.step(ev.CatchUp(BIG, only_flows=True), 2.0)
    assert engine.state.due.keys() == {BIG}
    engine.step(ev.CatchUp(THIRD), 2.0)
    engine.step(ev.CatchUp(), 2.0)
    assert not engine.is_behind
