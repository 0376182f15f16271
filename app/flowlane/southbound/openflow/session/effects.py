"""The engine's effects on a device, each with the method of its session that carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowlane.core.effects import (
    BeginGroup,
    DeleteLearned,
    DeleteMeter,
    FlushConnections,
    PinFlow,
    Program,
    ReadCounters,
    ReadQueues,
    SendPacket,
    SetMeter,
    UnpinFlow,
)
from flowlane.southbound.openflow.session import encode
from flowlane.southbound.openflow.session.session import Session
from flowlane.southbound.openflow.tables.young import zone_of


def _flush(session: Session, effect: FlushConnections) -> None:
    session.send(encode.flush_connections(session.datapath, zone_of(effect.dpid, effect.port_no)))


CARRY_OUT: Mapping[type, tuple[Callable[[Any], int], Callable[[Session, Any], None]]] = {
    Program: (lambda effect: effect.plan.dpid, lambda session, effect: session.program(effect.plan)),
    PinFlow: (lambda effect: effect.dpid, Session.pin),
    UnpinFlow: (lambda effect: effect.dpid, Session.unpin),
    DeleteLearned: (lambda effect: effect.dpid, Session.delete_learned),
    FlushConnections: (lambda effect: effect.dpid, _flush),
    SendPacket: (lambda effect: effect.dpid, Session.send_packet),
    SetMeter: (lambda effect: effect.dpid, Session.set_meter),
    DeleteMeter: (lambda effect: effect.dpid, Session.delete_meter),
    ReadCounters: (lambda effect: effect.dpid, Session.read_counters),
    BeginGroup: (lambda effect: effect.dpid, Session.begin_group),
    ReadQueues: (lambda effect: effect.dpid, lambda session, _effect: session.read_queues()),
}
"""Kind of effect -> (function that returns its device's dpid, method of the session that carries it out)."""
