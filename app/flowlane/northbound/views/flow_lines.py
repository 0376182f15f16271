"""Flows and assignments as JSON text, for long lists: what :mod:`flowlane.northbound.views.flows` makes, in a fifth of
the time.

A list has up to 1,000 items, and a client may ask for one list after the other. Most of what an item says is the same
as in the items before: names, the second of a moment. Such texts are kept for the list.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flowlane.core.flow.limits import passed_rate
from flowlane.core.flow.pins import WORTHY, mode
from flowlane.core.flow.track import is_young
from flowlane.core.flowkey import (
    HEAD,
    HEAD_LENGTH,
    IPV4,
    IPV6,
    PORT_PROTOCOLS,
    PROTOCOL_NAMES,
    format_address,
    unpack,
)
from flowlane.core.model import NO_QUEUE, Reason
from flowlane.core.state.flows import PINNED
from flowlane.northbound.views import KIND_WORDS, dpid_text, limit_of, unix_text
from flowlane.northbound.views.flows import endpoints, flow_hint, meter_view, reason_word
from flowlane.northbound.views.operators import manual_pin_mark

if TYPE_CHECKING:
    from flowlane.core.state.device import Device, State
    from flowlane.northbound.controller import Clock
    from flowlane.northbound.paging import FlowRow

_REASONS = {int(reason): reason_word(reason) for reason in Reason}
_WITH_PORTS = frozenset(
    (*PORT_PROTOCOLS, *(number for number, name in PROTOCOL_NAMES.items() if name.startswith("icmp")))
)


class FlowLines:
    """Writes the items of one list."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state, self._clock = state, clock
        self._texts: dict[str, str] = {}
        self._vms: dict[int, str] = {}

    def flow(self, places: list[FlowRow]) -> str:
        """Write a flow from its rows (at least one); see :func:`flowlane.northbound.views.flows.flow_view`."""
        device, row = places[0]
        flows = device.flows
        traffic_class = device.policy.classes[flows.class_index[row]]
        key = flows.keys[row] or b""
        limit, hint = limit_of(device, row, traffic_class), flow_hint(device, row)
        return (
            f'{{"id": "{key.hex()}", {self._ends(key)}, "class": {self._text(traffic_class.name)}, '
            f'"rate": {round(flows.rate[row])}, "passed_rate": {passed_rate(device, row)}, '
            f'"limit": {"null" if limit is None else limit}, "priority": {traffic_class.priority}, '
            f'"hint": {"null" if hint is None else json.dumps(hint)}, '
            f'"dscp": {flows.dscp[row]}, "pcp": {flows.pcp[row]}, '
            f'"packets": {flows.packets[row]}, "bytes": {flows.octets[row]}, '
            f'"first_seen": "{self._moment(flows.first_seen[row])}", '
            f'"last_active": "{self._moment(flows.last_active[row])}", '
            f'"assignments": [{", ".join([f"{{{self._place(*place)}}}" for place in places])}]}}'
        )

    def assignment(self, device: Device, row: int) -> str:
        """Write a flow's queue on a device; see :func:`flowlane.northbound.views.flows.assignment_view`."""
        flows = device.flows
        name = device.policy.classes[flows.class_index[row]].name
        key = flows.keys[row] or b""
        return (
            f'{{"flow": "{key.hex()}", {self._ends(key)}, "class": {self._text(name)}, '
            f'"rate": {round(flows.rate[row])}, "passed_rate": {passed_rate(device, row)}, '
            f"{self._place(device, row)}}}"
        )

    def _ends(self, key: bytes) -> str:
        number, vlan, kind, protocol, src_port, dst_port = HEAD.unpack_from(key)
        if kind == IPV4:
            a, b, c, d, e, f, g, h = key[HEAD_LENGTH:]
            src, dst, family = f"{a}.{b}.{c}.{d}", f"{e}.{f}.{g}.{h}", "ipv4"
        elif kind == IPV6:
            middle = HEAD_LENGTH + 16
            src, dst = format_address(kind, key[HEAD_LENGTH:middle]), format_address(kind, key[middle:])
            family = "ipv6"
        else:
            return json.dumps(endpoints(self._state, unpack(key)))[1:-1]
        ports = f"{src_port}, {dst_port}" if protocol in _WITH_PORTS else "null, null"
        one, _, other = ports.partition(", ")
        return (
            f'"family": "{family}", "protocol": "{PROTOCOL_NAMES.get(protocol, protocol)}", '
            f'"src": "{src}", "dst": "{dst}", "src_port": {one}, "dst_port": {other}, '
            f'"vlan": {vlan - 1 if vlan else "null"}, {self._vms.get(number) or self._vm(number)}'
        )

    def _vm(self, number: int) -> str:
        vm = self._state.vms.get(number)
        names = (None, None) if vm is None else (vm.id, vm.name)
        text = self._vms[number] = f'"vm": {json.dumps(names[0])}, "vm_name": {json.dumps(names[1])}'
        return text

    def _place(self, device: Device, row: int) -> str:
        flows = device.flows
        port_no, queue_id, is_pinned = flows.egress_port[row], flows.queue_id[row], flows.flags[row] & PINNED
        port = device.ports.get(port_no)
        meter = meter_view(device, flows.meter_id[row]) if flows.meter_id[row] else None
        by_hand = manual_pin_mark(device, row, self._clock) if device.manual_pins else None
        if is_pinned:
            entry = "pin"
        else:
            entry = "learned" if mode(device) == WORTHY and not is_young(device, row) else "standing"
        return (
            f'"device": "{dpid_text(device.dpid)}", "device_name": {self._text(device.name)}, '
            f'"port": {self._text(port.label) if port else _EMPTY}, '
            f'"port_no": {port_no}, "queue_id": {"null" if queue_id == NO_QUEUE else queue_id}, '
            f'"kind": "{KIND_WORDS[flows.kind[row]]}", "meter": {"null" if meter is None else json.dumps(meter)}, '
            f'"reason": "{_REASONS[flows.reason[row]]}", "since": "{self._moment(flows.assigned_since[row])}", '
            f'"pinned": {"true" if is_pinned else "false"}, '
            f'"manual_pin": {"null" if by_hand is None else json.dumps(by_hand)}, "entry": "{entry}"'
        )

    def _text(self, name: str) -> str:
        text = self._texts.get(name)
        if text is None:
            text = self._texts[name] = json.dumps(name)
        return text

    def _moment(self, time: float) -> str:
        return unix_text(self._clock.wall - (self._clock.now - time))


_EMPTY = '""'
