"""``GET /metrics``: Prometheus metrics (text exposition format 0.0.4), read from the state at each request."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import flowlane
from flowlane.northbound.views import device_queues, dpid_text, kind_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from flowlane.core.state.device import Device, State
    from flowlane.northbound.controller import Controller, Database

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[dict[str, str], float]


class Metric(NamedTuple):
    """A metric family. ``read`` returns its samples: labels and value."""

    name: str
    type: str
    about: str
    read: Callable[[Controller], Iterable[Sample]]


def exposition(controller: Controller) -> str:
    """Write all metrics as text."""
    return "".join(_family(metric, controller) for metric in METRICS)


def _family(metric: Metric, controller: Controller) -> str:
    lines = [f"# HELP {metric.name} {metric.about}", f"# TYPE {metric.name} {metric.type}"]
    lines += [f"{metric.name}{_labels(labels)} {value:.17g}" for labels, value in metric.read(controller)]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    return (
        "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}" if labels else ""
    )


def _escape(value: str) -> str:
    clean = value.encode("utf-8", "replace").decode()
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _total(read: Callable[[Controller], float]) -> Callable[[Controller], Iterable[Sample]]:
    return lambda controller: [({}, read(controller))]


def _per_device(read: Callable[[Device], float]) -> Callable[[Controller], Iterable[Sample]]:
    return lambda controller: [(_device(d), read(d)) for d in _devices(controller.state)]


def _connected(controller: Controller) -> list[Sample]:
    return [(_device(d), float(d.connected)) for d in _devices(controller.state) if d.declared is None]


def _per_database(read: Callable[[Database], float]) -> Callable[[Controller], Iterable[Sample]]:
    def samples(controller: Controller) -> list[Sample]:
        hosts = (item for item in controller.databases() if item.watcher.state != "listening")
        return [({"database": item.name}, read(item)) for item in hosts]

    return samples


def _per_queue(field: str) -> Callable[[Controller], Iterable[Sample]]:
    def read(controller: Controller) -> Iterator[Sample]:
        for device in _devices(controller.state):
            for queue in device_queues(device, controller.clock(), classified=False):
                value = queue[field]  # type: ignore[literal-required]
                labels = {"port": queue["port"], "queue": str(queue["queue_id"]), "kind": queue["kind"]}
                if value is not None:
                    yield {**_device(device), **labels}, value

    return read


def _by_kind(controller: Controller) -> Iterator[Sample]:
    for device in _devices(controller.state):
        for kind, count in kind_counts([device]).items():
            yield {**_device(device), "kind": kind}, float(str(count))


def _refusals(controller: Controller) -> Iterator[Sample]:
    for device in _devices(controller.state):
        for reason, count in device.refusals.items():
            yield {**_device(device), "reason": reason}, count


def _ready(controller: Controller) -> float:
    return float(not any(check.problem for check in controller.checks()))


def _devices(state: State) -> list[Device]:
    return [device for _, device in sorted(state.devices.items())]


def _device(device: Device) -> dict[str, str]:
    return {"device": dpid_text(device.dpid), "name": device.name}


METRICS = (
    Metric(
        "flowlane_build_info",
        "gauge",
        "Always 1; the version is a label.",
        lambda _: [({"version": flowlane.__version__}, 1)],
    ),
    Metric("flowlane_start_time_seconds", "gauge", "Unix time of the start.", _total(lambda c: c.started)),
    Metric("flowlane_ready", "gauge", "1 when the controller is ready.", _total(_ready)),
    Metric("flowlane_vms", "gauge", "Known VMs.", _total(lambda c: len(c.state.vms))),
    Metric(
        "flowlane_faults_total",
        "counter",
        "Unexpected exceptions; the log has them.",
        _total(lambda c: c.faults),
    ),
    Metric("flowlane_reports_total", "counter", "Reports published.", _total(lambda c: c.feed.last)),
    Metric("flowlane_event_readers", "gauge", "Readers of /v1/events.", _total(lambda c: c.feed.readers)),
    Metric(
        "flowlane_policy_changes_total",
        "counter",
        "Policies put in force.",
        _total(lambda c: c.state.policy_changes),
    ),
    Metric(
        "flowlane_database_synchronized",
        "gauge",
        "1 while the copy of a database is complete.",
        _per_database(lambda d: float(d.watcher.state == "synchronized")),
    ),
    Metric(
        "flowlane_database_sessions_total",
        "counter",
        "Connections to a database that gave a complete copy.",
        _per_database(lambda d: d.watcher.sessions),
    ),
    Metric(
        "flowlane_database_conflicts",
        "gauge",
        "Devices that another database described first.",
        _per_database(lambda d: len(d.conflicts)),
    ),
    Metric(
        "flowlane_device_connected",
        "gauge",
        "1 while the device is connected; passive switches have no connection, and none here.",
        _connected,
    ),
    Metric("flowlane_flows", "gauge", "Flows on a device.", _per_device(lambda d: len(d.flows))),
    Metric("flowlane_pinned_flows", "gauge", "Flows with an exact entry.", _per_device(lambda d: d.pinned)),
    Metric("flowlane_meters", "gauge", "Meters in use.", _per_device(lambda d: len(d.meters))),
    Metric(
        "flowlane_samples_total",
        "counter",
        "Sampled packets received.",
        _per_device(lambda d: d.samples.taken),
    ),
    Metric(
        "flowlane_sampled_heavy_flows_total",
        "counter",
        "Rate conditions that samples met before counters did.",
        _per_device(lambda d: d.samples.noticed),
    ),
    Metric(
        "flowlane_ipfix_datagrams_total",
        "counter",
        "Datagrams of samples, by what became of them.",
        lambda c: [({"result": name}, count) for name, count in c.datagrams.items()],
    ),
    Metric("flowlane_assignments", "gauge", "Flows by the kind of their queue.", _by_kind),
    Metric("flowlane_refusals_total", "counter", "Messages that a device refused.", _refusals),
    Metric("flowlane_queue_flows", "gauge", "Flows on a queue.", _per_queue("flows")),
    Metric(
        "flowlane_queue_load_bits_per_second",
        "gauge",
        "Measured rates of the flows on a queue.",
        _per_queue("load"),
    ),
    Metric("flowlane_queue_transmit_packets_total", "counter", "Packets sent.", _per_queue("tx_packets")),
    Metric("flowlane_queue_transmit_bytes_total", "counter", "Bytes sent.", _per_queue("tx_bytes")),
    Metric("flowlane_queue_transmit_errors_total", "counter", "Packets lost.", _per_queue("tx_errors")),
)
