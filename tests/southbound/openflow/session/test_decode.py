"""Messages as a device sends them, made of bytes by hand (see ``wire``) and read by os-ken's parsers."""

from __future__ import annotations

from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_parser
from support.engine.plans import pin
from support.openflow import messages
from support.openflow.client import VERSIONS, datapath

from flowlane.core.events import FlowSeen, MeterCounters, PinCounters, PinEnded, QueueCounters, RuleRefused
from flowlane.core.model import NO_PORT, PinRef, PortReport, Refusal
from flowlane.southbound.openflow.osken import repairs
from flowlane.southbound.openflow.session import decode, readback
from flowlane.southbound.openflow.tables import pins, probes
from flowlane.southbound.openflow.tables.entries import BARRIER, Bucket, Change, GroupEntry, MeterEntry, Op
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.constants import CONTROLLER_METER, LOCAL_PORT
from flowlane.southbound.openflow.wire.cookies import Kind

PIN = cookies.pack(Kind.PIN, 3, 17)
STANDING = cookies.pack(Kind.STANDING, 0, cookies.standing_object(5, 2))
NUMBERS = dict(zip(VERSIONS, messages.VERSIONS, strict=True))


def read(version: str, data: bytes) -> Any:
    message = ofproto_parser.msg(datapath(version), *ofproto_parser.header(data), data)
    assert message is not None
    return message


def packet_in(version: str, cookie: int, *, metadata: int | None = None, frame: bytes = b"frame") -> Any:
    """OpenFlow 1.3.5 section 7.4.1."""
    oxms = [messages.oxm(0, pack("!I", 7))]
    if metadata is not None:
        oxms.append(messages.oxm(2, pack("!Q", metadata)))
    head = pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, 3, cookie)
    return read(
        version,
        messages.message(
            NUMBERS[version], messages.PACKET_IN, head + messages.match(*oxms) + bytes(2) + frame
        ),
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_a_copied_packet_has_ports_and_queue(version: str) -> None:
    message = packet_in(version, STANDING, metadata=77 << 32 | 9)
    assert decode.flow_seen(5, message) == FlowSeen(5, 7, b"frame", 9, 2)


def test_a_copy_has_no_egress_port_without_metadata_and_none_that_is_known_without_its_bits() -> None:
    infrastructure = cookies.pack(Kind.INFRASTRUCTURE)
    assert decode.flow_seen(5, packet_in("OpenFlow13", infrastructure)) == FlowSeen(
        5, 7, b"frame", None, None
    )
    assert decode.flow_seen(5, packet_in("OpenFlow13", infrastructure, metadata=77 << 32)) == FlowSeen(
        5, 7, b"frame", NO_PORT, None
    )


def test_a_packet_waits_where_the_entry_did_not_forward_it() -> None:
    for waits in (True, False):
        seen = decode.flow_seen(5, packet_in("OpenFlow13", cookies.standing(7, 2, waits=waits)))
        assert seen is not None
        assert (seen.queue_id, seen.waits) == (2, waits)


@pytest.mark.parametrize("cookie", [0, 0xFFFFFFFFFFFFFFFF, 0xF10B << 48 | 3 << 44])
def test_packets_that_another_application_asked_for_are_not_ours(cookie: int) -> None:
    assert decode.flow_seen(5, packet_in("OpenFlow13", cookie)) is None


def test_an_empty_packet_is_nothing() -> None:
    assert decode.flow_seen(5, packet_in("OpenFlow13", STANDING, frame=b"")) is None


def flow_removed(version: str, cookie: int, reason: int) -> Any:
    if version == "OpenFlow15":
        stats = pack("!HBBQ", 0x8002, 4 << 1, 8, 11) + pack("!HBBQ", 0x8002, 5 << 1, 8, 1300)
        body = pack("!BBHHHQ", 2, reason, 1000, 10, 0, cookie) + messages.match()
        return read(
            version,
            messages.message(
                6, messages.FLOW_REMOVED, body + pack("!HH", 0, 4 + len(stats)) + stats + bytes(4)
            ),
        )
    body = pack("!QHBBIIHHQQ", cookie, 1000, reason, 2, 60, 0, 10, 0, 11, 1300) + messages.match()
    return read(version, messages.message(NUMBERS[version], messages.FLOW_REMOVED, body))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("reason", "idle"), [(0, True), (1, False), (2, False), (5, False)])
