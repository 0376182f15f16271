"""Standing rules as entries of table spread and select groups: how a device places new flows itself.

A rule with one queue becomes ``set_queue`` and a goto to table output. A rule with several becomes a select
group whose buckets set a queue and output; the device keeps all packets of a flow in one bucket. The packet
is copied to the controller, and does not wait for it [0054].

On a device that learns, the queue is loaded into a register and the packet goes on to table learn; only a
flow's first packet comes to table spread at all. In reactive mode, which exists for comparison, the packet
goes to the controller, but for packets that the switch itself reads.

Queues are choices (:mod:`flowlane.core.marks`). A mark is written by table output, to which its choice leads in a
register; a device without registers gets marks by pins only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core import marks
from flowlane.core.device.standing import GROUP_IDS, group_of_class
from flowlane.core.model import LIMIT_BY_VM, NO_PORT, NO_QUEUE, NOT_A_VM, LeftOut
from flowlane.core.pacing import no_pause, paced
from flowlane.southbound.openflow.tables import matches, over_quota, pipeline, young
from flowlane.southbound.openflow.tables.entries import (
    Bucket,
    FlowEntry,
    Goto,
    GroupEntry,
    Meter,
    Output,
    SetQueue,
    Step,
    UseGroup,
    flow,
)
from flowlane.southbound.openflow.tables.pipeline import STANDING_ORDERS, Priority, TableId
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.constants import (
    CONTROLLER_PORT,
    NORMAL_PORT,
    OPENFLOW_15,
    WHOLE_PACKET,
)
from flowlane.southbound.openflow.wire.fields import match
from flowlane.southbound.openflow.wire.nicira import METER, QUEUE, SEEN, Load, Resubmit
from flowlane.southbound.openflow.wire.selection import BY_DATAPATH, BY_FIELDS

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, StandingRule
    from flowlane.core.model import Capabilities

_TO_OUTPUT = Goto(TableId.OUTPUT)
_TO_LEARN = Goto(TableId.LEARN)


def left_out_rule(rule: StandingRule, why: str, instead: str = "") -> LeftOut:
    """Report a rule that the device does not get as it was given; ``instead`` is its fallback, '' for none."""
    return LeftOut(f"standing rule of class {rule.class_name}", why, instead)


class _Mode(NamedTuple):
    """How the device places new flows: see :class:`flowlane.core.effects.DevicePlan`."""

    copy_bytes: int
    learns: bool
    reactive: bool
    port_masks: bool
    ip_frag: bool
    select_by: str
    normal: bool


def learns_itself(plan: DevicePlan, capabilities: Capabilities) -> bool:
    """Return whether the device is to make learned entries."""
    return bool(plan.learned_idle and capabilities.learn and not plan.reactive)


def compile_rules(
    plan: DevicePlan,
    capabilities: Capabilities,
    ports: Mapping[int, Collection[int]],
    meters: Collection[int],
    foreign_groups: Collection[int] = (),
    pace: Callable[[], None] = no_pause,
) -> tuple[tuple[GroupEntry, ...], tuple[FlowEntry, ...], tuple[LeftOut, ...]]:
    """Make the groups and entries of a plan's standing rules, and list what was left out.

    Args:
        meters: ids of the meters that the device will have.
        foreign_groups: ids of groups that are not ours.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    left_out: list[LeftOut] = []
    rules = [
        fitted
        for rule in paced(plan.rules, pace)
        if (fitted := _fit(rule, capabilities, ports, meters, left_out)) is not None
    ]
    learns = learns_itself(plan, capabilities)
    short_ways = over_quota.short_ways(plan, capabilities, rules) if learns else {}
    on_long_ways = [number for number in plan.over_quota if number not in short_ways] if learns else []
    mode = _mode(plan, capabilities, for_floods=bool(on_long_ways))
    groups = {} if mode.reactive else _groups(rules, capabilities, mode, left_out, foreign_groups)
    flows = [_not_a_vm(), *(_seen(rules, mode.copy_bytes) if mode.learns else ())]
    if mode.reactive and mode.normal:
        flows += _read_by_switch(mode.copy_bytes)
    by_vm = _ByVm.of(plan, mode, rules, meters)
    for rule in paced(rules, pace):
        flows.extend(_entries(rule, groups, mode, left_out, by_vm))
    limits = limit_entries(plan, meters) if mode.learns and any(map(_is_by_vm, rules)) else ()
    used = {
        step.group_id for entry in paced(flows, pace) for step in entry.steps if isinstance(step, UseGroup)
    }
    used_groups = (group for group in groups.values() if group.group_id in used)
    labels = young.label_entries(rules, plan.copy_bytes) if young.tracks(plan, capabilities) else ()
    of_over_quota = (*chain.from_iterable(short_ways.values()), *over_quota.long_ways(on_long_ways))
    entries = (*_unique(paced(flows, pace)), *labels, *limits, *of_over_quota)
    return tuple(sorted(used_groups, key=lambda group: group.group_id)), entries, tuple(left_out)


