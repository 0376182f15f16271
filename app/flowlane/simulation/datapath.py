"""Simulated datapath: standing rules, learned entries, pins, meters and counters, as Open vSwitch has them.

It knows nothing of the engine. :mod:`flowlane.simulation.world` gives it the engine's effects, and makes events of what
it does. A flow's packets are not simulated one by one: a flow sends at a rate (bit/s). Its bytes are added up when
its rate, queue or entry changes, and when they are asked for; those of queues and of groups from the sums of rates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from heapq import heapify, heapreplace
from typing import TYPE_CHECKING, Generic, TypeVar

from flowlane.core.effects import StandingMatch
from flowlane.core.flowkey import FRAGMENT, IPV6, LAYER2
from flowlane.core.model import LIMIT_BY_VM, NO_QUEUE
from flowlane.simulation.flowspec import ETH_TYPES

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, StandingRule
    from flowlane.core.model import MeterSpec, PinRef
    from flowlane.simulation.flowspec import FlowSpec

PACKET = 1500
"""Bytes of a packet, where packets are counted."""

FEWEST_SLOTS, MOST_SLOTS = 16, 256
"""Hash values that Open vSwitch tells apart in a select group (ofproto/ofproto-dpif.c)."""


@dataclass(slots=True)
class Sending:
    """A 5-tuple in the datapath, with its entries and counters.

    Attributes:
        key: with the number of the VM and the VLAN on this device.
        rate: bit/s that its senders offer now.
        since: time up to which ``octets`` counts.
        octets: bytes that its present entry has counted.
        shown: those of them that statistics show: datapath flows are read by the revalidators only now and then.
        in_second: bytes since the last second began, up to ``since``.
        last: time of its last packet.
        learned: whether it has a learned entry, which stays beside a pin until it is idle.
        learned_octets: bytes that the learned entry had counted when the flow got its pin.
        learned_shown: those of them that statistics showed then.
        pinned_at: when that was.
        group: the group that the learned entry is in (see :mod:`flowlane.core.flow.readings`).
        young: whether the device still counts its first packets, and has no entry for it.
        pin: the reference of its pin, None for none.
        placed_at: since when it is on its queue, or has its pin.
        users: numbers of the flows of the workload that have this 5-tuple.
        mac: its sender's MAC.
        counted: (queue id, meter id), group or None, and rate with which it is in the sums of rates.
    """

    key: bytes
    spec: FlowSpec
    in_port: int
    frame: bytes
    vm_number: int
    hash: int
    rate: float = 0.0
    since: float = 0.0
    octets: float = 0.0
    shown: float = 0.0
    in_second: float = 0.0
    last: float = 0.0
    queue_id: int = NO_QUEUE
    meter_id: int = 0
    learned: bool = False
    learned_octets: float = 0.0
    learned_shown: float = 0.0
    pinned_at: float = 0.0
    learned_queue: int = NO_QUEUE
    learned_meter: int = 0
    group: int = 0
    young: bool = False
    pin: PinRef | None = None
    placed_at: float = 0.0
    users: tuple[int, ...] = ()
    mac: int = 0
    counted: tuple[tuple[int, int], int | None, float] | None = None


def flow_hash(key: bytes) -> int:
    """Return a hash of a flow's 5-tuple, as a datapath has one to choose among the buckets of a group."""
    return int.from_bytes(blake2b(key[6:], digest_size=4).digest())


def bucket(queues: tuple[tuple[int, int], ...], value: int) -> int:
    """Return the queue that a select group with these (queue id, weight) gives a flow with this hash."""
    if not queues:
        return NO_QUEUE
    slots = _slots(queues)
    return slots[value % len(slots)]


