"""Learned entries read by their bytes are what os-ken and readback make of them, whatever the bytes."""

from __future__ import annotations

from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_protocol
from support.engine.plans import KEYS
from support.openflow import messages
from support.openflow.messages import OF13, OF15, VERSIONS

from flowlane.core import flowkey
from flowlane.core.events import LearnedFlow
from flowlane.errors import ProtocolError
from flowlane.southbound.openflow.osken import lazy
from flowlane.southbound.openflow.session import counters, decode, learned_entries, readback
from flowlane.southbound.openflow.tables import pins
from flowlane.southbound.openflow.wire import cookies, fields, flow_stats, guard

LEARNED = cookies.pack(cookies.Kind.LEARNED)
REGISTERS = {"reg0": 0, "reg1": 1, "reg2": 2, "reg3": 3, "reg4": 4, "reg6": 6}


class Entry(SimpleNamespace):
    """A learned entry as Open vSwitch would write it."""

    key: bytes
    in_port: int
    egress_port: int
    eth_src: int
    queue: int
    dscp: int
    meter: int
    packets: int
    octets: int
    cookie: int


entries = st.builds(
    Entry,
    key=KEYS,
    in_port=st.integers(1, 0xFFFFFF00),
    egress_port=st.integers(1, 0xFFFFFF00),
    eth_src=st.integers(0, (1 << 48) - 1),
    queue=st.integers(-1, 5),
    dscp=st.integers(0, 3),
    meter=st.integers(0, 2),
    packets=st.integers(0, 1 << 40),
    octets=st.integers(0, 1 << 50),
    cookie=st.sampled_from((LEARNED, LEARNED, LEARNED, cookies.pack(cookies.Kind.PIN, 3, 7), 1)),
)


def match_of(entry: Entry) -> bytes:
    """The fields in the order of their numbers; Open vSwitch's own order differs, which is all the same here."""
    wanted = {term.field: term.value for term in pins.match_of(entry.key, entry.in_port, entry.egress_port)}
    parts = flowkey.unpack(entry.key)
    wanted["metadata"] |= parts.vm_number << 32
    if parts.kind != flowkey.LAYER2:
        wanted["eth_src"] = entry.eth_src
    return fields.pack(fields.match(**wanted))


def instructions(version: int, entry: Entry) -> bytes:
    group = (entry.cookie & 0xFFFFFFFF) + 1
    values = {"reg0": 1, "reg1": entry.queue + 1, "reg2": entry.dscp, "reg4": entry.meter, "reg6": group}
    actions = b"".join(
        _load(version, number, values[name]) for name, number in REGISTERS.items() if name in values
    )
    return pack("!HH4x", 4, 8 + len(actions)) + actions


def _load(version: int, number: int, value: int) -> bytes:
    header = 1 << 16 | number << 9 | 4
    if version == OF15:
        return pack("!HHIIxxxx", 25, 16, header, value)
    return pack("!HHIHHIQ", 0xFFFF, 24, 0x2320, 7, 31, header, value)


def reply(version: int, *made: Entry) -> bytes:
    return messages.multipart(version, 1, b"".join(_entry(version, one) for one in made))


def _entry(version: int, entry: Entry) -> bytes:
    match = match_of(entry)
    whole = pack("!HH", 1, 4 + len(match)) + match + bytes(-(4 + len(match)) % 8)
    if version == OF15:
        counted = (0x80020008, 7, 5, 0x80020208, 0, 1, 0x80020808, entry.packets, 0x80020A08, entry.octets)
        stats = pack("!HHIIIIIIIQIQ", 0, 52 + 0, counted[0], *counted[1:6], *counted[6:])
        body = whole + stats + bytes(-len(stats) % 8) + instructions(version, entry)
        return pack("!H2xBxHHHHHQ", 24 + len(body), 5, 1000, 10, 0, 1, 0, entry.cookie) + body
    body = whole + instructions(version, entry)
    head = (48 + len(body), 5, 7, 5, 1000, 10, 0, 1, entry.cookie, entry.packets, entry.octets)
    return pack("!HBxIIHHHH4xQQQ", *head) + body


def lazily(data: bytes) -> Any:
    datapath = SimpleNamespace(ofproto=ofproto_protocol._versions[data[0]][0])
    lazy.install_lazy_multiparts()
    return lazy.read_multipart(datapath, data)


def by_shape(data: bytes) -> tuple[LearnedFlow, ...]:
    return tuple(learned_entries.Reader(readback._learned_flow).read(lazily(data)))


def by_parser(data: bytes) -> tuple[LearnedFlow, ...]:
    flows = (readback._learned_flow(stats) for stats in lazily(data).body)
    return tuple(flow for flow in flows if flow is not None)


