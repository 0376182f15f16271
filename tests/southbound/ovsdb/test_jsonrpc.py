from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.errors import ProtocolError
from flowlane.southbound.ovsdb import jsonrpc
from flowlane.southbound.ovsdb.jsonrpc import BURST, SHARE, Messages, Share, read_object

TEXTS = st.text(alphabet=st.sampled_from('ab{}[]"\\\n é'), max_size=6)
OBJECTS = st.dictionaries(TEXTS, st.one_of(TEXTS, st.lists(TEXTS, max_size=3), st.dictionaries(TEXTS, TEXTS)))


@given(st.lists(OBJECTS, max_size=5), st.integers(1, 99), st.booleans())
def test_messages_are_found_however_they_are_cut(
    objects: list[dict[str, object]], size: int, spaced: bool
) -> None:
    stream = (b" \n" if spaced else b"").join(
        json.dumps(item, ensure_ascii=False).encode() for item in objects
    )
    reader = Messages()
    read = [
        item for start in range(0, len(stream), size) for item in reader.feed(stream[start : start + size])
    ]
    assert read == objects
    assert reader.pending == 0


def test_a_message_cut_inside_a_string_leaves_nothing_behind() -> None:
    reader = Messages()
    assert reader.feed(b'{"a":{"b": "x') == []
    assert reader.feed(b'"}}') == [{"a": {"b": "x"}}]
    assert reader.feed(b'{"c": "{"}') == [{"c": "{"}]


@pytest.mark.parametrize("start", [b"[", b"}", b"\x00", b"  ]", b"HTTP/1.1 400", b'"'])
def test_what_is_no_object_ends_the_session(start: bytes) -> None:
    with pytest.raises(ProtocolError, match="not with an object"):
        Messages().feed(start)


def test_a_message_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonrpc, "MAX_MESSAGE", 1000)
    reader = Messages()
    reader.feed(b'{"a": "' + b"x" * 900)
    with pytest.raises(ProtocolError, match="larger"):
        reader.feed(b"x" * 900)


@pytest.mark.parametrize(
    "text", [b"{nonsense}", b'{"a":' + b"[" * 100_000 + b"}", b'{"a":' + b"9" * 5000 + b"}"]
)
def test_what_is_no_json_is_reported(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_object(text)


def test_a_database_gets_its_share_of_the_processor_and_no_more() -> None:
    now, spent = [0.0], [0.0]
    share = Share(lambda: now[0], lambda: spent[0])

    def work(seconds: float) -> float:
        share.begin()
        spent[0] += seconds
        now[0] += seconds
        pause = share.end()
        now[0] += pause
        return pause

    assert work(BURST * 0.9) == 0.0, "a first copy is read at once"
    for _ in range(100):
        work(0.05)
    assert spent[0] <= BURST + now[0] * SHARE + 0.05
    assert now[0] > 50
    now[0] += 2 * BURST / SHARE
    assert work(BURST * 0.9) == 0.0, "after a rest as well"
