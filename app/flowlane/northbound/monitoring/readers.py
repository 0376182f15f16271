"""What the metrics are made of: the state, read once, and a reader for each metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from flowlane.core.device.audit import COUNT, PIN
from flowlane.core.model import Reason
from flowlane.northbound.monitoring.process import Process, read_process
from flowlane.northbound.views import KIND_WORDS, dpid_text, kind_counts, slots
from flowlane.telemetry import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flowlane.core.state.device import Device, Port
    from flowlane.core.state.quotas import Usage
    from flowlane.northbound.controller import Clock, Controller, Database

BITS = 8
"""Bits of a byte: rates are bit/s everywhere else, and bytes/s here, as Prometheus asks for base units."""

Values = tuple[str, ...]
"""The values of a metric's labels, in order."""

Sample = tuple[Values, float]


class Queue(NamedTuple):
    """A queue as its metrics show it. Rates are bit/s; None: not known."""

    labels: Values
    flows: int
    load: int
    exclusive: bool
    cordoned: bool
    capacity: int | None
    guaranteed: int | None
    counters: tuple[int, int, int] | None


class Reading(NamedTuple):
    """What the metrics are made of, read once."""

    controller: Controller
    clock: Clock
    devices: list[Device]
    queues: list[Queue]
    reasons: dict[int, list[int]]
    """dpid -> number of flows by reason, by the reason's number."""
    process: Process


def read(controller: Controller, give_way: Callable[[], None]) -> Reading:
    """Read the state, a device at a time.

    Args:
        give_way: lets others run where a slice of time is over.
    """
    state = controller.state
    devices = [device for _, device in sorted(state.devices.items())]
    queues: list[Queue] = []
    reasons: dict[int, list[int]] = {}
    for device in devices:
        queues += [queue for _, port in sorted(device.ports.items()) for queue in _queues(device, port)]
        reasons[device.dpid] = _reasons(device)
        give_way()
    return Reading(controller, controller.clock(), devices, queues, reasons, read_process())


def _queues(device: Device, port: Port) -> Iterator[Queue]:
    by_id = slots(port)
    for queue_id, queue in sorted(port.queues.items()):
        slot = by_id.get(queue_id)
        known = [rate for rate in (queue.max_rate, port.rate) if rate is not None]
        yield Queue(
            (*_device(device), port.label, str(port.port_no), str(queue_id), KIND_WORDS[queue.kind]),
            slot.count if slot else 0,
            slot.load if slot else 0,
            bool(slot and slot.exclusive_row >= 0),
            (port.port_no, queue_id) in device.cordons,
            min(known, default=None),
            queue.min_rate,
            device.queue_counters.get((port.port_no, queue_id)),
        )


def _reasons(device: Device) -> list[int]:
    """Count a device's flows by reason; rows that are not used have the first one."""
    column = bytes(device.flows.reason)
    counts = [column.count(reason) for reason in range(len(Reason))]
    counts[Reason.UNPLACED] -= len(device.flows.keys) - len(device.flows)
    return counts


def _device(device: Device) -> tuple[str, str]:
    return dpid_text(device.dpid), device.name


# ---- readers of single metrics


def total(read: Callable[[Controller], float]) -> Callable[[Reading], Iterable[Sample]]:
    """Make the reader of one value of the controller."""
    return lambda reading: [((), read(reading.controller))]


def of_process(read: Callable[[Process], float]) -> Callable[[Reading], Iterable[Sample]]:
    """Make the reader of one value of the process."""
    return lambda reading: [((), read(reading.process))]


def per_device(read: Callable[[Device], float]) -> Callable[[Reading], Iterable[Sample]]:
    """Make the reader of a value of each device."""
    return lambda reading: [(_device(device), read(device)) for device in reading.devices]


def connected(reading: Reading) -> Iterable[Sample]:
    """Read which devices are connected; passive switches never are."""
    return [(_device(d), float(d.connected)) for d in reading.devices if d.declared is None]


def copies_dropped(reading: Reading) -> Iterable[Sample]:
    """Read the copies that devices dropped, of those that count them."""
    return [(_device(d), d.copies_dropped) for d in reading.devices if d.copies_dropped is not None]


def beyond_quota(reading: Reading) -> Iterator[Sample]:
    """Read which VMs are beyond their quotas, of those that have been."""
    for device, vm, usage in _usages(reading):
        yield (*_device(device), vm), float(usage.excess is not None)


def times_beyond_quota(reading: Reading) -> Iterator[Sample]:
    """Read how often VMs went beyond their quotas."""
    for device, vm, usage in _usages(reading):
        yield (*_device(device), vm), usage.times


def _usages(reading: Reading) -> Iterator[tuple[Device, str, Usage]]:
    state = reading.controller.state
    for number, dpids in state.beyond_quota.items():
        for dpid in dpids & state.devices.keys() if number in state.vms else ():
            if (usage := state.devices[dpid].usages.get(number)) is not None:
                yield state.devices[dpid], state.vms[number].id, usage


def counter_age(reading: Reading) -> Iterable[Sample]:
    """Read how old the oldest counters of each connected device are."""
    now = reading.clock.now
    return [(_device(d), d.readings.longest_unread(now)) for d in reading.devices if d.connected]


def packet_ins(reading: Reading) -> Iterable[Sample]:
    """Read the packet-ins of each device."""
    counts = reading.controller.telemetry.devices
    return [(_device(d), counts[d.dpid].packet_ins) for d in reading.devices if d.dpid in counts]


