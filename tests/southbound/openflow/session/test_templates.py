"""What a template is filled to is what the general way makes, byte by byte."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.plans import PINS, VLANS
from support.openflow.client import VERSIONS, datapath

from flowlane.core import marks
from flowlane.core.effects import PinFlow, SendPacket, UnpinFlow
from flowlane.core.flowkey import FRAGMENT, ICMP, ICMPV6, IPV4, IPV6, LAYER2, SCTP, TCP, UDP, FlowParts, pack
from flowlane.core.model import NO_QUEUE, PinRef
from flowlane.southbound.openflow.session import encode, packing
from flowlane.southbound.openflow.session.templates import Templates
from flowlane.southbound.openflow.tables import pins
from flowlane.southbound.openflow.tables.layout import DEFAULT, Layout

MOVED = Layout({table: number + 3 for table, number in DEFAULT.numbers.items()}, base=40)
WAYS = {
    (version, layout.key, learns): (
        datapath(version),
        layout,
        Templates(datapath(version), layout, learns=learns, normal=learns),
        learns,
    )
    for version, layout, learns in product(VERSIONS, (DEFAULT, MOVED), (False, True))
}
"""Templates of all kinds of devices, which are kept from example to example."""

PROTOCOLS = (
    *((kind, protocol) for kind in (IPV4, IPV6) for protocol in (TCP, UDP, SCTP, ICMP, ICMPV6, FRAGMENT, 47)),
    (LAYER2, 0),
)


def are_equal(pin: PinFlow, xid: int) -> None:
    unpin = UnpinFlow(pin.dpid, pin.ref, pin.key, pin.in_port, pin.egress_port, pin.by_vm)
    for peer, layout, templates, learns in WAYS.values():
        general = packing.change(peer, pins.change(pin, learns), layout)
        assert templates.pin(pin, xid) == packing.numbered(general, xid)
        general = packing.change(peer, pins.change(unpin, learns), layout)
        assert templates.unpin(unpin, xid) == packing.numbered(general, xid)


@settings(max_examples=100, deadline=None)
@given(PINS, st.booleans(), st.booleans(), st.integers(0, 0xFFFFFFFF))
def test_any_pin_is_as_in_the_general_way(pin: PinFlow, moved: bool, by_vm: bool, xid: int) -> None:
    are_equal(pin._replace(moved=moved, by_vm=by_vm), xid)


@pytest.mark.parametrize(("kind", "protocol"), PROTOCOLS)
@settings(max_examples=15, deadline=None)
@given(VLANS, st.data())
def test_a_template_is_filled_again_and_again(
    kind: int, protocol: int, vlan: int | None, data: st.DataObject
) -> None:
    length = {IPV4: 4, IPV6: 16, LAYER2: 6}[kind]
    most = 255 if (kind, protocol) in ((IPV4, ICMP), (IPV6, ICMPV6)) else 0xFFFF
    has_ports = protocol in (TCP, UDP, SCTP) or most == 255
    for _ in range(3):
        first = data.draw(st.integers(0, most if has_ports or kind == LAYER2 else 0))
        second = data.draw(st.integers(0, most if has_ports else 0))
        addresses = (data.draw(st.binary(min_size=length, max_size=length)) for _ in range(2))
        key = pack(FlowParts(0x25252525, vlan, kind, protocol, first, second, *addresses))
        are_equal(PinFlow(1, PinRef(data.draw(st.integers(0, 99)), 0xFFF), key, 37, 0x2525, 2, 5, 10), 7)


@pytest.mark.parametrize("mark", [0, 46, marks.FIRST_PCP, marks.FIRST_PCP + 7])
def test_a_mark_has_a_template_where_the_device_has_registers(mark: int) -> None:
    key = pack(FlowParts(7, 5, IPV4, TCP, 1, 2, b"\x0a\0\0\1", b"\x0a\0\0\2"))
    pin = PinFlow(1, PinRef(1, 1), key, 1, 2, marks.join(NO_QUEUE, mark), 0, 10)
    for peer, layout, templates, learns in WAYS.values():
        assert templates.has(pin.queue_id) == learns
        assert templates.has(3)
        if learns:
            general = packing.change(peer, pins.change(pin), layout)
            assert templates.pin(pin, 3) == packing.numbered(general, 3)


def test_a_key_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_STORED", 1)
    templates = Templates(datapath("OpenFlow13"), DEFAULT, learns=True, normal=True)
    key = pack(FlowParts(7, None, IPV4, TCP, 1, 2, b"\x0a\0\0\1", b"\x0a\0\0\2"))
    pin = PinFlow(1, PinRef(1, 1), key, 1, 2, 3, 0, 10)
    with pytest.raises(ValueError, match="12 bytes"):
        templates.pin(pin._replace(key=b""), 1)
    made = templates.pin(pin, 1)
    with pytest.raises(ValueError, match="20 bytes"):
        templates.pin(pin._replace(key=key[:-1]), 1)
    for port in (3, 4, 1):
        templates.pin(pin._replace(in_port=port), 1)
    assert templates.pin(pin, 1) == made


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 0xFFFFFF00), st.integers(0, 0xFFFFFF00), st.integers(-1, 9), st.binary(max_size=200))
def test_a_packet_is_sent_back_as_in_the_general_way(
    in_port: int, egress_port: int, queue_id: int, frame: bytes
) -> None:
    effect = SendPacket(1, in_port, egress_port, queue_id, frame)
    for peer, _layout, templates, normal in WAYS.values():
        general = packing.serialized(encode.sent_back(peer, effect, normal))
        for _ in range(2):
            assert templates.packet(effect, 9) == packing.numbered(general, 9)