def entries_without_queues(
    rules: Iterable[StandingRule], plan: DevicePlan, capabilities: Capabilities
) -> tuple[FlowEntry, ...]:
    """Make the entries of some rules of a plan that have neither queues nor a meter, on ports that the device has."""
    mode, left_out = _mode(plan, capabilities, for_floods=False), list[LeftOut]()
    flows = (entry for rule in rules for entry in _entries(rule, {}, mode, left_out, _ByVm({})))
    return _unique(flows)


def _mode(plan: DevicePlan, capabilities: Capabilities, *, for_floods: bool) -> _Mode:
    return _Mode(
        plan.copy_bytes,
        learns_itself(plan, capabilities),
        plan.reactive,
        capabilities.port_masks,
        capabilities.learn,
        _select_by(plan, capabilities, for_floods),
        capabilities.normal,
    )


def _select_by(plan: DevicePlan, capabilities: Capabilities, for_floods: bool) -> str:
    """Return the selection method of groups; only groups of 1.5 have one, by an extension of Open vSwitch.

    By the datapath's hash it decides once for all flows of a bucket; a hash of fields is a decision for each flow.

    Args:
        for_floods: whether VMs beyond their quotas come to groups.
    """
    if not capabilities.learn or capabilities.version < OPENFLOW_15:
        return ""
    by_datapath = young.tracks(plan, capabilities) or for_floods
    return BY_DATAPATH if by_datapath else BY_FIELDS


def _unique(flows: Iterable[FlowEntry]) -> tuple[FlowEntry, ...]:
    """Keep the first of entries with equal match and priority; a device would keep the last that it is sent."""
    first: dict[object, FlowEntry] = {}
    for entry in flows:
        first.setdefault((entry.priority, entry.match), entry)
    return tuple(first.values())


def _not_a_vm() -> FlowEntry:
    terms = match(metadata=pipeline.sender(NOT_A_VM))
    cookie = cookies.pack(cookies.Kind.INFRASTRUCTURE)
    return flow(TableId.SPREAD, Priority.NOT_A_VM, terms, (_TO_OUTPUT,), cookie)


def _read_by_switch(copy_bytes: int) -> Iterator[FlowEntry]:
    """Yield the entries of reactive mode for packets by which NORMAL learns; they are forwarded and copied at once.

    Open vSwitch has a packet-out translated without side effects (packet_xlate in ofproto/ofproto-dpif.c): it learns
    the source address, but neither members of multicast groups nor neighbours of its tunnels.
    """
    cookie = cookies.pack(cookies.Kind.INFRASTRUCTURE)
    copy = Output(CONTROLLER_PORT, copy_bytes)
    for kind in (*matches.MEMBERSHIP, *matches.NEIGHBOURS):
        yield flow(TableId.SPREAD, Priority.READ_BY_SWITCH, match(**kind), (copy, _TO_OUTPUT), cookie)