def flow_mods(reading: Reading) -> Iterator[Sample]:
    """Read what was sent to each device."""
    return _counted(reading, "flow_mods", ("add", "modify", "delete"))


def repairs(reading: Reading) -> Iterator[Sample]:
    """Read what was put back in each device, and what the audit put right."""
    yield from _counted(reading, "repairs", ("entry", "group", "meter"))
    for device in reading.devices:
        for kind in (PIN, COUNT):
            yield (*_device(device), kind), device.audit.counts.get(kind, 0)


def _counted(
    reading: Reading, what: Literal["flow_mods", "repairs"], kinds: tuple[str, ...]
) -> Iterator[Sample]:
    counts = reading.controller.telemetry.devices
    for device in reading.devices:
        if device.dpid in counts:
            of_kinds = getattr(counts[device.dpid], what)
            for kind in kinds:
                yield (*_device(device), kind), of_kinds[kind]


def moves(reading: Reading) -> Iterator[Sample]:
    """Read the moves by reason."""
    names = {device.dpid: device.name for device in reading.devices}
    for (dpid, reason), count in sorted(reading.controller.telemetry.moves.items()):
        if dpid in names:
            yield (dpid_text(dpid), names[dpid], reason), count


def flows_by_reason(reading: Reading) -> Iterator[Sample]:
    """Read the flows by reason, where there are any."""
    for device in reading.devices:
        for reason in Reason:
            if count := reading.reasons[device.dpid][reason]:
                yield (*_device(device), reason.name.lower().replace("_", "-")), count


def overflow(reading: Reading) -> Iterator[Sample]:
    """Read the flows that have overflowed to software queues."""
    for device in reading.devices:
        yield _device(device), reading.reasons[device.dpid][Reason.OVERFLOW_TO_SOFTWARE]


def by_kind(reading: Reading) -> Iterator[Sample]:
    """Read the flows by the kind of their queue."""
    for device in reading.devices:
        for kind, count in kind_counts([device]).items():
            yield (*_device(device), kind), float(str(count))


def refusals(reading: Reading) -> Iterator[Sample]:
    """Read what devices refused."""
    for device in reading.devices:
        for reason, count in list(device.refusals.items()):
            yield (*_device(device), reason), count


def per_database(read: Callable[[Database], float | None]) -> Callable[[Reading], Iterable[Sample]]:
    """Make the reader of a value of each database; None: it has none now."""

    def samples(reading: Reading) -> Iterator[Sample]:
        for item in reading.controller.databases():
            value = None if item.watcher.state == "listening" else read(item)
            if value is not None:
                yield (item.name,), value

    return samples


def per_queue(read: Callable[[Queue], float | None]) -> Callable[[Reading], Iterable[Sample]]:
    """Make the reader of a value of each queue; None: it is not known."""

    def samples(reading: Reading) -> Iterator[Sample]:
        for queue in reading.queues:
            value = read(queue)
            if value is not None:
                yield queue.labels, value

    return samples


def counter(index: int) -> Callable[[Queue], float | None]:
    """Make the reader of one of a queue's counters, by its place."""
    return lambda queue: None if queue.counters is None else queue.counters[index]


def in_bytes(bits: float | None) -> float | None:
    """Convert bit/s to bytes/s; None stays."""
    return None if bits is None else bits / BITS


def policy_info(reading: Reading) -> Iterable[Sample]:
    """Read hash and source of the policy in force."""
    origin = reading.controller.state.policy_origin
    return [((origin.hash, origin.source), 1)]


def http_requests(reading: Reading) -> Iterator[Sample]:
    """Read the requests of REST."""
    for (method, route, status), count in sorted(reading.controller.telemetry.http.requests.items()):
        yield (method, route, str(status)), count


def http_seconds(reading: Reading) -> Iterator[tuple[Values, Histogram]]:
    """Read how long answers of REST took, by route."""
    for route, histogram in sorted(reading.controller.telemetry.http.seconds.items()):
        yield (route,), histogram


def ready(controller: Controller) -> float:
    """Read whether the controller is ready."""
    return float(not any(check.problem for check in controller.checks()))


def histogram(
    read: Callable[[Controller], Histogram],
) -> Callable[[Reading], Iterable[tuple[Values, Histogram]]]:
    """Make the reader of one histogram of the controller."""
    """Read whether the controller is ready."""
    """Read how long answers of REST took, by route."""
    """Read the requests of REST."""
    """Read hash and source of the policy in force."""
    """Convert bit/s to bytes/s; None stays."""
    """Make the reader of one of a queue's counters, by its place."""
    """Make the reader of a value of each queue; None: it is not known."""
    """Make the reader of a value of each database; None: it has none now."""
    """Read what devices refused."""
    """Read the flows by the kind of their queue."""
    """Read the flows that have overflowed to software queues."""
    """Read the flows by reason, where there are any."""
    """Read the moves by reason."""
    """Read what was sent to each device."""
    """Read the packet-ins of each device."""
    """Read how old the oldest counters of each connected device are."""
    """Read the copies that devices dropped, of those that count them."""
    """Read which devices are connected; passive switches never are."""
    """Make the reader of a value of each device."""
    """Make the reader of one value of the process."""
    """Make the reader of one value of the controller."""
    return lambda reading: [((), read(reading.controller))]
