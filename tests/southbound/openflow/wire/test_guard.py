from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from types import FrameType, SimpleNamespace
from typing import Any

import os_ken
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_protocol
from support.openflow import messages
from support.openflow.malformed import MALFORMED, OUTPUT, ZERO_ACTION, meter_stats, nested_ct
from support.openflow.messages import OF13, OF14, OF15, VERSIONS, message, multipart

from flowlane.errors import ProtocolError
from flowlane.southbound.openflow.wire import grammar
from flowlane.southbound.openflow.wire.guard import check

PACKETS = Path(os_ken.__file__).parent / "tests" / "packet_data"
# Two recordings contradict themselves: a header length short of the file, a goto instruction of length 2056.
CONTRADICTORY = ("libofproto-OFP15-meter_features_reply", "libofproto-OFP15-flow_desc_reply")
RECORDED = sorted(
    path
    for number in (13, 14, 15)
    for path in (PACKETS / f"of{number}").glob("*.packet")
    if path.stem not in CONTRADICTORY
)
LIMIT = 2.0
"""Seconds for one message: thousands of times what any needs, so that a busy machine does not matter."""


@contextmanager
def time_limit(seconds: float = LIMIT) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError("the parser loops")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def parse(version: int, data: bytes) -> Any:
    """Give os-ken's own parser the bytes, as the connection does."""
    datapath = SimpleNamespace(ofproto=ofproto_protocol._versions[version][0])
    _, kind, length, xid = (
        data[0],
        data[1],
        int.from_bytes(data[2:4], "big"),
        int.from_bytes(data[4:8], "big"),
    )
    return ofproto_protocol._versions[version][1].msg_parser(datapath, version, kind, length, xid, data)


@pytest.mark.parametrize("name", MALFORMED)
def test_faulty_message_is_refused_by_the_name_of_its_structure(name: str) -> None:
    version, data, structure = MALFORMED[name]
    with time_limit(), pytest.raises(ProtocolError) as caught:
        check(data, version)
    assert structure in str(caught.value)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_messages_of_others_pass_unchanged(path: Path) -> None:
    """os-ken's recordings of other implementations' messages: what is well formed must not be refused."""
    data = path.read_bytes()
    assert check(data, data[0]) in (data, None)


def test_recordings_are_there() -> None:
    assert len(RECORDED) > 150


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_messages_of_a_switch_are_not_left_out(path: Path) -> None:
    """Only messages of controllers, and a forwarded request, are left out."""
    data = path.read_bytes()
    request = data[1] in (5, 7, 9, 13, 14, 15, 16, 17, 18, 20, 22, 24, 26, 28, 29, 32, 34)
    assert (check(data, data[0]) is None) == request


def test_unknown_queue_property_is_left_out_and_the_rest_stays() -> None:
    unknown = pack("!HH4x4x", 77, 12)
    sent = messages.queue_config(
        messages.queue_13(1, 5, unknown, messages.max_rate(500)),
        messages.queue_13(2, 5),
        messages.queue_13(3, 5, unknown),
    )
    seen = check(sent, OF13)
    assert seen == messages.queue_config(
        messages.queue_13(1, 5, messages.max_rate(500)), messages.queue_13(2, 5), messages.queue_13(3, 5)
    )
    with time_limit():
        reply = parse(OF13, seen)
    assert [(q.queue_id, q.port, [p.rate for p in q.properties]) for q in reply.queues] == [
        (1, 5, [500]),
        (2, 5, []),
        (3, 5, []),
    ]