_SEEN_PRIORITIES = (
    (Priority.SEEN, Priority.SEEN_NEIGHBOUR),
    (Priority.SEEN_LIMITED, Priority.SEEN_NEIGHBOUR_LIMITED),
)


def _seen(rules: Iterable[StandingRule], copy_bytes: int) -> Iterator[FlowEntry]:
    """Yield the entries for flows with a learned entry: on to table learn, through the meter of the class.

    Neighbour discovery is copied with every packet, so that an address that moves is followed.
    """
    cookie = cookies.pack(cookies.Kind.INFRASTRUCTURE)
    copy = Output(CONTROLLER_PORT, copy_bytes)
    for meter_id in sorted({rule.meter_id for rule in rules} | {0}):
        limited: matches.Fields = {SEEN: 1, METER: meter_id} if meter_id else {SEEN: 1}
        limit: tuple[Step, ...] = (Meter(meter_id),) if meter_id else ()
        if meter_id >= LIMIT_BY_VM:
            limit = (Resubmit(TableId.SEEN),)
        priority, of_neighbour = _SEEN_PRIORITIES[bool(meter_id)]
        yield flow(TableId.SPREAD, priority, match(**limited), (*limit, _TO_LEARN), cookie)
        for neighbour in matches.NEIGHBOURS:
            terms = match(**limited, **neighbour)
            steps = (*limit, copy, _TO_LEARN)
            yield flow(TableId.SPREAD, of_neighbour, terms, steps, cookie)


def _is_by_vm(rule: StandingRule) -> bool:
    return rule.meter_id >= LIMIT_BY_VM


def limit_entries(plan: DevicePlan, meters: Collection[int]) -> Iterator[FlowEntry]:
    """Yield the entries of table seen with the meters of VMs, by the number of the limit in the packet's register.

    The last one keeps a packet of another VM from meeting learned entries, which have a lower priority.
    """
    cookie = cookies.pack(cookies.Kind.INFRASTRUCTURE)
    for limit, vm_number, meter_id in plan.vm_meters:
        if meter_id in meters:
            terms = match(**{METER: limit}, metadata=pipeline.sender(vm_number))
            yield flow(TableId.SEEN, Priority.LIMIT, terms, (Meter(meter_id),), cookie)
    any_limit: matches.Fields = {METER: (LIMIT_BY_VM, LIMIT_BY_VM)}
    yield flow(TableId.SEEN, Priority.NO_LIMIT, match(**any_limit), (), cookie)


MAX_BY_VM = 4096
"""Entries of single VMs with their meters that the standing rules of a device without registers may take in all."""


@dataclass(slots=True)
class _ByVm:
    """Meters of VMs on a device without registers, where each VM has an entry of its own in each standing rule.

    ``spacing``: priorities between two orders, so that such an entry comes before that of all VMs.
    """

    meters: Mapping[int, Mapping[int, int]]
    spacing: int = 1
    room: int = MAX_BY_VM

    @classmethod
    def of(
        cls, plan: DevicePlan, mode: _Mode, rules: Iterable[StandingRule], meters: Collection[int]
    ) -> _ByVm:
        """Collect the meters: limit -> VM number -> meter."""
        orders = [rule.order for rule in rules if _is_by_vm(rule)]
        if mode.learns or mode.reactive or not orders or 2 * max(orders) + 1 >= STANDING_ORDERS:
            return cls({})
        of_limit: dict[int, dict[int, int]] = {}
        for limit, vm_number, meter_id in plan.vm_meters:
            if meter_id in meters:
                of_limit.setdefault(limit, {})[vm_number] = meter_id
        return cls(of_limit, spacing=2)

    def rules(self, rule: StandingRule) -> list[StandingRule]:
        """Return the rules of single VMs, with their meters."""
        numbers = rule.match.vm_numbers
        return [
            rule._replace(match=rule.match._replace(vm_numbers=(vm_number,)), meter_id=meter_id)
            for vm_number, meter_id in self.meters.get(rule.meter_id, {}).items()
            if not numbers or vm_number in numbers
        ]


