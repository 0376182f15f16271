"""``flowlane cordon`` and ``drain``: what they print, and the warning of the last queue that takes flows."""

from __future__ import annotations

import pytest

from flowlane.cli import cordon, lists
from flowlane.cli.client import Answer


def queue(admission: str, other_open_queues: int) -> Answer:
    counts = {"flows": 3, "cordoned_flows": 5, "other_open_queues": other_open_queues}
    return Answer(queue_id=2, port="uplink", admission=admission, **counts)


@pytest.mark.parametrize(
    ("admission", "others", "line", "column"),
    [
        ("open", 1, "queue 2 of uplink is open: it takes new flows, and has 3 flows", "open"),
        ("open", 0, "queue 2 of uplink is open: it takes new flows, and has 3 flows", "open, last"),
        (
            "cordoned",
            1,
            "queue 2 of uplink is cordoned: it takes no new flows, and keeps 3 flows",
            "cordoned",
        ),
        ("draining", 1, "queue 2 of uplink is draining: 3 of 5 flows left", "draining 3/5"),
    ],
)
def test_what_a_queue_takes_in_words(admission: str, others: int, line: str, column: str) -> None:
    assert cordon.progress(queue(admission, others)) == line
    assert lists._admission(queue(admission, others)) == column


@pytest.mark.parametrize(
    ("admission", "others", "is_warned"),
    [("draining", 1, True), ("cordoned", 1, True), ("cordoned", 2, False), ("open", 1, False)],
)
def test_who_cordons_all_but_one_queue_is_warned(
    admission: str, others: int, is_warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    cordon.warn_of_last(queue(admission, others))
    warning = "warning: only one queue of uplink is left that takes flows; it cannot be cordoned\n"
    assert capsys.readouterr().err == (warning if is_warned else "")
