from __future__ import annotations

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families
from support.engine.controller import POLICY, FakeController, world
from webob import Request

from flowlane.core.events import PolicyReplaced
from flowlane.core.model import Queue
from flowlane.core.policy import Behind, PassivePort, PassiveSwitch, QueuesBy
from flowlane.northbound.app import make_app

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
