"""Standing rules as entries of the spread table and select groups: how a device places new flows itself.

One queue: ``set_queue`` and on to output. Several: a select group, whose buckets set a queue and send; the
device keeps all packets of a flow on one bucket. The copy for the controller goes out beside, and no packet
waits for it [0054].

On a device that learns by itself the queue goes into a register, and the packet on to table learn: only a
flow's first packet comes here at all. In reactive mode, kept for comparison, the packet goes to the controller.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from flowlane.core.model import NOT_A_VM, LeftOut
from flowlane.southbound.openflow.tables import matches, pipeline, young
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
from flowlane.southbound.openflow.wire.constants import CONTROLLER_PORT, OPENFLOW_15, WHOLE_PACKET
from flowlane.southbound.openflow.wire.fields import match
from flowlane.southbound.openflow.wire.nicira import METER, QUEUE, SEEN, Load
from flowlane.southbound.openflow.wire.selection import BY_DATAPATH, BY_FIELDS

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, StandingRule
    from flowlane.core.model import Capabilities

_GROUP_IDS = 0x7FFFFFFF
_TO_OUTPUT = Goto(TableId.OUTPUT)
_TO_LEARN = Goto(TableId.LEARN)


def left_out_rule(rule: StandingRule, why: str, instead: str = "") -> LeftOut:
    """Report a rule that the device does not get as it was given; ``instead`` '' when nothing stands in its place."""
    return LeftOut(f"standing rule of class {rule.class_name}", why, instead)


class _Mode(NamedTuple):
    """How the device places new flows: see :class:`flowlane.core.effects.DevicePlan`."""

    copy_bytes: int
    learns: bool
    reactive: bool
    port_masks: bool
    select_by: str


def learns_itself(plan: DevicePlan, capabilities: Capabilities) -> bool:
    """Whether the device is to remember by itself which flows it has seen."""
    return bool(plan.learned_idle and capabilities.learn and not plan.reactive)


def compile_rules(
    plan: DevicePlan,
    capabilities: Capabilities,
    ports: Mapping[int, Collection[int]],
    meters: Collection[int],
) -> tuple[tuple[GroupEntry, ...], tuple[FlowEntry, ...], tuple[LeftOut, ...]]:
    """Make the groups and entries of a plan's standing rules, and say what was left out.

    Args:
        ports: port number -> ids of the queues reported there.
        meters: ids of the meters that will be there.
    """
    left_out: list[LeftOut] = []
    rules = [
        fitted
        for rule in plan.rules
        if (fitted := _fit(rule, capabilities, ports, meters, left_out)) is not None
    ]
    mode = _Mode(
        plan.copy_bytes,
        learns_itself(plan, capabilities),
        plan.reactive,
        capabilities.port_masks,
        _select_by(plan, capabilities),
    )
    groups = {} if mode.reactive else _groups(rules, capabilities, mode, left_out)
    flows = [_not_a_vm(), *(_seen(rules) if mode.learns else ())]
    for rule in rules:
        flows.extend(_entries(rule, groups, mode, left_out))
    used = {step.group_id for made in flows for step in made.steps if isinstance(step, UseGroup)}
    kept = (group for group in groups.values() if group.group_id in used)
    remembered = young.remember(rules, plan.copy_bytes) if young.gated(plan, capabilities) else ()
    entries = (*_unique(flows), *remembered)
    return tuple(sorted(kept, key=lambda group: group.group_id)), entries, tuple(left_out)


def _select_by(plan: DevicePlan, capabilities: Capabilities) -> str:
    """Which hash groups are told to use: 1.5's only can be told, and only Open vSwitch's extensions say how."""
    if not capabilities.learn or capabilities.version < OPENFLOW_15:
        return ""
    return BY_DATAPATH if young.gated(plan, capabilities) else BY_FIELDS


def _unique(flows: Iterable[FlowEntry]) -> tuple[FlowEntry, ...]:
    """Of entries with equal match and priority the first: a device would keep the last it is sent."""
    first: dict[object, FlowEntry] = {}
    for made in flows:
        first.setdefault((made.priority, made.match), made)
    return tuple(first.values())


def _not_a_vm() -> FlowEntry:
    wanted = match(metadata=pipeline.sender(NOT_A_VM))
    cookie = cookies.pack(cookies.Kind.INFRASTRUCTURE)
    return flow(TableId.SPREAD, Priority.NOT_A_VM, wanted, (_TO_OUTPUT,), cookie)


def _seen(rules: Iterable[StandingRule]) -> Iterator[FlowEntry]:
    """A flow that the device has learned goes by the queue in its register, through the meter of its class."""
    cookie = cookies.pack(cookies.Kind.INFRASTRUCTURE)
    yield flow(TableId.SPREAD, Priority.SEEN, match(**{SEEN: 1}), (_TO_OUTPUT,), cookie)
    for meter_id in sorted({rule.meter_id for rule in rules} - {0}):
        wanted = match(**{SEEN: 1, METER: meter_id})
        yield flow(TableId.SPREAD, Priority.SEEN_LIMITED, wanted, (Meter(meter_id), _TO_OUTPUT), cookie)


def _fit(
    rule: StandingRule,
    capabilities: Capabilities,
    ports: Mapping[int, Collection[int]],
    meters: Collection[int],
    left_out: list[LeftOut],
) -> StandingRule | None:
    """The rule as this device can have it; None when it cannot."""
    if rule.egress_port not in ports:
        left_out.append(left_out_rule(rule, f"the device has no port {rule.egress_port}"))
        return None
    if not 0 <= rule.order < STANDING_ORDERS:
        left_out.append(left_out_rule(rule, f"its order {rule.order} is not below {STANDING_ORDERS}"))
        return None
    fitted = rule
    missing = [queue_id for queue_id, _ in rule.queues if queue_id not in ports[rule.egress_port]]
    if missing:
        left = tuple(queue for queue in rule.queues if queue[0] not in missing)
        names = ", ".join(map(str, missing))
        instead = "its other queues" if left else "the port's default queue"
        left_out.append(
            left_out_rule(rule, f"port {rule.egress_port} does not report queue {names}", instead)
        )
        fitted = fitted._replace(queues=left)
    if rule.meter_id and rule.meter_id not in meters:
        left_out.append(left_out_rule(rule, "the device has no meter for it", "no limit"))
        fitted = fitted._replace(meter_id=0)
    if len(fitted.queues) > 1 and not capabilities.select_groups:
        heaviest = max(fitted.queues, key=lambda queue: (queue[1], -queue[0]))
        left_out.append(left_out_rule(rule, "the device has no select groups", f"queue {heaviest[0]} alone"))
        fitted = fitted._replace(queues=(heaviest,))
    return fitted


def _groups(
    rules: Iterable[StandingRule], capabilities: Capabilities, mode: _Mode, left_out: list[LeftOut]
) -> dict[tuple[int, str, tuple[tuple[int, int], ...]], GroupEntry]:
    """A select group for each way of spreading; beyond what the device holds, rules go without."""
    found: dict[tuple[int, str, tuple[tuple[int, int], ...]], GroupEntry] = {}
    taken: set[int] = set()
    for rule in rules:
        wanted = (rule.egress_port, rule.class_name, rule.queues)
        if len(rule.queues) < 2 or wanted in found:
            continue
        if capabilities.max_groups and len(found) >= capabilities.max_groups:
            left_out.append(
                left_out_rule(rule, "the device has no room for another group", "its first queue alone")
            )
            continue
        group_id = _free_id(rule.egress_port, rule.class_name, taken)
        found[wanted] = GroupEntry(group_id, _buckets(rule, mode), mode.select_by)
    return found


def _free_id(egress_port: int, class_name: str, taken: set[int]) -> int:
    """An id that follows from what the group is for; the next free one when it is taken.

    A group keeps its id when only its queues or weights change, so that it is modified and not replaced.
    """
    group_id = crc32(f"{egress_port} {class_name}".encode()) % _GROUP_IDS + 1
    while group_id in taken:
        group_id = group_id % _GROUP_IDS + 1
    taken.add(group_id)
    return group_id


def _buckets(rule: StandingRule, mode: _Mode) -> tuple[Bucket, ...]:
    port_no, onward = (0, TableId.LEARN) if mode.learns else (rule.egress_port, None)
    return tuple(
        Bucket(queue_id, port_no, max(1, min(weight, 0xFFFF)), onward) for queue_id, weight in rule.queues
    )


def _entries(
    rule: StandingRule,
    groups: Mapping[tuple[int, str, tuple[tuple[int, int], ...]], GroupEntry],
    mode: _Mode,
    left_out: list[LeftOut],
) -> Iterator[FlowEntry]:
    group = groups.get((rule.egress_port, rule.class_name, rule.queues))
    queue_id = rule.queues[0][0] if rule.queues and group is None else None
    cookie = cookies.pack(cookies.Kind.STANDING, 0, cookies.standing_object(rule.order, queue_id))
    steps = tuple(_STEPS_OF[mode.learns, mode.reactive](rule, group, queue_id, mode.copy_bytes))
    try:
        wanted = matches.matches(rule.match, rule.egress_port, mode.port_masks)
    except matches.CannotExpressError as error:
        left_out.append(left_out_rule(rule, str(error)))
        return
    for one in wanted:
        yield flow(TableId.SPREAD, Priority.STANDING + rule.order, one, steps, cookie)


def _steps(
    rule: StandingRule, group: GroupEntry | None, queue_id: int | None, copy_bytes: int
) -> Iterator[Step]:
    if rule.meter_id:
        yield Meter(rule.meter_id)
    if rule.learn:
        yield Output(CONTROLLER_PORT, copy_bytes)
    if group is not None:
        yield UseGroup(group.group_id)
        return
    if queue_id is not None:
        yield SetQueue(queue_id)
    yield _TO_OUTPUT


def _learning_steps(
    rule: StandingRule, group: GroupEntry | None, queue_id: int | None, _copy_bytes: int
) -> Iterator[Step]:
    if rule.meter_id:
        yield Meter(rule.meter_id)
        yield Load(METER, rule.meter_id)
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
"""(the device learns, reactive) -> what a standing rule's entries do."""
