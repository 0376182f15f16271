from __future__ import annotations

import pytest
from support.engine.controller import NIC, FakeController, world
from webob import Request

from flowlane.core.allocate import arrive, new_port
from flowlane.core.allocate.state import Columns, Demand
from flowlane.core.effects import FlowReport
from flowlane.core.model import Reason
from flowlane.core.policy import Balance
from flowlane.northbound import queue_history
from flowlane.northbound.app import make_app
from flowlane.northbound.queue_history import QueueHistory, Series

UPLINK = 9
PATH = f"/v1/devices/{NIC:016x}/queues/history"


@pytest.fixture
def controller() -> FakeController:
    """A device with five flows of 1 to 5 Mbit/s on the queues of its uplink."""
    controller = world()
    port = controller.state.devices[NIC].ports[UPLINK]
    queues = tuple(port.queues.values())
    port.allocation = new_port(Columns(), queues, Balance(strategy="round-robin"), (), None)
    for row in range(5):
        arrive(port.allocation, row, Demand(rate=(row + 1) * 1_000_000), row.to_bytes(20))
    return controller


def sample(controller: FakeController, times: int, history: QueueHistory | None = None) -> None:
    kept = history or controller.history
    for _ in range(times):
        controller.now += 5.0
        assert kept.is_due(controller.now)
        kept.begin_sample(controller.now)
        assert not kept.is_due(controller.now + 4.9)
        for device in controller.state.devices.values():
            kept.sample(device)


def move(old: int, new: int) -> FlowReport:
    return FlowReport("moved", NIC, bytes(20), UPLINK, "bulk", new, old, 0, int(Reason.REBALANCED), False, "")


def busy_queue(controller: FakeController) -> int:
    allocation = controller.state.devices[NIC].ports[UPLINK].allocation
    assert allocation is not None
    return max(allocation.slots, key=lambda slot: slot.load).queue.queue_id


def test_what_queues_carried_is_listed_by_moments(controller: FakeController) -> None:
    sample(controller, 2)
    queue_id = busy_queue(controller)
    controller.history.note_move(move(queue_id, 3))
    controller.history.note_move(move(3, queue_id))
    controller.history.note_move(move(3, queue_id))
    sample(controller, 1)
    answer = Request.blank(f"{PATH}?step=5s").get_response(make_app(controller)).json
    assert answer["step"] == 5.0
    assert answer["times"] == [f"2027-01-15T08:00:{second:02}.000Z" for second in (5, 10, 15)]
    assert sum(item["load"][0] for item in answer["items"]) == 15_000_000
    assert sum(item["flows"][2] for item in answer["items"]) == 5
    item = next(item for item in answer["items"] if item["queue_id"] == queue_id)
    assert (item["port"], item["port_no"]) == ("uplink", UPLINK)
    assert item["load"] == item["peak"] == [item["load"][0]] * 3
    assert (item["moves_in"], item["moves_out"]) == ([0, 0, 2], [0, 0, 1])


def test_a_reader_gets_what_is_new_once(controller: FakeController) -> None:
    app = make_app(controller)
    sample(controller, 7)
    times = Request.blank(f"{PATH}?step=10s").get_response(app).json["times"]
    assert len(times) == 3, "whole steps only"
    sample(controller, 3)
    more = Request.blank(f"{PATH}?step=10s&since={times[-1]}").get_response(app).json
    assert len(more["times"]) == len(more["items"][0]["load"]) == 2
    assert Request.blank(f"{PATH}?step=10s&since=15s").get_response(app).json["times"] == more["times"]


def test_steps_have_means_and_peaks(controller: FakeController) -> None:
    queue_id = busy_queue(controller)
    allocation = controller.state.devices[NIC].ports[UPLINK].allocation
    assert allocation is not None
    slot = next(slot for slot in allocation.slots if slot.queue.queue_id == queue_id)
    for load in (2_000_000, 6_000_000, 1_000_000):
        slot.load = load
        sample(controller, 1)
    steps = controller.history.steps(3, 0.0)
    series = controller.history.read((NIC, UPLINK, queue_id), steps)
    assert (series.load, series.peak) == ([3_000_000], [6_000_000])


def test_an_hour_is_kept_and_queues_without_flows_cost_nothing(controller: FakeController) -> None:
    kept = QueueHistory(samples=10)
    sample(controller, 14, kept)
    assert len(kept.steps(1, 0.0)) == 10
    count = kept.queues
    assert 0 < count <= 5
    port = controller.state.devices[NIC].ports[UPLINK]
    assert port.allocation is not None
    for slot in port.allocation.slots:
        slot.count = slot.load = 0
    sample(controller, 5, kept)
    assert kept.queues == count
    series = kept.read((NIC, UPLINK, busy_queue(controller)), kept.steps(1, 0.0))
    assert series.flows[-5:] == [0] * 5
    sample(controller, 7, kept)
    assert kept.queues == 0
    zeros = [0] * 10
    assert kept.read((NIC, UPLINK, 0), kept.steps(1, 0.0)) == Series(zeros, zeros, zeros, zeros, zeros)


def test_the_memory_is_bounded(controller: FakeController, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_history, "MOST_QUEUES", 1)
    sample(controller, 2)
    assert controller.history.queues == 1


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("?port=none", 404, "port"),
        ("?step=1s", 400, "step"),
        ("?step=x", 400, "step"),
        ("?since=x", 400, "since"),
    ],
)
def test_what_cannot_be_read_is_refused(
    controller: FakeController, query: str, status: int, field: str
) -> None:
    answer = Request.blank(PATH + query).get_response(make_app(controller))
    assert (answer.status_int, answer.json["field"]) == (status, field)


def test_a_device_without_samples_has_none(controller: FakeController) -> None:
    answer = Request.blank(f"{PATH}?port=uplink").get_response(make_app(controller)).json
    assert answer["times"] == []
    assert {item["queue_id"] for item in answer["items"]} == {0, 1, 2, 3, 10}