def test_a_removed_pin_has_its_row_counters_and_reason(version: str, reason: int, idle: bool) -> None:
    assert decode.pin_ended(5, flow_removed(version, PIN, reason)) == PinEnded(
        5, PinRef(17, 3), 11, 1300, idle
    )


@pytest.mark.parametrize("cookie", [0, STANDING, cookies.pack(Kind.LEARNED, 0, 17)])
def test_what_else_is_gone_is_no_flow(cookie: int) -> None:
    assert decode.pin_ended(5, flow_removed("OpenFlow13", cookie, 0)) is None


def stats(cookie: int, packets: int = 11, octets: int = 1300) -> SimpleNamespace:
    return SimpleNamespace(
        cookie=cookie, packet_count=packets, byte_count=octets, duration_sec=2, duration_nsec=500_000_000
    )


def test_only_pins_are_counted_over_all_parts() -> None:
    parts = [
        SimpleNamespace(body=[stats(PIN), stats(STANDING), stats(0)]),
        SimpleNamespace(body=[stats(PIN + 1, 1, 2)]),
    ]
    assert decode.pin_counters(5, parts) == PinCounters(5, ((17, 3, 11, 1300), (18, 3, 1, 2)))


def test_one_entry_that_cannot_be_read_does_not_cost_the_others() -> None:
    broken = stats(PIN)
    del broken.byte_count
    assert decode.pin_counters(5, [SimpleNamespace(body=[broken, None, stats(PIN)])]).counters == (
        (17, 3, 11, 1300),
    )


@pytest.mark.parametrize(
    ("version", "body"),
    [("OpenFlow13", messages.port_13), ("OpenFlow14", messages.port_14), ("OpenFlow15", messages.port_14)],
)
def test_ports_are_read_in_every_version(version: str, body: Any) -> None:
    data = messages.multipart(NUMBERS[version], 13, body(3, b"vf3") + body(LOCAL_PORT, b"br0"))
    assert decode.ports([read(version, data)]) == (
        PortReport(3, "vf3", 3),
        PortReport(LOCAL_PORT, "br0", 0xFE, is_local=True),
    )


def port(**changes: object) -> SimpleNamespace:
    base: dict[str, object] = {
        "port_no": 3,
        "name": b"vf3",
        "hw_addr": "0a:00:00:00:00:03",
        "config": 0,
        "state": 4,
    }
    return SimpleNamespace(**{**base, "curr_speed": 0, **changes})


@pytest.mark.parametrize(
    ("desc", "up"), [(port(), True), (port(state=5), False), (port(config=1), False), (port(state=0), True)]
)
def test_a_port_is_up_when_neither_link_nor_operator_is_down(desc: SimpleNamespace, up: bool) -> None:
    report = decode.port_report(desc)
    assert report is not None
    assert report.up is up


def test_speed_is_in_bits_from_the_port_or_its_property() -> None:
    ethernet = SimpleNamespace(curr_speed=10_000_000)
    for desc in (port(curr_speed=10_000_000), port(properties=[SimpleNamespace(), ethernet])):
        report = decode.port_report(desc)
        assert report is not None
        assert report.speed == 10**10


def test_reserved_ports_and_names_that_are_no_text_are_survived() -> None:
    assert decode.port_report(port(port_no=0xFFFFFFFD)) is None
    assert decode.port_report(port(hw_addr="no address")) is None
    report = decode.port_report(port(name=b"\xff\xfe\x00\x00"))
    assert report is not None
    assert report.name == "\ufffd\ufffd"


