from __future__ import annotations

import json

import pytest
from support.engine.controller import FLOWS, NIC, FakeController, world
from webob import Request, Response

from flowlane import pauses
from flowlane.core.effects import FlowReport, Report
from flowlane.core.model import Reason
from flowlane.northbound.app import make_app
from flowlane.northbound.feed import Feed
from flowlane.northbound.http import stream


@pytest.fixture
def controller() -> FakeController:
    controller = world()
    controller.feed = Feed(capacity=4)
    return controller


def publish(controller: FakeController, *kinds: str) -> None:
    for kind in kinds:
        controller.feed.publish(
            Report(kind, f"a {kind}\nof two lines", {"n": controller.feed.last}), 1_800_000_000.5
        )


def open_stream(controller: FakeController, query: str = "", last: str | None = None) -> Response:
    headers = {} if last is None else {"Last-Event-ID": last}
    answer = Request.blank(f"/v1/events{query}", headers=headers).get_response(make_app(controller))
    assert answer.status_int == 200, answer.text
    return answer


def parse(chunk: bytes) -> list[dict[str, str]]:
    """Server-sent events: a list of their fields."""
    events = [event.split("\n") for event in chunk.decode().split("\n\n") if event]
    return [dict(line.split(": ", 1) for line in event if not line.startswith(":")) for event in events]


def rest(answer: Response, controller: FakeController) -> list[dict[str, str]]:
    """Everything that a stream says until the feed closes."""
    lines = iter(answer.app_iter)
    head = next(lines)
    controller.feed.close()
    return parse(head + b"".join(lines))[1:]


def test_events_from_now_on(controller: FakeController) -> None:
    publish(controller, "flow")
    answer = open_stream(controller)
    lines = iter(answer.app_iter)
    assert next(lines).startswith(b": ")
    publish(controller, "move")
    (event,) = parse(next(lines))
    assert event["event"] == "move"
    assert json.loads(event["data"]) == {
        "id": event["id"],
        "time": "2027-01-15T08:00:00.500Z",
        "kind": "move",
        "change": "move",
        "text": "a move\nof two lines",
        "why": "",
        "flow": None,
        "vm": None,
        "vm_name": None,
        "device": None,
        "device_name": None,
        "data": {"n": 1},
    }


def test_a_reader_comes_back(controller: FakeController) -> None:
    answer = open_stream(controller)
    lines = iter(answer.app_iter)
    next(lines)
    publish(controller, "flow", "move", "device")
    ids = [event["id"] for event in parse(next(lines))]
    assert len(set(ids)) == 3
    controller.feed.closed = False
    again = iter(open_stream(controller, last=ids[0]).app_iter)
    next(again)
    assert [event["event"] for event in parse(next(again))] == ["move", "device"]


@pytest.mark.parametrize("number", ["1", "99"])
def test_a_reader_that_missed_something_is_told(controller: FakeController, number: str) -> None:
    publish(controller, *["flow"] * 9)
    run = f"{int(controller.started * 1000):x}"
    events = parse(b"".join(take(open_stream(controller, last=f"{run}-{number}"), 3)))[1:]
    assert [event.get("event") for event in events] == ["lost", *["flow"] * 4]


def test_a_reader_of_an_earlier_run_is_told(controller: FakeController) -> None:
    publish(controller, "flow")
    events = parse(b"".join(take(open_stream(controller, last="abc-1"), 3)))[1:]
    assert [event.get("event") for event in events] == ["lost", "flow"]


def take(answer: Response, count: int) -> list[bytes]:
    lines = iter(answer.app_iter)
    return [next(lines) for _ in range(count)]


def test_a_slow_reader_is_dropped(controller: FakeController) -> None:
    lines = iter(open_stream(controller).app_iter)
    next(lines)
    publish(controller, *["flow"] * 5)
    assert next(lines, "ended") == "ended"


def test_kinds(controller: FakeController) -> None:
    lines = iter(open_stream(controller, "?kind=move,error").app_iter)
    next(lines)
    publish(controller, "flow", "move", "flow")
    assert [event["event"] for event in parse(next(lines))] == ["move"]


