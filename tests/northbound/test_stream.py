from __future__ import annotations

import json

import pytest
from support.engine.controller import FakeController, world
from webob import Request, Response

from flowlane.core.effects import Report
from flowlane.northbound import stream
from flowlane.northbound.app import make_app
from flowlane.northbound.feed import Feed


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
        "time": "2027-01-15T08:00:00.500Z",
        "kind": "move",
        "text": "a move\nof two lines",
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