def test_queues_of_1_3() -> None:
    queue = pack("!IIH6x", 1, 2, 16), pack("!IIH6x", 0, 2, 16), pack("!IIH6x", 4, 3, 16)
    data = messages.message(4, messages.QUEUE_CONFIG_REPLY, pack("!I4x", 0xFFFFFFFF) + b"".join(queue))
    assert decode.queues([read("OpenFlow13", data)]) == {2: (0, 1), 3: (4,)}


@pytest.mark.parametrize("version", ["OpenFlow14", "OpenFlow15"])
def test_queues_since_1_4(version: str) -> None:
    bodies = [pack("!IIH6x", port_no, number, 16) for port_no, number in ((2, 1), (2, 0), (3, 4))]
    parts = [read(version, messages.multipart(NUMBERS[version], 15, body)) for body in bodies]
    assert decode.queues(parts) == {2: (0, 1), 3: (4,)}


def test_queue_counters_that_the_device_does_not_have_are_left_out() -> None:
    known = SimpleNamespace(port_no=3, queue_id=1, tx_bytes=900, tx_packets=7, tx_errors=0)
    unknown = SimpleNamespace(
        port_no=3, queue_id=0, tx_bytes=2**64 - 1, tx_packets=2**64 - 1, tx_errors=2**64 - 1
    )
    found = decode.queue_counters(5, [SimpleNamespace(body=[known, unknown])])
    assert found == QueueCounters(5, {(3, 1): (7, 900, 0)})


def test_meter_counters_add_up_the_bands() -> None:
    bands = [SimpleNamespace(packet_band_count=2, byte_band_count=200)] * 2
    meter = SimpleNamespace(meter_id=9, packet_in_count=10, byte_in_count=1000, band_stats=bands)
    assert decode.meter_counters(5, [SimpleNamespace(body=[meter])]) == MeterCounters(
        5, {9: (10, 1000, 4, 400)}
    )


def test_the_controller_meter_counts_dropped_copies_and_is_no_meter_of_flows() -> None:
    bands = [SimpleNamespace(packet_band_count=3, byte_band_count=300)]
    meter = SimpleNamespace(
        meter_id=CONTROLLER_METER, packet_in_count=10, byte_in_count=1000, band_stats=bands
    )
    assert decode.meter_counters(5, [SimpleNamespace(body=[meter])]) == MeterCounters(5, {}, 3)
    assert decode.meter_counters(5, []).copies_dropped is None


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"band_types": 2, "capabilities": 15}, decode.MeterCapabilities(100, True, True)),
        ({"band_types": 2, "capabilities": 2}, decode.MeterCapabilities(100, False, False)),
        ({"band_types": 4, "capabilities": 15}, decode.MeterCapabilities()),
    ],
    ids=["all", "packets only", "no drop band"],
)
def test_meter_abilities(features: dict[str, int], expected: decode.MeterCapabilities) -> None:
    body = SimpleNamespace(max_meter=100, max_bands=8, max_color=0, **features)
    assert decode.meter_capabilities([SimpleNamespace(body=[body])]) == expected


OUTPUT, SET_QUEUE = 1 << 0, 1 << 21


@pytest.mark.parametrize(
    ("types", "actions", "select"),
    [(0xF, OUTPUT | SET_QUEUE, True), (0xD, OUTPUT | SET_QUEUE, False), (0xF, OUTPUT, False)],
    ids=["all", "no select", "no set_queue in a bucket"],
)
def test_select_groups_count_only_when_their_buckets_can_do_what_ours_do(
    types: int, actions: int, select: bool
) -> None:
    body = SimpleNamespace(types=types, max_groups=[1, 2, 3, 4], actions=[0, actions, 0, 0])
    for shape in (body, [body]):
        found = decode.group_capabilities([SimpleNamespace(body=shape)])
        assert (found.select_groups, found.max_groups) == (select, 2)


def test_a_device_that_does_not_answer_can_do_nothing() -> None:
    assert decode.meter_capabilities([]) == decode.MeterCapabilities(0, False, False)
    assert decode.group_capabilities([]) == decode.GroupCapabilities(False, 0)
    assert decode.table_sizes([]) == {}


