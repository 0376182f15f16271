"""The fast path of packet-ins comes to what the general one comes to, in every column and sum, and is taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.facts import facts
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core import fast_path
from flowlane.core.model import Admission, HintSource, PortFacts, PortReport, Reason
from flowlane.core.policy import Match, Pins, Policy, PortSecurity, Rule, TrafficClass, Trust, VmSelector

ADOPTED_AFTER = 8
"""Seconds after which flows of a device count as new."""

COPY_RATE = 100
"""Copies a second: of 15 flows in a second each is looked at by itself, of more none."""


def hosts(policy: Any = None) -> tuple[Scenario, Scenario]:
    """Two hosts with the same facts: one gets packet-ins one by one, the other gets those of a moment together."""
    policy = small_policy(copy_rate=COPY_RATE) if policy is None else policy
    pair = Scenario(policy, caps=LEARNING), Scenario(policy, caps=LEARNING)
    for host in pair:
        host.tick(ADOPTED_AFTER)
    return pair


def give(pair: tuple[Scenario, Scenario], packets: list[ev.FlowSeen]) -> tuple[list[fx.Effect], int]:
    """Give packet-ins to both; return the effects, which are the same, and how many went by the fast path."""
    plain, quick = pair
    slow = [effect for packet in packets for effect in plain.engine.step(packet, plain.now)]
    taken = 0
    take = fast_path.take

    def counted(*args: Any) -> bool:
        nonlocal taken
        is_taken = take(*args)
        taken += is_taken
        return is_taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_path, "take", counted)
        fast = quick.engine.step(ev.FlowMessages(DPID, packets), quick.now)
    assert fast == slow
    for host in pair:
        for effect in fast:
            host.apply(effect)
    do(pair, ev.CatchUp())
    assert facts(quick.device) == facts(plain.device)
    return fast, taken


def seen(host: Scenario, vm: int, sport: int, queue_id: int | None = 0, **others: Any) -> ev.FlowSeen:
    """The first packet of a flow, on the queue that the device chose."""
    egress = others.pop("egress", UPLINK)
    return ev.FlowSeen(DPID, vm, host.frame(vm, sport, **others), egress, queue_id)


def storm(host: Scenario, count: int, first: int = 1000, vm: int = 1) -> list[ev.FlowSeen]:
    return [seen(host, vm, first + number, number % 4) for number in range(count)]


def test_most_of_a_burst_goes_by_the_fast_path() -> None:
    pair = hosts()
    _, taken = give(pair, storm(pair[0], 60))
    looked_at_and_first_on_each_queue = 15 + 4
    assert taken >= 60 - looked_at_and_first_on_each_queue
    _, taken = give(pair, storm(pair[0], 40, 3000))
    assert taken == 40


def test_what_is_not_the_first_packet_of_a_plain_flow_goes_the_general_way() -> None:
    pair = hosts()
    host = pair[0]
    give(pair, storm(host, 40))
    frame = host.frame(1, 5001)
    tagged = frame[:12] + b"\x81\x00\x00\x07" + frame[12:]
    fragment = frame[:20] + b"\x20\x00" + frame[22:]
    options = frame[:14] + b"\x46" + frame[15:]
    short_offset = frame[:46] + b"\x40" + frame[47:]
    for other in (tagged, fragment, options, short_offset, frame[:36], frame[:10], b""):
        assert give(pair, [ev.FlowSeen(DPID, 1, other, UPLINK, 0)])[1] == 0
    plain = (
        ev.FlowSeen(DPID, 1, frame, None, 0),
        ev.FlowSeen(DPID, 1, frame, UPLINK, None),
        ev.FlowSeen(DPID, 1, frame, 1, 0),
        ev.FlowSeen(DPID, 1, frame, UPLINK, 99),
        ev.FlowSeen(DPID, 1, frame, UPLINK, -1),
    )
    for packet in plain:
        assert give(pair, [packet])[1] == 0
    # Known by now; a flow of its own again where another port number is in it.
    assert give(pair, [seen(host, 1, 5001)])[1] == 0
    assert give(pair, [seen(host, 1, 5002)])[1] == 1
    assert give(pair, [seen(host, 1, 5003)._replace(meter_id=3)])[1] == 0


def test_a_flow_whose_pin_by_hand_waits_for_it_is_on_its_queue_with_its_first_packet() -> None:
    pair = hosts()
    give(pair, storm(pair[0], 60))
    last = pair[0].device.flows.keys[pair[0].row(1, 1059)] or b""
    key = last.replace((1059).to_bytes(2), (3000).to_bytes(2))
    do(pair, ev.FlowPinned(DPID, key, 3, 600.0))
    give(pair, [seen(pair[0], 1, 3000, 0)])
    for host in pair:
        row = host.row(1, 3000)
        assert (host.queue_of(row), host.device.flows.reason[row]) == (3, Reason.PINNED_BY_HAND)


def test_limited_and_exclusive_flows_go_the_general_way() -> None:
    policy = small_policy(
        copy_rate=COPY_RATE,
        classes=(
            TrafficClass("small", 0),
            TrafficClass("heavy", 1, exclusive=True, priority=1),
            TrafficClass("limited", 2, rate_limit=2_000_000),
        ),
        rules=(
            Rule("limit", 0, Match(dst_ports=((5000, 5000),)), 2),
            Rule("alone", 1, Match(dst_ports=((22, 22),)), 1),
        ),
    )
    pair = hosts(policy)
    host = pair[0]
    give(pair, storm(host, 40))
    for dport in (5000, 22):
        packets = [seen(host, 1, 7000 + number, number % 4, dport=dport) for number in range(8)]
        assert give(pair, packets)[1] == 0


def test_classes_are_by_what_rules_look_at() -> None:
    policy = small_policy(
        copy_rate=COPY_RATE,
        classes=(TrafficClass("small", 0), TrafficClass("web", 1), TrafficClass("voice", 2)),
        rules=(
            Rule("web", 0, Match(dst_ports=((443, 443),), src_ports=((0, 30_000),)), 1),
            Rule("to one", 1, Match(dst=((bytes([10, 0, 0, 254]), 32),), dst_ports=((8080, 8080),)), 1),
        ),
        gates=(),
        trust=(Trust(VmSelector(), frozenset((HintSource.DSCP,)), frozenset((2,)), dscp=((46, 2),)),),
    )
    pair = hosts(policy)
    host, device = pair[0], pair[1].device
    kinds = [(443, 0), (80, 0), (8080, 0), (80, 46), (443, 46), (80, 10)]
    for turn in range(3):
        packets = [
            seen(
                host,
                1,
                1000 + 100 * turn + 40_000 * (number % 2) % 65_000 + number,
                0,
                dport=dport,
                dscp=dscp,
            )
            for number, (dport, dscp) in enumerate(kinds * 5)
        ]
        _, taken = give(pair, packets)
    assert taken == len(packets)
    names = {device.policy.classes[device.flows.class_index[row]].name for row in device.flows}
    assert names == {"small", "web", "voice"}


def described(host: Scenario, **changes: dict[str, str]) -> ev.DeviceDescribed:
    """The device's row in OVSDB, with other ids of a port."""
    ids = {f"pf0vf{n}": {"iface-id": f"vm{n}"} for n in range(1, host.vms + 1)} | changes
    facts_of = {n: PortFacts(f"pf0vf{n}", ids[f"pf0vf{n}"]) for n in range(1, host.vms + 1)}
    uplink = host.device.ports[UPLINK].facts
    assert uplink is not None
    return ev.DeviceDescribed(DPID, "br-int", "nic", {}, "netdev", facts_of | {UPLINK: uplink})


