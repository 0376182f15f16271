"""Formats of the log, and warnings that do not come at every retry."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from flowlane import logs

HOSTILE = "vm\x1b[2J\n2026-01-01 00:00:00,000 INFO flowlane: forged \u202e"


@pytest.fixture(params=[logs.TEXT, logs.JSON])
def form(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def written(form: str, *calls: Any) -> list[str]:
    """What a log with this format has after calls with its logger."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter(form))
    log = logging.Logger("flowlane.some", logging.DEBUG)
    log.addHandler(handler)
    for call in calls:
        call(log)
    return stream.getvalue().splitlines()


def test_a_record_is_one_line_whatever_is_in_it(form: str) -> None:
    (line,) = written(form, lambda log: log.info("%s is gone", HOSTILE))
    assert line.isprintable()
    if form == logs.TEXT:
        assert line.split(" ", 2)[2].startswith(r"INFO flowlane.some: vm\x1b[2J\n2026-01-01")


def test_the_fields_of_json() -> None:
    values = {"device": "0000000000000001", "why": HOSTILE, "path": object}
    (line,) = written(logs.JSON, lambda log: log.warning("%d flows", 3, extra=logs.fields(values)))
    record = json.loads(line)
    assert list(record) == ["time", "level", "logger", "message", "fields"]
    assert (record["level"], record["logger"], record["message"]) == ("warning", "flowlane.some", "3 flows")
    assert record["time"].endswith("Z")
    assert record["fields"] == {**values, "path": str(object)}
    assert json.loads(written(logs.JSON, lambda log: log.info("x"))[0])["fields"] == {}


def test_no_line_of_a_traceback_can_be_taken_for_a_record(form: str) -> None:
    def fail(log: logging.Logger) -> None:
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            log.exception("failed")

    first, *others = written(form, fail)
    if form == logs.TEXT:
        assert first.endswith("ERROR flowlane.some: failed")
        assert all(line.startswith(logs.INDENT) and line.isprintable() for line in others)
        assert "Traceback" in others[0]
    else:
        assert others == []
        assert HOSTILE in json.loads(first)["exception"]


def test_a_warning_that_is_repeated_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    repeats = logs.Repeats(logging.getLogger("flowlane.repeats"), lambda: now)
    with caplog.at_level(logging.DEBUG, "flowlane.repeats"):
        for now in (0.0, 8.0, 16.0, logs.QUIET + 1, logs.QUIET + 2):  # noqa: B007  (the clock reads it)
            for peer in ("10.0.0.1", "10.0.0.2"):
                repeats.warning(peer, "%s failed", peer)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        "10.0.0.1 failed",
        "10.0.0.2 failed",
        "10.0.0.1 failed (and 2 times since the last such line)",
        "10.0.0.2 failed (and 2 times since the last such line)",
    ]
    assert len(caplog.records) == 10, "the others are there for those who debug"


def test_repeats_are_remembered_up_to_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    repeats = logs.Repeats(logging.getLogger("flowlane.repeats"), lambda: 0.0)
    for number in range(2 * logs.MOST_KEYS):
        repeats.warning(number, "x")
    assert len(repeats._last) == logs.MOST_KEYS