@lru_cache(maxsize=256)
def _slots(queues: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """Return the queue of each hash value: Webster's method, as in Open vSwitch (``group_setup_dp_hash_table``)."""
    total, least = sum(weight for _, weight in queues), min(weight for _, weight in queues)
    count = min(MOST_SLOTS, max(FEWEST_SLOTS, 1 << (-(-total // least) - 1).bit_length()))
    heap = [(-float(weight), place, 1) for place, (_, weight) in enumerate(queues)]
    heapify(heap)
    slots = []
    for _ in range(count):
        _, place, divisor = heap[0]
        queue_id, weight = queues[place]
        slots.append(queue_id)
        heapreplace(heap, (-weight / (divisor + 2), place, divisor + 2))
    return tuple(slots)


Key = TypeVar("Key", bound=Hashable)


class Sums(Generic[Key]):
    """Bytes of flows by key, added up from the sum of their rates."""

    def __init__(self) -> None:
        self.octets: defaultdict[Key, float] = defaultdict(float)
        self._rates: dict[Key, tuple[int, float, float]] = {}
        """Key -> number of flows, their rate in bit/s, and the time up to which their bytes are added up."""

    def change(self, key: Key, flows: int, rate: float, now: float) -> None:
        """Let a number of flows with a rate come (or go, where both are negative)."""
        count, before, since = self._rates.get(key, (0, 0.0, now))
        self.octets[key] += before * (now - since) / 8
        count += flows
        if count:
            self._rates[key] = count, before + rate, now
        else:
            self._rates.pop(key, None)

    def add_up(self, now: float) -> None:
        """Bring all bytes up to date."""
        for key, (count, rate, since) in self._rates.items():
            self.octets[key] += rate * (now - since) / 8
            self._rates[key] = count, rate, now


class Datapath:
    """Tables, meters and counters of one simulated device with one uplink.

    Attributes:
        pinned: key -> flow with a pin.
        offered: bytes by (queue id, meter id) since the second began, before the meter.
        shown_groups: bytes of each group of learned entries, as the entries of table learn show them.
    """

    def __init__(self, egress_port: int) -> None:
        self.egress_port = egress_port
        self.plan: DevicePlan | None = None
        self.flows: dict[bytes, Sending] = {}
        self.pinned: dict[bytes, Sending] = {}
        self.meters: dict[int, MeterSpec] = {}
        self.offered: Sums[tuple[int, int]] = Sums()
        self.shown_groups: dict[int, int] = {}
        self._groups: Sums[int] = Sums()
        self._shown_at = self._second_began = 0.0
        self._tokens: dict[int, float] = {}
        self._rules: list[tuple[StandingRule, bool]] = []
        """Those of the uplink, the highest order first, and whether all flows match."""

    def program(self, plan: DevicePlan) -> None:
        """Take over a plan: its standing rules and class meters."""
        self.plan = plan
        self.meters.update((meter.meter_id, meter) for meter in plan.meters)
        here = (rule for rule in plan.rules if rule.egress_port == self.egress_port)
        ordered = sorted(here, key=lambda rule: rule.order, reverse=True)
        self._rules = [(rule, rule.match == StandingMatch()) for rule in ordered]

    def settle(self, flow: Sending, now: float) -> None:
        """Add up what a flow has sent until now: all of it, what statistics show of it, and that of this second."""
        since, rate = flow.since, flow.rate
        if now <= since:
            return
        flow.since = now
        if since <= self._shown_at:
            flow.shown = flow.octets + rate * (self._shown_at - since) / 8
        begin = self._second_began
        if since <= begin:
            flow.in_second = 0.0
        flow.octets += rate * (now - since) / 8
        flow.in_second += rate * (now - max(since, begin)) / 8
        if rate > 0:
            flow.last = now

    def recount(self, flow: Sending, now: float) -> None:
        """Bring the sums of rates up to date, after a flow's rate, queue, meter or entry has changed."""
        group = flow.group if flow.learned and flow.pin is None else None
        after = (flow.queue_id, flow.meter_id), group, flow.rate
        before = flow.counted
        if before == after:
            return
        if before is None or before[0] != after[0] or before[2] != after[2]:
            self._change(self.offered, before and (before[0], before[2]), (after[0], after[2]), now)
        self._change(self._groups, before and (before[1], before[2]), (after[1], after[2]), now)
        flow.counted = after
        if flow.pin is None:
            self.pinned.pop(flow.key, None)
        else:
            self.pinned[flow.key] = flow

    @staticmethod
    def _change(
        sums: Sums[Key], before: tuple[Key | None, float] | None, after: tuple[Key | None, float], now: float
    ) -> None:
        """Take a flow out of the sum that it was in, and put it into another."""
        if before is not None and before[0] is not None and before[1]:
            sums.change(before[0], -1, -before[1], now)
        if after[0] is not None and after[1]:
            sums.change(after[0], 1, after[1], now)

    def remove(self, flow: Sending) -> None:
        """Remove the entries of a flow that sends nothing."""
        self.flows.pop(flow.key, None)
        self.pinned.pop(flow.key, None)

    def show_counters(self, now: float) -> None:
        """Bring the statistics of all entries up to date, as revalidators do; those of a flow when it is settled."""
        self._groups.add_up(now)
        self.shown_groups = {group: int(octets) for group, octets in self._groups.octets.items()}
        self._shown_at = now

    def place(self, flow: Sending, now: float) -> StandingRule | None:
        """Give a flow without an entry the queue and meter of the standing rule that matches; return the rule."""
        self.settle(flow, now)
        rule = self.rule_for(flow)
        flow.queue_id = bucket(rule.queues, flow.hash) if rule is not None else NO_QUEUE
        flow.meter_id = self._meter_of(flow, rule.meter_id) if rule is not None else 0
        flow.learned_queue, flow.learned_meter = flow.queue_id, flow.meter_id
        flow.octets = flow.shown = 0.0
        self.recount(flow, now)
        return rule

    def _meter_of(self, flow: Sending, meter_id: int) -> int:
        """Return the meter that a standing rule names, or that of the flow's VM where it names a limit by VM."""
        if meter_id < LIMIT_BY_VM or self.plan is None:
            return meter_id
        return {place[:2]: place.meter_id for place in self.plan.vm_meters}.get((meter_id, flow.vm_number), 0)

    def rule_for(self, flow: Sending) -> StandingRule | None:
        """Return the standing rule of the highest order that matches a flow."""
        for rule, of_all in self._rules:
            if of_all or matches(rule.match, flow.spec, flow.vm_number):
                return rule
        return None

    def use_pin(self, flow: Sending, ref: PinRef, queue_id: int, meter_id: int, now: float) -> None:
        """Put a flow's pin in, or change its actions."""
        self.settle(flow, now)
        if flow.pin is None:
            flow.learned_octets, flow.learned_shown, flow.pinned_at = flow.octets, flow.shown, now
            flow.octets = flow.shown = 0.0
        flow.pin, flow.young = ref, False
        flow.queue_id, flow.meter_id = queue_id, meter_id
        self.recount(flow, now)

    def shown_of_learned(self, flow: Sending) -> int:
        """Return what statistics show of a flow's learned entry, in bytes; beside a pin it counts nothing more."""
        if flow.pin is None:
            return int(flow.shown)
        return int(flow.learned_octets if self._shown_at > flow.pinned_at else flow.learned_shown)

    def drop_pin(self, flow: Sending, now: float) -> None:
        """Take a flow's pin out; its learned entry, if it still stands, counts again."""
        self.settle(flow, now)
        flow.pin = None
        flow.octets = flow.shown = 0.0
        if flow.learned:
            flow.queue_id, flow.meter_id = flow.learned_queue, flow.learned_meter
        self.recount(flow, now)

    def end_second(self, now: float, seconds: float = 1.0, *, by_flow: bool = True) -> Second:
        """Close a second: how much of what was offered the meters passed, by queue and, where wanted, by flow."""
        self.offered.add_up(now)
        offered = self.offered.octets
        parts = {
            meter_id: self._part_passed(meter_id, seconds) for meter_id in {owner for _, owner in offered}
        }
        by_queue: defaultdict[int, float] = defaultdict(float)
        for (queue_id, meter_id), octets in offered.items():
            if octets:
                by_queue[queue_id] += octets * parts[meter_id]
        flows = self._passed(parts, now) if by_flow else {}
        offered.clear()
        self._second_began = now
        return Second(dict(by_queue), flows)

    def _passed(self, parts: Mapping[int, float], now: float) -> dict[bytes, float]:
        """Return the bytes of the second that has passed, by flow, as far as the meters passed them."""
        passed = {}
        for key, flow in self.flows.items():
            self.settle(flow, now)
            if flow.in_second and flow.since > self._second_began:
                passed[key] = flow.in_second * parts.get(flow.meter_id, 1.0)
        return passed

    def _part_passed(self, meter_id: int, seconds: float) -> float:
        """Return the part of a second's bytes that a meter passed: a token bucket of its rate and burst."""
        meter = self.meters.get(meter_id)
        offered = 8 * sum(octets for (_, owner), octets in self.offered.octets.items() if owner == meter_id)
        if meter is None or not offered:
            return 1.0
        tokens = self._tokens.get(meter_id, float(meter.burst)) + meter.rate * seconds
        passed = min(offered, tokens)
        self._tokens[meter_id] = min(float(meter.burst), tokens - passed)
        return passed / offered


@dataclass(frozen=True, slots=True)
class Second:
    """Bytes of one second that reached the queues: by queue id, and by flow key."""

    by_queue: Mapping[int, float]
    by_flow: Mapping[bytes, float]


def matches(match: StandingMatch, spec: FlowSpec, vm_number: int) -> bool:
    """Whether a standing rule's match takes a flow's packets."""
    if match.vm_numbers and vm_number not in match.vm_numbers:
        return False
    return all(_field_matches(match, spec))


def _field_matches(match: StandingMatch, spec: FlowSpec) -> Iterator[bool]:
    layer2 = spec.kind == LAYER2
    fragments = spec.is_of_fragments
    eth_type = spec.src_port if layer2 else ETH_TYPES[spec.kind]
    yield match.eth_type in (None, eth_type)
    hidden = fragments and spec.kind == IPV6 and spec.protocol == FRAGMENT
    yield match.ip_proto is None or (not layer2 and (hidden or match.ip_proto == spec.protocol))
    yield match.src is None or _in_prefix(spec.src, match.src)
    yield match.dst is None or _in_prefix(spec.dst, match.dst)
    yield fragments or _in_spans(spec.src_port, match.src_ports)
    yield fragments or _in_spans(spec.dst_port, match.dst_ports)
    yield match.dscp in (None, spec.dscp)
    yield match.pcp is None or (spec.vlan is not None and match.pcp == spec.pcp)
    yield match.vlan in (None, spec.vlan)


def _in_prefix(address: bytes, prefix: tuple[bytes, int]) -> bool:
    network, length = prefix
    if len(network) != len(address):
        return False
    shift = 8 * len(address) - length
    return int.from_bytes(address) >> shift == int.from_bytes(network) >> shift


def _in_spans(value: int, spans: tuple[tuple[int, int], ...]) -> bool:
    return not spans or any(first <= value <= last for first, last in spans)
