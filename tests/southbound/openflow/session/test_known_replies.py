"""Replies are known again by their bytes: all but the transaction id, and what entries have counted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.openflow import messages

from flowlane.southbound.openflow.session.known_replies import MOST_MISSES, KnownReplies
from flowlane.southbound.openflow.session.requests import Reply

from .test_verification import whole_reply


def noted(name: str) -> KnownReplies:
    known = KnownReplies()
    known.note("basis", {name: Reply((SimpleNamespace(buf=whole_reply(name, 1)),))})
    return known


@pytest.mark.parametrize("name", ["groups", "meters", "entries 0"])
def test_nothing_but_counters_and_the_transaction_id_may_differ(name: str) -> None:
    is_known = noted(name).expected("basis", [name])[name]
    assert is_known(whole_reply(name, 2, counted=77))
    assert not is_known(whole_reply(name, 1, changed=True))
    data = whole_reply(name, 1)
    ignored = {4, 5, 6, 7} | (
        {16 + entry * 80 + place for entry in range(3) for place in (*range(4, 12), *range(32, 48))}
        if name.startswith("entries")
        else set()
    )
    for place in range(len(data)):
        other = data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]
        assert is_known(other) == (place in ignored), place
    assert not is_known(data[:-1])
    assert not is_known(b"")


def test_replies_are_expected_where_all_of_a_reading_are_known_and_the_same_should_be_there() -> None:
    known = noted("groups")
    assert set(known.expected("basis", ["groups"])) == {"groups"}
    assert not known.expected("basis", ["groups", "meters"])
    assert not known.expected("another", ["groups"])
    known.note("basis", {"meters": Reply((SimpleNamespace(buf=whole_reply("meters", 1)),))})
    assert known.expected("basis", ["groups", "meters"])
    known.note("another", {"meters": Reply((SimpleNamespace(buf=whole_reply("meters", 1)),))})
    assert not known.expected("another", ["groups", "meters"]), (
        "groups were right for what should be there before"
    )


@pytest.mark.parametrize(
    "reply",
    [
        Reply(error="no reply"),
        Reply((SimpleNamespace(buf=messages.multipart(6, 1, b"")),)),
        Reply((SimpleNamespace(body=[]),)),
        Reply((SimpleNamespace(buf=whole_reply("groups", 1)), SimpleNamespace(buf=whole_reply("groups", 1)))),
    ],
)
def test_what_has_no_form_or_several_parts_is_not_expected(reply: Reply) -> None:
    known = noted("groups")
    known.note("basis", {"groups": reply})
    assert not known.expected("basis", ["groups"])


def test_nothing_is_expected_of_a_device_that_answers_in_another_way_each_time() -> None:
    known = noted("groups")
    for _ in range(MOST_MISSES - 1):
        known.count(missed=True)
    known.count(missed=False)
    for _ in range(MOST_MISSES):
        assert known.expected("basis", ["groups"])
        known.count(missed=True)
    assert not known.expected("basis", ["groups"])
