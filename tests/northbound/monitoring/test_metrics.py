from __future__ import annotations

import os
import re
import resource
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.engine.controller import POLICY, FakeController, world
from webob import Request

from flowlane import hub
from flowlane.core.events import PolicyReplaced
from flowlane.core.model import Admission, Cordon, Queue
from flowlane.core.policy import Behind, PassivePort, PassiveSwitch, QueuesBy
from flowlane.northbound.app import make_app
from flowlane.northbound.monitoring import metrics
from flowlane.telemetry import DECISION_BOUNDS, HTTP_BOUNDS, LAG_BOUNDS

Sample = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels."""


def samples(controller: FakeController) -> dict[Sample, float]:
    """Read by Prometheus' own parser: (name, labels) -> value."""
    text = Request.blank("/metrics").get_response(make_app(controller)).text
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def pick(samples_read: dict[Sample, float], metric: str, /, **labels: str) -> list[float]:
    return [
        value
        for (key, given), value in samples_read.items()
        if key == metric and labels.items() <= dict(given).items()
    ]


def test_metrics_are_what_prometheus_reads() -> None:
    samples_read = samples(world())
    assert pick(samples_read, "flowlane_build_info", version="0.1.0") == [1]
    assert pick(samples_read, "flowlane_ready") == [1]
    assert pick(samples_read, "flowlane_flows", device="0000000000000001") == [5]
    assert pick(samples_read, "flowlane_assignments", device="0000000000000001", kind="physical") == [3]
    assert pick(
        samples_read, "flowlane_queue_transmit_bytes_total", queue="1", port="uplink", kind="physical"
    ) == [9000]
    assert pick(samples_read, "flowlane_queue_transmit_bytes_total", queue="2") == []
    assert pick(samples_read, "flowlane_meters", device="0000000000000001") == [1]


def test_queues_are_in_base_units() -> None:
    controller = world()
    read = samples(controller)
    queue = {"port": "uplink", "port_no": "9", "queue": "1"}
    assert pick(read, "flowlane_queue_capacity_bytes_per_second", **queue) == [100e6 / 8]
    assert pick(read, "flowlane_queue_guaranteed_bytes_per_second", **queue) == [1e6 / 8]
    assert pick(read, "flowlane_queue_load_bytes_per_second", **queue) == [0]
    assert pick(read, "flowlane_queue_capacity_bytes_per_second", queue="10") == [], "it is not known"
    assert [pick(read, "flowlane_queue_cordoned", port="uplink", queue=n) for n in ("1", "2")] == [[0], [0]]
    controller.state.devices[1].cordons[9, 2] = Cordon(Admission.DRAINING, 1.0, 2)
    read = samples(controller)
    assert [pick(read, "flowlane_queue_cordoned", port="uplink", queue=n) for n in ("1", "2")] == [[0], [1]]
    controller.state.devices[1].ports[9].bond_rate = 40_000_000
    assert pick(samples(controller), "flowlane_queue_capacity_bytes_per_second", **queue) == [40e6 / 8]


def test_flows_by_reason_and_overflow() -> None:
    controller = world()
    flows = controller.state.devices[1].flows
    flows.remove(flows.add(b"another flow", 1.0))
    read = samples(controller)
    nic = {"device": "0000000000000001"}
    assert pick(read, "flowlane_flows_by_reason", reason="exclusive", **nic) == [1]
    assert pick(read, "flowlane_flows_by_reason", reason="shared", **nic) == [2]
    assert pick(read, "flowlane_flows_by_reason", reason="unplaced", **nic) == [], "rows that are not used"
    assert sum(pick(read, "flowlane_flows_by_reason", **nic)) == 5
    assert pick(read, "flowlane_overflow_flows", **nic) == [1]


def test_what_the_shells_count() -> None:
    controller = world()
    telemetry = controller.telemetry
    telemetry.traffic_of(1).packet_ins = 7
    telemetry.traffic_of(1).flow_mods["add"] = 3
    telemetry.traffic_of(99).packet_ins = 1
    telemetry.note_move(1, "QUEUE_GONE")
    telemetry.decisions.observe(80e-6)
    telemetry.lag.observe(0.003)
    controller.state.devices[1].copies_dropped = 4
    read = samples(controller)
    nic = {"device": "0000000000000001", "name": "br-nic"}
    assert pick(read, "flowlane_packet_ins_total", **nic) == [7]
    assert len(pick(read, "flowlane_packet_ins_total")) == 1, "only devices that are known"
    assert pick(read, "flowlane_flow_mods_total", operation="add", **nic) == [3]
    assert pick(read, "flowlane_flow_mods_total", operation="delete", **nic) == [0]
    assert pick(read, "flowlane_moves_total", reason="queue-gone", **nic) == [1]
    assert pick(read, "flowlane_copies_dropped_total") == [4]
    assert pick(read, "flowlane_decision_duration_seconds_bucket", le="5e-05") == [0]
    assert pick(read, "flowlane_decision_duration_seconds_bucket", le="0.0001") == [1]
    assert pick(read, "flowlane_decision_duration_seconds_bucket", le="+Inf") == [1]
    assert pick(read, "flowlane_decision_duration_seconds_sum") == [80e-6]
    assert pick(read, "flowlane_hub_lag_seconds_count") == [1]