def _fit(
    rule: StandingRule,
    capabilities: Capabilities,
    ports: Mapping[int, Collection[int]],
    meters: Collection[int],
    left_out: list[LeftOut],
) -> StandingRule | None:
    """Return the rule as this device can have it; None when it cannot have it at all."""
    if rule.egress_port == NO_PORT:
        ports = {NO_PORT: ()}
    if rule.egress_port not in ports:
        left_out.append(left_out_rule(rule, f"the device has no port {rule.egress_port}"))
        return None
    if not 0 <= rule.order < STANDING_ORDERS:
        left_out.append(left_out_rule(rule, f"its order {rule.order} is not below {STANDING_ORDERS}"))
        return None
    fitted = rule if capabilities.learn else _without_marks(rule, left_out)
    missing = [choice for choice, _ in fitted.queues if not has_queue(choice, ports[rule.egress_port])]
    if missing:
        gone = frozenset(missing)
        others = tuple(queue for queue in fitted.queues if queue[0] not in gone)
        names = ", ".join(str(marks.split(choice)[0]) for choice in missing)
        instead = "its other queues" if others else "the port's default queue"
        left_out.append(
            left_out_rule(rule, f"port {rule.egress_port} does not report queue {names}", instead)
        )
        fitted = fitted._replace(queues=others)
    if rule.meter_id and not _is_by_vm(rule) and rule.meter_id not in meters:
        left_out.append(left_out_rule(rule, "the device has no meter for it", "no limit"))
        fitted = fitted._replace(meter_id=0)
    if len(fitted.queues) > 1 and not capabilities.select_groups:
        heaviest = max(fitted.queues, key=lambda queue: (queue[1], -queue[0]))
        left_out.append(left_out_rule(rule, "the device has no select groups", f"queue {heaviest[0]} only"))
        fitted = fitted._replace(queues=(heaviest,))
    return fitted


def has_queue(choice: int, queue_ids: Collection[int]) -> bool:
    """Whether a port with these queues has the one of a choice, or the choice needs none."""
    queue_id, _ = marks.split(choice)
    return queue_id == NO_QUEUE or queue_id in queue_ids


def _without_marks(rule: StandingRule, left_out: list[LeftOut]) -> StandingRule:
    """Return the rule for a device without registers: its queues for ``set_queue`` alone, each once."""
    weights: dict[int, int] = {}
    for choice, weight in rule.queues:
        queue_id, _ = marks.split(choice)
        weights[queue_id] = weights.get(queue_id, 0) + weight
    if weights.keys() == dict(rule.queues).keys():
        return rule
    left_out.append(left_out_rule(rule, "the device has no registers", "marks from the pin of a flow on"))
    return rule._replace(
        queues=tuple((queue_id, weight) for queue_id, weight in weights.items() if queue_id != NO_QUEUE)
    )


def _groups(
    rules: Iterable[StandingRule],
    capabilities: Capabilities,
    mode: _Mode,
    left_out: list[LeftOut],
    foreign_groups: Collection[int],
) -> dict[tuple[int, str, tuple[tuple[int, int], ...]], GroupEntry]:
    """Make a select group for each different set of queues, as many as the device can have."""
    groups: dict[tuple[int, str, tuple[tuple[int, int], ...]], GroupEntry] = {}
    taken = set(foreign_groups)
    for rule in rules:
        spread = (rule.egress_port, rule.class_name, rule.queues)
        if len(rule.queues) < 2 or spread in groups:
            continue
        if capabilities.max_groups and len(taken) >= capabilities.max_groups:
            left_out.append(
                left_out_rule(rule, "the device has no room for another group", "its first queue only")
            )
            continue
        group_id = _free_id(rule.egress_port, rule.class_name, taken)
        groups[spread] = GroupEntry(group_id, _buckets(rule, mode), mode.select_by)
    return groups