def do(pair: tuple[Scenario, Scenario], event: ev.Event) -> None:
    for host in pair:
        host.do(event)


OTHER_MAC = {"iface-id": "vm1", "attached-mac": "02:00:00:00:00:77"}

CHANGES: dict[str, Any] = {
    "another VM at the port": lambda host: described(host, pf0vf1={"iface-id": "new"}),
    "the VM at another port, too": lambda host: described(host, pf0vf2={"iface-id": "vm1"}),
    "the VM has another address": lambda host: described(host, pf0vf1=OTHER_MAC),
    "two NICs of one VM": lambda host: described(
        host,
        pf0vf1={"iface-id": "vm1", "vm-uuid": "one"},
        pf0vf2={"iface-id": "vm2", "vm-uuid": "one"},
    ),
    "a queue less": lambda _host: ev.QueuesReported(DPID, {UPLINK: (0, 1, 2)}),
    "no queue": lambda _host: ev.QueuesReported(DPID, {UPLINK: ()}),
    "the port has gone": lambda _host: ev.PortRemoved(DPID, 1),
    "its link is down": lambda _host: ev.PortChanged(DPID, PortReport(1, "pf0vf1", up=False)),
    "the device has gone": lambda _host: ev.DeviceDown(DPID),
    "a queue takes no flows": lambda _host: ev.QueueCordoned(DPID, UPLINK, 1, Admission.CORDONED),
    "another policy": lambda _host: ev.PolicyReplaced(
        small_policy(copy_rate=COPY_RATE, rules=(Rule("all", 0, Match(), 2),), gates=())
    ),
    "port security": lambda _host: ev.PolicyReplaced(
        small_policy(copy_rate=COPY_RATE, port_security=PortSecurity.STRICT)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_both_come_to_the_same(change: str) -> None:
    pair = hosts()
    give(pair, storm(pair[0], 60) + storm(pair[0], 20, vm=2))
    do(pair, CHANGES[change](pair[0]))
    for first in (2000, 2100):
        give(pair, storm(pair[0], 30, first) + storm(pair[0], 20, first, vm=2))


def reactive(**changes: Any) -> Policy:
    return small_policy(copy_rate=COPY_RATE, pins=Pins(which="reactive", idle_timeout=10, **changes))


def waiting(host: Scenario, count: int, first: int, dport: int = 80) -> list[ev.FlowSeen]:
    """First packets that the device has not forwarded."""
    packets = [seen(host, 1 + number % 2, first + number, dport=dport) for number in range(count)]
    return [packet._replace(queue_id=None, waits=True) for packet in packets]


def test_packets_that_wait_are_answered_by_the_fast_path() -> None:
    pair = hosts(reactive())
    give(pair, waiting(pair[0], 8, 1000))
    effects, taken = give(pair, waiting(pair[0], 40, 2000))
    assert taken == 40
    kinds = [type(effect).__name__ for effect in effects if not isinstance(effect, fx.FlowReport)]
    assert kinds == ["PinFlow", "SendPacket"] * 40
    assert give(pair, waiting(pair[0], 8, 3000, dport=5000))[1] == 0, "their class has a limit"


def test_packets_that_wait_may_have_a_queue_by_their_rule() -> None:
    pair = hosts(reactive())
    ruled = [packet._replace(queue_id=2) for packet in waiting(pair[0], 80, 1000)]
    give(pair, ruled[:40])
    effects, taken = give(pair, ruled[40:])
    assert taken == 40
    assert {effect.queue_id for effect in effects if isinstance(effect, fx.PinFlow)} == {2}


def test_packets_that_wait_when_no_pin_is_to_be_had_go_the_general_way() -> None:
    pair = hosts(reactive(budget=20))
    give(pair, waiting(pair[0], 8, 1000))
    assert give(pair, waiting(pair[0], 30, 2000))[1] == 12


def test_a_sender_at_another_port_has_moved_for_both() -> None:
    pair = hosts()
    give(pair, storm(pair[0], 60))
    moved = [packet._replace(in_port=3) for packet in storm(pair[0], 20, 2000)]
    give(pair, moved)
    give(pair, storm(pair[0], 20, 3000))


def test_what_was_compared_is_compared_again_after_a_packet_of_the_general_way() -> None:
    pair = hosts()
    give(pair, storm(pair[0], 60))
    elsewhere = seen(pair[0], 1, 2500)._replace(in_port=UPLINK, egress_port=1)
    _, taken = give(pair, [*storm(pair[0], 5, 2000), elsewhere, *storm(pair[0], 5, 3000)])
    assert taken == 9, "the address is back at its port with the first packet after the other one"


@pytest.mark.parametrize("is_reactive", [False, True])
def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch, is_reactive: bool) -> None:
    monkeypatch.setattr(fast_path, "MOST_KEPT", 1)
    classes = TrafficClass("small", 0), TrafficClass("web", 1)
    rules = (Rule("web", 0, Match(dst_ports=((443, 443),)), 1),)
    pins = Pins(which="reactive" if is_reactive else "worthy")
    pair = hosts(small_policy(copy_rate=COPY_RATE, classes=classes, rules=rules, gates=(), pins=pins))
    host, kept = pair[0], pair[1].device.known_senders
    for first in range(1000, 1400, 20):
        give(pair, storm(host, 20, first) + storm(host, 3, first, vm=2))
        give(pair, waiting(host, 6, 5000 + first) + waiting(host, 6, 9000 + first, dport=443))
    assert len(kept) == 1
    (sender,) = kept.values()
    assert all(len(found) <= 1 for found in (sender.classes, sender.ways, sender.arrivals))


def test_packets_that_wait_for_a_port_without_queues_go_the_general_way() -> None:
    pair = hosts(reactive())
    give(pair, waiting(pair[0], 8, 1000))
    assert give(pair, waiting(pair[0], 4, 2000))[1] == 4
    do(pair, ev.QueuesReported(DPID, {UPLINK: ()}))
    do(pair, CHANGES["the port has gone"](pair[0]))
    give(pair, waiting(pair[0], 8, 3000))


def test_senders_with_a_group_address_or_the_address_of_another_are_not_kept() -> None:
    pair = hosts()
    do(pair, described(pair[0], pf0vf1=OTHER_MAC))
    host, kept = pair[0], pair[1].device.known_senders
    packets = storm(host, 20)
    group = [packet._replace(frame=packet.frame[:6] + b"\x03" + packet.frame[7:]) for packet in packets]
    give(pair, packets + group)
    assert not kept


_STEP = st.one_of(
    st.tuples(
        st.just("flows"), st.integers(1, 3), st.integers(1, 40), st.sampled_from([None, -1, 0, 1, 2, 3, 9])
    ),
    st.tuples(st.just("waiting"), st.just(0), st.integers(1, 30), st.just(0)),
    st.tuples(st.just("again"), st.integers(1, 3), st.integers(0, 60), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.floats(0.0, 3.0), st.just(0), st.just(0)),
    st.tuples(st.just("end"), st.integers(0, 60), st.just(0), st.just(0)),
    st.tuples(st.just("change"), st.sampled_from(sorted(CHANGES)), st.just(0), st.just(0)),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(_STEP, max_size=14), st.booleans())
def test_any_history_leaves_the_same(steps: list[tuple[Any, ...]], is_reactive: bool) -> None:
    pair = hosts(reactive() if is_reactive else None)
    next_port = 1000
    for what, one, two, three in steps:
        host = pair[0]
        if DPID not in host.engine.devices:
            return
        if what == "flows":
            give(pair, [seen(host, one, next_port + number, three) for number in range(two)])
            next_port += two
        elif what == "waiting":
            give(pair, waiting(host, two, next_port))
            next_port += two
        elif what == "again":
            give(pair, [seen(host, one, 1000 + two, three)])
        elif what == "wait":
            for each in pair:
                each.now += one
            do(pair, ev.Tick())
        elif what == "end":
            rows = sorted(host.device.flows)
            if rows:
                row = rows[one % len(rows)]
                do(pair, ended(host, row))
        elif host.device.connected:
            do(pair, CHANGES[one](host))


def ended(host: Scenario, row: int) -> ev.LearnedEnded:
    """The end of a flow's learned entry."""
    flows = host.device.flows
    ports = flows.in_port[row], flows.egress_port[row]
    return ev.LearnedEnded(DPID, flows.device_key(row), *ports, 0x020000000001, 3, 300, True)
