"""What a reconnected device has is reconciled with what the controller knows."""

from __future__ import annotations

from support.engine.scenario import DPID, Scenario

from flowlane.core import events as ev


def test_a_flow_whose_pin_is_gone_leaves_no_entry_where_the_queues_have_changed_meanwhile() -> None:
    """The flows that are left move to another queue as the device connects; a flow that has ended gets no entry."""
    host = Scenario(queues=4)
    rows = [host.flow(1, 1000 + number) for number in range(8)]
    kept = host.pins[rows[0]]
    found = ev.FoundPin(kept.ref, kept.key, kept.in_port, kept.egress_port, kept.queue_id, 0, 5, 500)
    host.do(ev.DeviceDown(DPID))
    host.pins = {rows[0]: kept}
    host.connect(0, pins=(found,))
    assert list(host.device.flows) == [rows[0]]
    assert list(host.pins) == [rows[0]], "no entry of a flow that has ended"