def error(version: str, kind: int, code: int) -> Any:
    return read(version, messages.message(NUMBERS[version], messages.ERROR, pack("!HH", kind, code)))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("kind", "code", "name"),
    [
        (5, 1, "OFPFMFC_TABLE_FULL"),
        (12, 2, "OFPMMFC_INVALID_METER"),
        (6, 3, "OFPGMFC_OUT_OF_GROUPS"),
        (4, 8, "OFPBMC_BAD_MASK"),
        (1, 3, "OFPBRC_BAD_EXPERIMENTER"),
        (77, 1, "OFPET_77_CODE_1"),
        (5, 999, "OFPET_5_CODE_999"),
    ],
)
def test_errors_have_the_specifications_names(version: str, kind: int, code: int, name: str) -> None:
    assert decode.error_name(error(version, kind, code), datapath(version).ofproto) == name


@pytest.mark.parametrize(
    ("entry", "what", "ref", "meter_id"),
    [
        (pins.entry(pin()), "pin", PinRef(5, 3), 0),
        (probes.port_masks(), "standing", None, 0),
        (MeterEntry(9, 1, 0), "meter", None, 9),
        (GroupEntry(7, (Bucket(1, 2, 3),)), "group", None, 0),
    ],
)
def test_a_refusal_names_what_it_is_about(entry: Any, what: str, ref: PinRef | None, meter_id: int) -> None:
    refused = decode.rule_refused(5, Change(Op.ADD, entry), "OFPFMFC_TABLE_FULL")
    assert refused == RuleRefused(5, what, Refusal.TABLE_FULL, "OFPFMFC_TABLE_FULL", ref, meter_id)


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("OFPFMFC_TABLE_FULL", Refusal.TABLE_FULL),
        ("OFPMMFC_INVALID_METER", Refusal.NO_SUCH_METER),
        ("OFPMMFC_UNKNOWN_METER", Refusal.NO_SUCH_METER),
        ("OFPMMFC_OUT_OF_METERS", Refusal.OTHER),
        ("OFPET_4000_CODE_7", Refusal.OTHER),
    ],
)
def test_a_refusal_is_decoded_for_the_core_and_keeps_the_switchs_word(name: str, refusal: Refusal) -> None:
    refused = decode.rule_refused(5, Change(Op.ADD, pins.entry(pin())), name)
    assert refused is not None
    assert (refused.refusal, refused.text) == (refusal, name)


def test_a_barrier_is_nothing_that_could_be_refused() -> None:
    assert decode.rule_refused(5, BARRIER, "x") is None


JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.binary(max_size=4) | st.just(PIN) | st.just(STANDING),
    lambda inner: st.lists(inner, max_size=3)
    | st.builds(
        lambda names, values: SimpleNamespace(**dict(zip(names, values, strict=False))),
        st.lists(st.sampled_from(("cookie", "body", "match", "data", "queues", "stats", "types", "port_no", "bands",
                                  "actions", "buckets", "instructions", "packet_count", "hw_addr", "band_stats")),
                 max_size=8),
        st.lists(inner, min_size=8, max_size=8),
    ),
    max_leaves=12,
)  # fmt: skip
SINGLE = (decode.flow_seen, decode.pin_ended)
LISTS = (decode.pin_counters, decode.queue_counters, decode.meter_counters)
PARTS = (
    decode.ports, decode.queues, decode.meter_capabilities, decode.group_capabilities, decode.table_sizes,
    readback.flow_entries, readback.groups, readback.meters, readback.found_pins, readback.standing,
)  # fmt: skip


@given(JUNK)
def test_no_message_of_a_device_raises(junk: Any) -> None:
    repairs.repair()
    for one in SINGLE:
        one(1, junk)
    decode.port_report(junk)
    for listed in LISTS:
        listed(1, [junk])
    for parts in PARTS:
        parts([junk])