def test_requests_are_counted_by_route() -> None:
    controller = world()
    app = make_app(controller)
    for path in ("/v1/vms/web", "/v1/vms/none", "/nothing", "/nothing/else", "/v1/vms/uuid-web"):
        Request.blank(path).get_response(app)
    read = samples(controller)
    vm = {"route": "/v1/vms/{id}", "method": "GET"}
    assert pick(read, "flowlane_http_requests_total", code="200", **vm) == [2]
    assert pick(read, "flowlane_http_requests_total", code="404", **vm) == [1]
    assert pick(read, "flowlane_http_requests_total", route="other", code="404") == [2]
    assert pick(read, "flowlane_http_request_duration_seconds_count", route="/v1/vms/{id}") == [3]


def test_the_policy_in_force() -> None:
    controller = world()
    yaml = {"body": b"classes: a", "content_type": "application/yaml"}
    change = Request.blank("/v1/policy", method="PUT", **yaml).get_response(make_app(controller)).json
    read = samples(controller)
    assert pick(read, "flowlane_policy_info", hash=change["hash"], source="rest") == [1]
    assert pick(read, "flowlane_policy_timestamp_seconds") == [1_800_000_000.0]
    assert (pick(read, "flowlane_policy_kept"), pick(read, "flowlane_policy_changes_total")) == ([1], [1])


def test_the_process_is_measured_as_the_system_does() -> None:
    read = samples(world())
    times = os.times()
    (cpu,) = pick(read, "process_cpu_seconds_total")
    assert abs(cpu - times.user - times.system) < 2
    (started,) = pick(read, "process_start_time_seconds")
    age = float(Path("/proc/uptime").read_text().split()[0]) - (time.time() - started)
    own = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    assert abs(age - int(own[19]) / os.sysconf("SC_CLK_TCK")) < 2
    (resident,) = pick(read, "process_resident_memory_bytes")
    assert 0.5 < resident / (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024) <= 1.1
    (files,) = pick(read, "process_open_fds")
    assert abs(files - len(list(Path("/proc/self/fd").iterdir()))) < 5


def test_others_are_served_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.TimeSlice.__init__, "__defaults__", (-1.0,))
    controller = world()
    others: list[int] = []
    hub.spawn(others.append, 1)
    text = metrics.exposition(controller)
    assert others == [1], "a green thread that waits has run before the text was complete"
    assert text.count("# TYPE") == len(metrics.METRICS)


PAGE = Path(__file__).parents[3] / "docs" / "operators" / "metrics.md"


def test_the_page_lists_what_there_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", PAGE.read_text(), re.MULTILINE)
    table = [
        (
            metric.name,
            metric.type,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.about.rstrip("."),
        )
        for metric in metrics.METRICS
    ]
    assert rows == table, "\n".join(f"| `{n}` | {t} | {labels} | {about} |" for n, t, labels, about in table)


def test_the_page_says_how_many_series_there_are() -> None:
    """For each thing the number that the page has, where nothing is left out and no reason occurs."""
    page = dict(re.findall(r"^\| ([\w ]+) \| (\d+)", PAGE.read_text(), re.MULTILINE))

    def series(*labels: str) -> int:
        found = [metric for metric in metrics.METRICS if metric.labels == labels]
        bounds = {
            "flowlane_decision_duration_seconds": DECISION_BOUNDS,
            "flowlane_hub_lag_seconds": LAG_BOUNDS,
        }
        histograms = [bounds.get(metric.name, HTTP_BOUNDS) for metric in found if metric.type == "histogram"]
        return len(found) - len(histograms) + sum(len(each) + 3 for each in histograms)

    info = series("version") + series("hash", "source")
    more_repairs = 2  # Kinds of queues are three, those of repairs five.
    operations = 3 * series(*metrics.DEVICE, "operation")
    kinds = 3 * series(*metrics.DEVICE, "kind") + more_repairs
    assert page == {
        "controller": str(series() + info),
        "device": str(series(*metrics.DEVICE) + operations + kinds),
        "queue": str(series(*metrics.QUEUE)),
        "database": str(series("database")),
        "route of REST": str(series("route")),
    }


def test_odd_names_survive() -> None:
    controller = world()
    controller.state.devices[1].name = 'a "b"\\c\nd é \udcff'
    assert pick(samples(controller), "flowlane_flows", name='a "b"\\c\nd é ?') == [5]


def test_refusals_are_counted_by_reason() -> None:
    controller = world()
    controller.state.devices[1].refusals["OFPFMFC_TABLE_FULL"] = 3
    assert pick(samples(controller), "flowlane_refusals_total", reason="OFPFMFC_TABLE_FULL") == [3]


def test_a_passive_switch_is_never_disconnected() -> None:
    controller = world()
    switch = PassiveSwitch("tor", QueuesBy.DSCP, (PassivePort("up", (Queue(0),)),), (Behind("*", "*"),))
    controller.engine.step_and_catch_up(PolicyReplaced(replace(POLICY, passive_switches=(switch,))), 1.0)
    read = samples(controller)
    assert pick(read, "flowlane_flows", name="tor") == [0]
    assert pick(read, "flowlane_device_connected", name="tor") == []
    assert len(pick(read, "flowlane_device_connected")) == 2