def _free_id(egress_port: int, class_name: str, taken: set[int]) -> int:
    """Return an id derived from port and class; the next free one when it is taken.

    A group whose queues or weights change keeps its id, so that it is modified and not replaced.
    """
    group_id = group_of_class(egress_port, class_name)
    while group_id in taken:
        group_id = group_id % GROUP_IDS + 1
    taken.add(group_id)
    return group_id


def _buckets(rule: StandingRule, mode: _Mode) -> tuple[Bucket, ...]:
    egress = NORMAL_PORT if mode.normal else rule.egress_port
    port_no, next_table = (0, TableId.LEARN) if mode.learns else (egress, None)
    if not mode.learns and any(_has_mark(choice) for choice, _ in rule.queues):
        port_no, next_table = 0, TableId.OUTPUT
    return tuple(
        Bucket(choice, port_no, max(1, min(weight, 0xFFFF)), next_table) for choice, weight in rule.queues
    )


def _has_mark(choice: int) -> bool:
    return marks.split(choice)[1] != marks.NO_MARK


def _entries(
    rule: StandingRule,
    groups: Mapping[tuple[int, str, tuple[tuple[int, int], ...]], GroupEntry],
    mode: _Mode,
    left_out: list[LeftOut],
    by_vm: _ByVm,
) -> Iterator[FlowEntry]:
    group = groups.get((rule.egress_port, rule.class_name, rule.queues))
    queue_id = rule.queues[0][0] if rule.queues and group is None else None
    cookie = cookies.standing(rule.order, queue_id, waits=mode.reactive)
    priority = Priority.STANDING + rule.order * by_vm.spacing
    make_steps = _STEPS_OF[mode.learns, mode.reactive]
    steps = tuple(make_steps(rule, group, queue_id, mode.copy_bytes))
    try:
        rule_matches = matches.matches(rule.match, rule.egress_port, mode.port_masks, mode.ip_frag)
    except matches.CannotExpressError as error:
        left_out.append(left_out_rule(rule, str(error)))
        return
    for terms in rule_matches:
        yield flow(TableId.SPREAD, priority, terms, steps, cookie)
    of_vms = by_vm.rules(rule)
    for of_vm in of_vms:
        own_matches = matches.matches(of_vm.match, rule.egress_port, mode.port_masks, mode.ip_frag)
        if by_vm.room < len(own_matches):
            why = f"the meters of VMs take more than {MAX_BY_VM} entries"
            left_out.append(left_out_rule(rule, why, "a limit from the pin of a flow on"))
            return
        by_vm.room -= len(own_matches)
        own_steps = tuple(make_steps(of_vm, group, queue_id, mode.copy_bytes))
        for terms in own_matches:
            yield flow(TableId.SPREAD, priority + 1, terms, own_steps, cookie)


def _steps(
    rule: StandingRule, group: GroupEntry | None, queue_id: int | None, copy_bytes: int
) -> Iterator[Step]:
    if rule.meter_id and not _is_by_vm(rule):
        yield Meter(rule.meter_id)
    if rule.learn:
        yield Output(CONTROLLER_PORT, copy_bytes)
    if group is not None:
        yield UseGroup(group.group_id)
        return
    if queue_id is not None:
        yield Load(QUEUE, queue_id + 1) if _has_mark(queue_id) else SetQueue(queue_id)
    yield _TO_OUTPUT


def _learning_steps(
    rule: StandingRule, group: GroupEntry | None, queue_id: int | None, _copy_bytes: int
) -> Iterator[Step]:
    yield from young.limit_steps(rule.meter_id)
    if group is not None:
        yield UseGroup(group.group_id)
        return
    if queue_id is not None:
        yield Load(QUEUE, queue_id + 1)
    yield _TO_LEARN


def _reactive_steps(
    _rule: StandingRule, _group: GroupEntry | None, _queue_id: int | None, _copy_bytes: int
) -> Iterator[Step]:
    yield Output(CONTROLLER_PORT, WHOLE_PACKET)


_STEPS_OF = {(False, False): _steps, (True, False): _learning_steps, (False, True): _reactive_steps}
"""(the device learns, reactive) -> function that makes the steps of a standing rule's entries."""
