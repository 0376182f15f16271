from __future__ import annotations

import json

import pytest
from support.engine.controller import DB, NIC, WEB, FakeController, furnished, ipv4, put

from flowlane.core.flowkey import IPV6, LAYER2, FlowParts, pack
from flowlane.core.model import NO_QUEUE, HintSource, Reason, Vm
from flowlane.core.state.flows import PINNED
from flowlane.northbound.views.flow_lines import FlowLines
from flowlane.northbound.views.flows import assignment_view, flow_view, rows_of


@pytest.fixture
def controller() -> FakeController:
    """Flows of every family and protocol, with and without what a flow may have."""
    controller = furnished()
    nic = controller.state.devices[NIC]
    hostile = 'a"\\\n\x1b<é'
    controller.state.vms[DB] = Vm(DB, f"id {hostile}", hostile, NIC, 2, "vf1")
    nic.ports[9].name = hostile
    for reason in Reason:
        put(nic, ipv4(WEB, 6, 3000 + reason, 80), egress_port=9, queue_id=2, reason=int(reason), kind=1)
    for number, protocol in enumerate((1, 6, 17, 47, 132)):
        put(nic, ipv4(DB, protocol, 5000 + number, 80, vlan=7), egress_port=9, rate=1.5e6, meter_id=7)
    address = bytes(range(16))
    for protocol in (6, 44, 58):
        put(nic, pack(FlowParts(0x77, None, IPV6, protocol, 1, 2, address, address[::-1])), egress_port=4)
    for ethertype in (0x0806, 0x88B5):
        mac = bytes.fromhex("020000000001")
        put(nic, pack(FlowParts(WEB, 5, LAYER2, 0, ethertype, 0, mac, mac)), queue_id=NO_QUEUE)
    put(
        nic, ipv4(WEB, 6, 1, 80), flags=PINNED, hint_class=2, hint_source=int(HintSource.REST), dscp=46, pcp=3
    )
    put(nic, ipv4(WEB, 6, 2, 80), seen=999.9996, assigned_since=999.9994999)
    return controller


def test_lists_are_what_single_views_are(controller: FakeController) -> None:
    state, clock = controller.state, controller.clock()
    lines, count = FlowLines(state, clock), 0
    for device in state.devices.values():
        for row in device.flows:
            key = device.flows.keys[row] or b""
            assert json.loads(lines.assignment(device, row)) == assignment_view(state, clock, device, row)
            assert json.loads(lines.flow(rows_of(state, key))) == flow_view(state, clock, rows_of(state, key))
            count += 1
    assert count > 40