@pytest.mark.parametrize(
    ("data", "agreed", "why"),
    [
        (b"\4\0\0", OF13, "header takes 8"),
        (pack("!BBHI", 4, 2, 7, 1), OF13, "less than the header"),
        (pack("!BBHI", 4, 2, 0, 1), OF13, "less than the header"),
        (pack("!BBHI", 4, 2, 65535, 1), OF13, "length 65535 in 8 bytes"),
        (message(OF14, messages.ECHO_REQUEST), OF13, "version 5 where 4 was agreed"),
        (message(OF13, messages.PACKET_IN, bytes(40)), None, "before hello"),
        (messages.hello(0), None, "version 0"),
        (
            messages.hello(OF13, pack("!HH", 1, 1004) + bytes(1000) + bytes(4)),
            None,
            "hello of 1016 bytes, 256 at most",
        ),
        (message(9, messages.ECHO_REQUEST), 9, None),
        (message(3, messages.PACKET_IN, bytes(40)), 3, "version 3 is not served"),
    ],
)
def test_header(data: bytes, agreed: int | None, why: str | None) -> None:
    if why is None:
        assert check(data, agreed) == data
        return
    with pytest.raises(ProtocolError, match=why):
        check(data, agreed)


def test_hello_of_a_newer_version_counts_as_our_newest() -> None:
    seen = check(messages.hello(9, messages.version_bitmap(4, 5, 6, 9)), None)
    assert seen == messages.hello(OF15, messages.version_bitmap(4, 5, 6, 9))


CORPUS = [
    *(path.read_bytes() for path in RECORDED),
    *(data for _, data, _ in MALFORMED.values()),
    messages.queue_config(
        messages.queue_13(1, 5, messages.max_rate(500)), messages.queue_13(2, 5, pack("!HH4x", 9, 8))
    ),
    multipart(
        OF13,
        1,
        messages.flow_stats_13(instructions=messages.apply_actions(OUTPUT, nested_ct(2), ZERO_ACTION)),
    ),
    multipart(OF13, 9, meter_stats(56, 1) * 2),
    *(messages.packet_in(version, 1, bytes(64)) for version in VERSIONS),
]
CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.sampled_from([0, 0, 0, 1, 4, 8, 255])), max_size=6)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(CORPUS), CHANGES, st.one_of(st.just(0), st.integers(0, 200)))
def test_changed_and_cut_messages_are_refused_or_read_in_time(
    data: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    changed = bytearray(data)
    for position, value in changes:
        changed[8 + position % max(1, len(data) - 8) if len(data) > 8 else 0] = value
    del changed[max(8, len(changed) - cut) :]
    changed[2:4] = len(changed).to_bytes(2, "big")
    refused_or_read(bytes(changed))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(VERSIONS), st.integers(0, 36), st.binary(max_size=256))
def test_random_bodies_are_refused_or_read_in_time(version: int, kind: int, body: bytes) -> None:
    refused_or_read(message(version, kind, body))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(VERSIONS), st.integers(0, 19), st.binary(max_size=256))
def test_random_multipart_bodies_are_refused_or_read_in_time(version: int, kind: int, body: bytes) -> None:
    refused_or_read(multipart(version, kind, body))


def refused_or_read(data: bytes) -> None:
    with time_limit():
        try:
            seen = check(data, data[0] if data[0] in VERSIONS else OF13)
        except ProtocolError:
            return
        if seen is None:
            return
        try:
            parse(seen[0], seen)
        except TimeoutError:
            raise
        except Exception:
            return


def test_what_is_accepted_once_is_not_checked_again_and_what_is_refused_is_refused_again() -> None:
    checked: list[bytes] = []

    def shape(data: bytes, start: int, end: int) -> None:
        checked.append(data[start:end])
        if b"!" in data[start:end]:
            raise ProtocolError("refused")

    check = grammar.once(shape, most=8, longest=6)
    for data in (b"..good", b"--good", b"..else"):
        check(data, 2, 6)
    assert checked == [b"good", b"else"]
    for _ in range(2):
        with pytest.raises(ProtocolError):
            check(b"..bad!", 2, 6)
        check(b"too long", 0, 8)
    assert checked.count(b"bad!") == checked.count(b"too long") == 2
    for number in range(8):
        check(b"%4d" % number, 0, 4)
    check(b"good", 0, 4)
    assert checked.count(b"good") == 2, "what is stored is bounded"