@settings(max_examples=80)
@given(st.sampled_from(VERSIONS), st.lists(entries, max_size=6))
def test_shapes_and_parser_read_the_same(version: int, made: list[Entry]) -> None:
    data = reply(version, *made)
    assert by_shape(data) == by_parser(data)
    assert len(by_parser(data)) == sum(one.cookie == LEARNED for one in made)


@settings(max_examples=80)
@given(st.sampled_from(VERSIONS), st.lists(entries, max_size=6))
def test_counters_of_pins_are_the_same_too(version: int, made: list[Entry]) -> None:
    data = reply(version, *made)
    by_body = decode.pin_counters(9, (SimpleNamespace(body=lazily(data).body),))
    assert counters.pin_counters(9, (lazily(data),)) == by_body
    assert len(by_body.counters) == sum(one.cookie >> 44 == 0xF10A3 for one in made)


@settings(max_examples=80)
@given(st.sampled_from(VERSIONS), st.lists(entries, max_size=6))
def test_at_a_connect_only_entries_that_were_sent_are_parsed(version: int, made: list[Entry]) -> None:
    data = reply(version, *made)
    late = lazily(data)
    found = readback.found_pins((late,)), readback.flow_entries((late,))
    assert "body" not in vars(late)
    by_body = SimpleNamespace(body=lazily(data).body)
    others = [entry for entry in readback.flow_entries((by_body,)) if entry.cookie != LEARNED]
    assert found == (readback.found_pins((by_body,)), tuple(others))


@settings(max_examples=80)
@given(st.lists(entries, min_size=2, max_size=5), st.data())
def test_bytes_that_are_not_as_they_should_be(made: list[Entry], data: st.DataObject) -> None:
    """What the guard lets through is read the same in both ways."""
    version = data.draw(st.sampled_from((OF13, OF15)))
    bad = bytearray(reply(version, *made))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(16, len(bad) - 1))
        bad[place] = data.draw(st.integers(0, 255))
    try:
        guard.check(bytes(bad), version)
        expected = by_parser(bytes(bad))
    except Exception:
        return
    assert by_shape(bytes(bad)) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_a_shape_is_learnt_from_its_first_entry(version: int) -> None:
    reader = learned_entries.Reader(readback._learned_flow)
    key = flowkey.pack(
        flowkey.FlowParts(77, None, 4, 6, 1000, 80, bytes((10, 0, 0, 1)), bytes((10, 0, 0, 9)))
    )
    made = [
        Entry(
            key=key[:8] + (1000 + number).to_bytes(2) + key[10:],
            in_port=1,
            egress_port=3,
            eth_src=0x0A0000000001,
            queue=number % 4,
            dscp=0,
            meter=0,
            packets=number,
            octets=60 * number,
            cookie=LEARNED,
        )
        for number in range(200)
    ]
    found = list(reader.read(lazily(reply(version, *made))))
    assert [flow.key for flow in found] == [one.key for one in made]
    assert [flow.queue_id for flow in found] == [one.queue for one in made]
    assert [flow.octets for flow in found] == [one.octets for one in made]
    # One for each of the four queues.
    assert reader.parsed == 4


def one_of(key: bytes) -> Entry:
    return Entry(
        key=key,
        in_port=1,
        egress_port=3,
        eth_src=0x0A0000000001,
        queue=0,
        dscp=0,
        meter=0,
        packets=1,
        octets=60,
        cookie=LEARNED,
    )


def test_a_vm_that_sends_every_ethertype_and_vlan_costs_no_more_than_others() -> None:
    """Each ethertype was a shape of its own, and entries were compared with all of them."""
    reader = learned_entries.Reader(readback._learned_flow)

    def entry(number: int, vlan: int | None = None) -> Entry:
        macs = (0x0A0000000001).to_bytes(6), (0x0A0000000002).to_bytes(6)
        key = flowkey.pack(flowkey.FlowParts(77, vlan, flowkey.LAYER2, 0, 0x0900 + number, 0, *macs))
        return one_of(key)

    made = [entry(number) for number in range(200)]
    found = list(reader.read(lazily(reply(OF15, *made))))
    assert [flow.key for flow in found] == [one.key for one in made]
    assert reader.parsed == 1
    tagged = [entry(1, vlan) for vlan in range(1, 150)]
    list(reader.read(lazily(reply(OF15, *tagged))))
    list(reader.read(lazily(reply(OF15, *tagged))))
    assert reader.parsed == 1 + len(tagged), "a VLAN is parsed once"
    (masks,) = reader._shapes.values()
    assert len(masks) <= 2, "and found without a search"


