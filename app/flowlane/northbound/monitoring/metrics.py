"""``GET /metrics``: the table of metrics, read from the state at each request.

The text is made in slices, between which others are served: a controller with a million flows and thousands of queues
has some 100,000 lines. How many series there are is bounded: see docs/operators/metrics.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flowlane
from flowlane import pauses
from flowlane.northbound.monitoring.exposition import HistogramMetric, Metric, lines
from flowlane.northbound.monitoring.readers import (
    beyond_quota,
    by_kind,
    connected,
    copies_dropped,
    counter,
    counter_age,
    flow_mods,
    flows_by_reason,
    histogram,
    http_requests,
    http_seconds,
    in_bytes,
    moves,
    of_process,
    overflow,
    packet_ins,
    per_database,
    per_device,
    per_queue,
    policy_info,
    read,
    ready,
    refusals,
    repairs,
    times_beyond_quota,
    total,
)

if TYPE_CHECKING:
    from flowlane.northbound.controller import Controller


def exposition(controller: Controller) -> str:
    """Write all metrics as text; others are served meanwhile."""
    time_slice = pauses.ReadingSlice()
    reading = read(controller, time_slice.check)
    parts: list[str] = []
    for metric in METRICS:
        for number, line in enumerate(lines(metric, reading)):
            parts.append(line)
            if number % 64 == 0:
                time_slice.check()
    return "".join(parts)


DEVICE = ("device", "name")
QUEUE = (*DEVICE, "port", "port_no", "queue", "kind")

METRICS: tuple[Metric | HistogramMetric, ...] = (
    Metric(
        "flowlane_build_info",
        "gauge",
        ("version",),
        "Always 1; the version is a label.",
        lambda _: [((flowlane.__version__,), 1)],
    ),
    Metric("flowlane_start_time_seconds", "gauge", (), "Unix time of the start.", total(lambda c: c.started)),
    Metric("flowlane_ready", "gauge", (), "1 when the controller is ready.", total(ready)),
    Metric("flowlane_vms", "gauge", (), "Known VMs.", total(lambda c: len(c.state.vms))),
    Metric(
        "flowlane_vms_in_conflict",
        "gauge",
        (),
        "VMs of which an address or the port is claimed by another one.",
        total(lambda c: len(c.state.conflicts)),
    ),
    Metric(
        "flowlane_faults_total",
        "counter",
        (),
        "Unexpected exceptions; the log has them.",
        total(lambda c: c.faults),
    ),
    Metric("flowlane_reports_total", "counter", (), "Reports published.", total(lambda c: c.feed.last)),
    Metric("flowlane_event_readers", "gauge", (), "Readers of /v1/events.", total(lambda c: c.feed.readers)),
    Metric(
        "flowlane_policy_info",
        "gauge",
        ("hash", "source"),
        "Always 1; the labels are SHA-256 and source of the policy in force.",
        policy_info,
    ),
    Metric(
        "flowlane_policy_timestamp_seconds",
        "gauge",
        (),
        "Unix time of the policy in force: of its request, of its file's last change, or of the start.",
        total(lambda c: c.state.policy_origin.time),
    ),
    Metric(
        "flowlane_policy_kept",
        "gauge",
        (),
        "1 when the policy in force is in force again after a restart.",
        total(lambda c: float(c.is_policy_kept())),
    ),
    Metric(
        "flowlane_policy_changes_total",
        "counter",
        (),
        "Policies put in force.",
        total(lambda c: c.state.policy_changes),
    ),
    HistogramMetric(
        "flowlane_decision_duration_seconds",
        (),
        "Time from a packet-in to its decision, with the messages for the device queued to be sent.",
        histogram(lambda c: c.telemetry.decisions),
    ),
    HistogramMetric(
        "flowlane_hub_lag_seconds",
        (),
        "Time by which a green thread that sleeps ran late, ten times a second: what every switch waits.",
        histogram(lambda c: c.telemetry.lag),
    ),
    Metric(
        "flowlane_database_synchronized",
        "gauge",
        ("database",),
        "1 while the copy of a database is complete.",
        per_database(lambda d: float(d.watcher.state == "synchronized")),
    ),
    Metric(
        "flowlane_database_age_seconds",
        "gauge",
        ("database",),
        "Time since the copy of a database was complete.",
        per_database(lambda d: d.watcher.age),
    ),
    Metric(
        "flowlane_database_sessions_total",
        "counter",
        ("database",),
        "Connections to a database that gave a complete copy.",
        per_database(lambda d: d.watcher.sessions),
    ),
    Metric(
        "flowlane_database_conflicts",
        "gauge",
        ("database",),
        "Devices that another database described first.",
        per_database(lambda d: len(d.conflicts)),
    ),
    Metric(
        "flowlane_device_connected",
        "gauge",
        DEVICE,
        "1 while the device is connected; passive switches have no connection, and none here.",
        connected,
    ),
    Metric(
        "flowlane_device_unusable",
        "gauge",
        DEVICE,
        "1 while the device is left alone, since it cannot be used.",
        per_device(lambda d: float(bool(d.unusable))),
    ),
    Metric(
        "flowlane_device_conflicts",
        "gauge",
        DEVICE,
        "Places where entries of other controllers conflict with Flowlane's.",
        per_device(lambda d: len(d.conflicts)),
    ),
    Metric(
        "flowlane_left_out",
        "gauge",
        DEVICE,
        "Parts of the policy that the device does not get.",
        per_device(lambda d: len(d.left_out)),
    ),
    Metric("flowlane_packet_ins_total", "counter", DEVICE, "Packet-ins of the device.", packet_ins),
    Metric(
        "flowlane_copies_dropped_total",
        "counter",
        DEVICE,
        "Copies of packets that the device's limit on packet-ins dropped, where it counts them.",
        copies_dropped,
    ),
    Metric(
        "flowlane_vm_beyond_quota",
        "gauge",
        (*DEVICE, "vm"),
        "1 while a VM uses more of a device than its quota; VMs that never did have no series.",
        beyond_quota,
    ),
    Metric(
        "flowlane_vm_quota_exceeded_total",
        "counter",
        (*DEVICE, "vm"),
        "Times that a VM went beyond its quota.",
        times_beyond_quota,
    ),
    Metric(
        "flowlane_flow_mods_total",
        "counter",
        (*DEVICE, "operation"),
        "Changes of entries, meters and groups that were sent to the device.",
        flow_mods,
    ),
    Metric(
        "flowlane_repairs_total",
        "counter",
        (*DEVICE, "kind"),
        "What was put right: entries, groups, meters that others had changed or deleted; pins, and counts of flows.",
        repairs,
    ),
    Metric(
        "flowlane_refusals_total",
        "counter",
        (*DEVICE, "reason"),
        "Messages that a device refused.",
        refusals,
    ),
    Metric(
        "flowlane_reading_age_seconds",
        "gauge",
        DEVICE,
        "Time since the flows were counted that were counted longest ago.",
        counter_age,
    ),
    Metric("flowlane_flows", "gauge", DEVICE, "Flows on a device.", per_device(lambda d: len(d.flows))),
    Metric(
        "flowlane_flows_by_reason",
        "gauge",
        (*DEVICE, "reason"),
        "Flows by why they have their queue; reasons without flows have no series.",
        flows_by_reason,
    ),
    Metric("flowlane_assignments", "gauge", (*DEVICE, "kind"), "Flows by the kind of their queue.", by_kind),
    Metric(
        "flowlane_overflow_flows",
        "gauge",
        DEVICE,
        "Flows on a software queue for lack of a hardware queue.",
        overflow,
    ),
    Metric(
        "flowlane_moves_total",
        "counter",
        (*DEVICE, "reason"),
        "Flows that changed their queue, by why.",
        moves,
    ),
    Metric(
        "flowlane_pinned_flows",
        "gauge",
        DEVICE,
        "Flows with an exact entry.",
        per_device(lambda d: d.pinned),
    ),
    Metric(
        "flowlane_pin_budget",
        "gauge",
        DEVICE,
        "Largest number of exact entries.",
        per_device(lambda d: d.pin_budget),
    ),
    Metric("flowlane_meters", "gauge", DEVICE, "Meters in use.", per_device(lambda d: len(d.meters))),
    Metric(
        "flowlane_samples_total",
        "counter",
        DEVICE,
        "Sampled packets received.",
        per_device(lambda d: d.samples.taken),
    ),
    Metric(
        "flowlane_sampled_heavy_flows_total",
        "counter",
        DEVICE,
        "Rate conditions that samples met before counters did.",
        per_device(lambda d: d.samples.noticed),
    ),
    Metric(
        "flowlane_ipfix_datagrams_total",
        "counter",
        ("result",),
        "Datagrams of samples, by what became of them.",
        lambda reading: [((name,), count) for name, count in reading.controller.datagrams.items()],
    ),
    Metric("flowlane_queue_flows", "gauge", QUEUE, "Flows on a queue.", per_queue(lambda q: q.flows)),
    Metric(
        "flowlane_queue_exclusive",
        "gauge",
        QUEUE,
        "1 while one flow has the queue to itself.",
        per_queue(lambda q: float(q.exclusive)),
    ),
    Metric(
        "flowlane_queue_cordoned",
        "gauge",
        QUEUE,
        "1 while the queue takes no new flows, by order of an operator.",
        per_queue(lambda q: float(q.cordoned)),
    ),
    Metric(
        "flowlane_queue_load_bytes_per_second",
        "gauge",
        QUEUE,
        "Measured rates of the flows on a queue.",
        per_queue(lambda q: in_bytes(q.load)),
    ),
    Metric(
        "flowlane_queue_capacity_bytes_per_second",
        "gauge",
        QUEUE,
        "The most that a queue carries: its max-rate, or the rate of its port where that is less.",
        per_queue(lambda q: in_bytes(q.capacity)),
    ),
    Metric(
        "flowlane_queue_guaranteed_bytes_per_second",
        "gauge",
        QUEUE,
        "What a queue always gets: its min-rate.",
        per_queue(lambda q: in_bytes(q.guaranteed)),
    ),
    Metric("flowlane_queue_transmit_packets_total", "counter", QUEUE, "Packets sent.", per_queue(counter(0))),
    Metric("flowlane_queue_transmit_bytes_total", "counter", QUEUE, "Bytes sent.", per_queue(counter(1))),
    Metric("flowlane_queue_transmit_errors_total", "counter", QUEUE, "Packets lost.", per_queue(counter(2))),
    Metric(
        "flowlane_http_requests_total",
        "counter",
        ("method", "route", "code"),
        "Requests of REST; paths without a route are one.",
        http_requests,
    ),
    HistogramMetric(
        "flowlane_http_request_duration_seconds",
        ("route",),
        "Time until an answer was ready to be sent.",
        http_seconds,
    ),
    Metric(
        "process_cpu_seconds_total",
        "counter",
        (),
        "Processor time, user and system.",
        of_process(lambda p: p.cpu),
    ),
    Metric(
        "process_resident_memory_bytes", "gauge", (), "Resident memory.", of_process(lambda p: p.resident)
    ),
    Metric("process_virtual_memory_bytes", "gauge", (), "Virtual memory.", of_process(lambda p: p.virtual)),
    Metric(
        "process_start_time_seconds",
        "gauge",
        (),
        "Unix time of the process's start.",
        of_process(lambda p: p.started),
    ),
    Metric("process_open_fds", "gauge", (), "Open file descriptors.", of_process(lambda p: p.open_files)),
    Metric(
        "process_max_fds", "gauge", (), "Limit of open file descriptors.", of_process(lambda p: p.max_files)
    ),
)