def test_signs_of_life(controller: FakeController, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT", 0.01)
    lines = iter(open_stream(controller).app_iter)
    next(lines)
    assert next(lines) == b": heartbeat\n\n"


@pytest.mark.parametrize("text", ["x", "1-", "1-x", "-", "1-" + "9" * 30, "1-٣".encode().decode("latin-1")])
def test_a_wrong_last_event_id_is_refused(controller: FakeController, text: str) -> None:
    request = Request.blank("/v1/events", headers={"Last-Event-ID": text})
    answer = request.get_response(make_app(controller))
    assert (answer.status_int, answer.json["field"]) == (400, "Last-Event-ID")


def test_readers_are_counted_and_bounded(controller: FakeController) -> None:
    answers = [open_stream(controller) for _ in range(stream.MAX_READERS)]
    refused = Request.blank("/v1/events").get_response(make_app(controller))
    assert refused.status_int == 503
    assert refused.headers["Retry-After"]
    answers[0].app_iter.close()
    assert controller.feed.readers == stream.MAX_READERS - 1
    open_stream(controller)


def test_a_head_request_gives_its_place_back(controller: FakeController) -> None:
    Request.blank("/v1/events", method="HEAD").get_response(make_app(controller)).body  # noqa: B018
    assert controller.feed.readers == 0


def kept(controller: FakeController, query: str = "") -> list[dict[str, object]]:
    answer = Request.blank(f"/v1/events{query}", accept="application/json").get_response(make_app(controller))
    assert answer.status_int == 200, answer.text
    assert answer.json["next"] is None
    items: list[dict[str, object]] = answer.json["items"]
    return items


def test_a_long_list_is_sent_as_it_is_made(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[None] = []
    monkeypatch.setattr(pauses, "give_way", lambda: turns.append(None))
    controller.feed = Feed(capacity=5000)
    publish(controller, *(["flow", "move"] * stream.MANY))
    short, long = kept(controller, f"?last={stream.MANY}"), kept(controller)
    assert [item["data"]["n"] for item in long] == list(range(2 * stream.MANY))  # type: ignore[index]
    assert long[stream.MANY :] == short
    assert len(turns) == 2 * stream.MANY // stream.CHUNK


def test_what_happened_is_listed_though_nobody_listened() -> None:
    controller = world()
    controller.feed.publish(
        Report("device", "br-nic is gone", {"device": f"{NIC:016x}", "change": "down"}), 1e9
    )
    for change in ("seen", "assigned", "moved", "ended"):
        controller.feed.publish(report(change, FLOWS[0][0]), 1.5e9)
    items = kept(controller)
    assert [(item["kind"], item["change"]) for item in items] == [
        ("device", "down"),
        ("flow", "seen"),
        ("assignment", "assigned"),
        ("move", "moved"),
        ("flow", "ended"),
    ]
    assert [item["device_name"] for item in items] == ["br-nic"] * 5
    assert {item["vm_name"] for item in items[1:]} == {"web"}
    assert {item["flow"] for item in items[1:]} == {FLOWS[0][0].hex()}
    assert all(item["why"] for item in items[1:])
    data = items[3]["data"]
    assert isinstance(data, dict)
    assert (data["from"], data["to"], data["reason"], data["class"]) == (2, 3, "shared", "bulk")
    assert [item["change"] for item in kept(controller, "?last=2")] == ["moved", "ended"]
    assert [item["change"] for item in kept(controller, "?kind=flow,device&last=2")] == ["seen", "ended"]
    later = "2017-01-01T00:00:00Z"
    assert [item["change"] for item in kept(controller, f"?since={later}&last=3")] == [
        "assigned",
        "moved",
        "ended",
    ]
    assert kept(controller, "?since=5min") == []


def test_names_are_those_of_the_moment_of_reading() -> None:
    controller = world()
    controller.feed.publish(report("ended", FLOWS[0][0]), 1.0)
    (vm,) = [vm for vm in controller.state.vms.values() if vm.name == "web"]
    del controller.state.vms[vm.number], controller.state.devices[NIC]
    (item,) = kept(controller)
    assert (item["vm"], item["vm_name"], item["device"], item["device_name"]) == (
        "uuid-web",
        None,
        f"{NIC:016x}",
        None,
    )


def test_a_stream_begins_with_what_is_asked_for_and_goes_on() -> None:
    controller = world()
    for number in range(3):
        controller.feed.publish(Report("device", f"{number}", {}), 1.0)
    lines = iter(open_stream(controller, "?last=2").app_iter)
    assert f"id: {int(controller.started * 1000):x}-1" in next(lines).decode()
    assert [json.loads(event["data"])["text"] for event in parse(next(lines))] == ["1", "2"]
    controller.feed.publish(Report("device", "3", {}), 1.0)
    assert [json.loads(event["data"])["text"] for event in parse(next(lines))] == ["3"]


def test_many_flows_do_not_push_out_what_happened_to_devices() -> None:
    controller = world()
    controller.feed = Feed(capacity=3)
    publish(controller, "device", *["flow"] * 9)
    assert [item["kind"] for item in kept(controller)] == ["device", "flow", "flow", "flow"]
    run = f"{int(controller.started * 1000):x}"
    head, events = take(open_stream(controller, "?kind=device", last=f"{run}-0"), 2)
    assert head
    assert [event["event"] for event in parse(events)] == ["device"], "none of this kind is lost"


def test_a_reader_that_got_nothing_can_say_where_it_goes_on() -> None:
    controller = world()
    publish(controller, "device")
    (head,) = take(open_stream(controller), 1)
    last = parse(head)[0]["id"]
    publish(controller, "vm")
    assert [e.get("event") for e in parse(b"".join(take(open_stream(controller, last=last), 2)))[1:]] == [
        "vm"
    ]


def report(change: str, key: bytes) -> FlowReport:
    return FlowReport(change, NIC, key, 9, "bulk", 3, 2, 0, int(Reason.SHARED), True, "")  # type: ignore[arg-type]