def test_so_many_shapes_are_learnt_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned_entries, "MAX_SHAPES", 8)
    reader = learned_entries.Reader(readback._learned_flow)
    addresses = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 9))
    keys = [flowkey.pack(flowkey.FlowParts(77, vlan, 4, 6, 1000, 80, *addresses)) for vlan in range(1, 30)]
    made = [one_of(key) for key in keys]
    assert [flow.key for flow in reader.read(lazily(reply(OF15, *made)))] == keys
    parsed = reader.parsed
    last = reply(OF15, made[-1])
    assert [flow.key for flow in reader.read(lazily(last))] == [keys[-1]]
    assert reader.parsed == parsed, "those of now are read by their shapes, whatever came before"


def test_entries_that_lie_about_their_length_are_left_to_others() -> None:
    data = bytearray(reply(OF13, *[]))
    data += pack("!H", 40) + bytes(38)
    data[2:4] = len(data).to_bytes(2)
    with pytest.raises(ValueError, match="cut short"):
        flow_stats.entry_at(bytes(data), flow_stats.FIRST)
    with pytest.raises(ProtocolError):
        flow_stats.entries(lazily(bytes(data)))
    with pytest.raises(ProtocolError):
        guard.check(bytes(data), OF13)
    assert guard.check(bytes(data), OF13, flows_later=True) == bytes(data)
    with pytest.raises(ProtocolError):
        _ = lazily(bytes(data)).body


def test_entries_of_several_layouts_are_read_in_their_order() -> None:
    """All of one layout, of several of one length, and of several lengths; with an unknown one among them."""
    reader = learned_entries.Reader(readback._learned_flow)
    made = []
    for number in range(24):
        kind, protocol = ((4, 6), (4, 17), (6, 6), (4, 47))[number % 4]
        address = bytes(15) + bytes((number,))
        parts = flowkey.FlowParts(77, None, kind, protocol, 9 * number % 99, 2, address[-4:], address[-4:])
        if kind == 6:
            parts = parts._replace(src=address, dst=address)
        if protocol == 47:
            parts = parts._replace(src_port=0, dst_port=0)
        made.append(
            Entry(
                key=flowkey.pack(parts),
                in_port=1,
                egress_port=3,
                eth_src=number,
                queue=number % 3,
                dscp=0,
                meter=0,
                packets=number,
                octets=number,
                cookie=LEARNED,
            )
        )
    for version in (OF13, OF15):
        first = [flow.packets for flow in reader.read(lazily(reply(version, *made)))]
        parsed = reader.parsed
        assert (
            first == [flow.packets for flow in reader.read(lazily(reply(version, *made)))] == list(range(24))
        )
        for some in (made[::4], made[::2], [*made[1::4], *made[::4]], []):
            data = reply(version, *some)
            assert tuple(reader.read(lazily(data))) == by_parser(data)
        assert reader.parsed == parsed, "all are read by their layouts"
        new = Entry(**vars(made[0]) | {"queue": 5})
        data = reply(version, *made, new)
        assert tuple(reader.read(lazily(data))) == by_parser(data)
        assert reader.parsed == parsed + 1


def test_entries_of_one_shape_have_one_layout_whatever_they_load() -> None:
    """Each queue made a layout of its own, and there was no room for those of other protocols."""
    reader = learned_entries.Reader(readback._learned_flow)
    address = bytes((10, 0, 0, 1))
    keys = [
        flowkey.pack(flowkey.FlowParts(77, None, 4, protocol, 1000, 80, address, address))
        for protocol in (6, 17)
    ]
    made = [
        Entry(**vars(one_of(key)) | {"queue": queue})
        for queue in range(2 * learned_entries.MAX_LAYOUTS)
        for key in keys
    ]
    data = reply(OF13, *made)
    for _ in range(2):
        assert tuple(reader.read(lazily(data))) == by_parser(data)
    (layouts,) = reader._layouts.values()
    assert len(layouts) == 2


def test_a_message_without_its_bytes_is_read_by_its_body() -> None:
    assert flow_stats.entries(SimpleNamespace(body=[])) is None
    assert list(learned_entries.Reader(readback._learned_flow).read(SimpleNamespace(body=[]))) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_other_apps_find_the_body(version: int) -> None:
    key = flowkey.pack(flowkey.FlowParts(77, 5, 4, 17, 1, 2, bytes(4), bytes(4)))
    one = Entry(
        key=key,
        in_port=1,
        egress_port=3,
        eth_src=1,
        queue=0,
        dscp=0,
        meter=0,
        packets=5,
        octets=6,
        cookie=LEARNED,
    )
    data = reply(version, one)
    late = lazily(data)
    parse = ofproto_protocol._versions[version][1].msg_parser
    at_once = parse(late.datapath, version, data[1], len(data), 1, data)
    assert late.to_jsondict() == at_once.to_jsondict()
    assert "0xf10a4" in hex(lazily(data).body[0].cookie)
    assert lazy.read_multipart(late.datapath, messages.multipart(version, 13, b"")) is None
