"""Flowlane as an os-ken app: handlers that pass os-ken's messages to the sessions of the devices.

The handlers run in the app's own green thread, one after the other. What they are made of, the composition
root, is in :mod:`flowlane.composition`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from os_ken.base.app_manager import OSKenApp, lookup_service_brick
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.ofproto import ofproto_v1_3, ofproto_v1_4, ofproto_v1_5

from flowlane import hub, options
from flowlane.composition import LONGEST, Composition
from flowlane.errors import ProtocolError
from flowlane.southbound.openflow.osken import coalescing, listener
from flowlane.southbound.openflow.session import packing

Handler = Callable[[Any, Any], None]

REPLIES = [
    ofp_event.EventOFPAggregateStatsReply,
    ofp_event.EventOFPDescStatsReply,
    ofp_event.EventOFPFlowDescStatsReply,
    ofp_event.EventOFPFlowMonitorReply,
    ofp_event.EventOFPFlowStatsReply,
    ofp_event.EventOFPGetConfigReply,
    ofp_event.EventOFPGroupDescStatsReply,
    ofp_event.EventOFPGroupFeaturesStatsReply,
    ofp_event.EventOFPMeterConfigStatsReply,
    ofp_event.EventOFPMeterDescStatsReply,
    ofp_event.EventOFPMeterFeaturesStatsReply,
    ofp_event.EventOFPMeterStatsReply,
    ofp_event.EventOFPPortDescStatsReply,
    ofp_event.EventOFPQueueDescStatsReply,
    ofp_event.EventOFPQueueGetConfigReply,
    ofp_event.EventOFPQueueStatsReply,
    ofp_event.EventOFPRoleReply,
    ofp_event.EventOFPTableFeaturesStatsReply,
]


def on(events: Any, *states: str) -> Callable[[Handler], Handler]:
    """Make a method the handler of os-ken events of connections in these states, and catch its exceptions.

    An exception is counted and logged, and closes the connection of its event: the device then reconnects and
    is reconciled. os-ken's event loop would only log it, and device and controller could differ. A message that
    cannot be read is its switch's fault and not counted: it costs the connection, and the log has the reason.
    """

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        def guarded(app: Any, event: Any) -> None:
            began = time.monotonic()
            try:
                handler(app, event)
            except ProtocolError as error:
                listener.log_refusal(_datapath_of(event).address, error)
                hub.spawn(_datapath_of(event).close)
            except Exception:
                app.composition.fault(type(event).__name__)
                hub.spawn(_datapath_of(event).close)
            app.worked(time.monotonic() - began)

        registered: Handler = set_ev_cls(events, list(states))(guarded)
        return registered

    return decorate


def _datapath_of(event: Any) -> Any:
    return event.datapath if hasattr(event, "datapath") else event.msg.datapath


MESSAGES = frozenset(
    (
        *REPLIES,
        ofp_event.EventOFPBarrierReply,
        ofp_event.EventOFPEchoReply,
        ofp_event.EventOFPEchoRequest,
        ofp_event.EventOFPErrorMsg,
        ofp_event.EventOFPFlowRemoved,
        ofp_event.EventOFPPacketIn,
        ofp_event.EventOFPPortStatus,
    )
)
"""Kinds of messages of connected switches that are handled at once where no other app observes any of them.

os-ken has one queue of events for all switches. A packet of one switch would wait there behind what another sends; at
once it only waits for its connection's turn.
"""

_OTHERS = frozenset((*MESSAGES, ofp_event.EventOFPPortStateChange))
"""Kinds of events that other apps may observe: os-ken makes the last one of port-status messages."""


class Flowlane(OSKenApp):  # type: ignore[misc]
    """The os-ken app."""

    OFP_VERSIONS = (ofproto_v1_3.OFP_VERSION, ofproto_v1_4.OFP_VERSION, ofproto_v1_5.OFP_VERSION)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.composition = Composition(options.settings())
        self._worked = 0.0
        """Seconds for which events have been handled since others were served."""
        self._kinds: dict[type, Any] = {}
        """Class of a message -> that of its event, for :meth:`take`."""
        self._is_accompanied = False
        """Whether another app observes messages of switches."""

    def start(self) -> None:
        """Start the composition; os-ken calls this when all apps have been created."""
        super().start()
        observers = lookup_service_brick(ofp_event.NAME).observers
        self._is_accompanied = any(set(observers.get(kind, ())) - {self.name} for kind in _OTHERS)
        self.composition.sessions.is_accompanied = self._is_accompanied
        self.composition.start()
        listener.offer_first(self.take)
        if not self._is_accompanied:
            listener.offer_together(self.take_together)
            listener.offer_replies(self.take_known)

    def worked(self, seconds: float) -> None:
        """Let others be served where events have been handled for long without a pause."""
        self._worked = self._worked + seconds if self.events.qsize() else 0.0
        if self._worked > LONGEST:
            self._worked = 0.0
            hub.sleep(0)

    def take(self, message: Any) -> bool:
        """Handle a message at once; return False where another app observes messages, too: all are queued then.

        os-ken's way for it, an event in the queue of each app, takes as long as Flowlane's own work on it.
        """
        kind = self._kinds.get(type(message))
        if kind is None:
            kind = self._kinds[type(message)] = ofp_event.ofp_msg_to_ev_cls(type(message))
        if kind not in MESSAGES or self._is_accompanied:
            return False
        for handler in self.event_handlers[kind]:
            handler(kind(message))
        if kind is ofp_event.EventOFPEchoRequest:
            coalescing.send_soon(message.datapath, packing.echo_reply(message.buf))
        elif kind is ofp_event.EventOFPEchoReply:
            message.datapath.acknowledge_echo_reply(message.xid)
        return True

    def take_together(self, datapath: Any, messages: list[bytes]) -> int:
        """Handle messages about flows that came together; return how many of them: the next goes os-ken's way."""
        try:
            return self.composition.sessions.flow_messages(datapath, messages)
        except Exception:
            self.composition.fault("FlowMessages")
            hub.spawn(datapath.close)
            return len(messages)

    def take_known(self, datapath: Any, data: bytes) -> bool:
        """Take a reply that is as before; return False where it goes os-ken's way."""
        try:
            return self.composition.sessions.known_reply(datapath, data)
        except Exception:
            self.composition.fault("a known reply")
            hub.spawn(datapath.close)
            return True

    def reload(self, changed: Collection[str]) -> None:
        """Read the operator's files again; the runner calls this on SIGHUP."""
        self.composition.reload(options.settings(), changed)

    def close(self) -> None:
        """Stop the composition; os-ken calls this when it has ended the app's event loop."""
        self.composition.stop()

    @on(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def on_features(self, event: Any) -> None:
        """Refuse an auxiliary connection; the main one of its device stays."""
        self.composition.sessions.features(event.msg)

    @on(ofp_event.EventOFPStateChange, MAIN_DISPATCHER, DEAD_DISPATCHER)
    def on_state_change(self, event: Any) -> None:
        """Start or end the session of a connection that is ready or has ended."""
        sessions = self.composition.sessions
        (sessions.connected if event.state == MAIN_DISPATCHER else sessions.disconnected)(event.datapath)

    @on(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def on_packet_in(self, event: Any) -> None:
        """Handle a packet that was copied to the controller."""
        self.composition.sessions.packet_in(event.msg)

    @on(ofp_event.EventOFPFlowRemoved, MAIN_DISPATCHER)
    def on_flow_removed(self, event: Any) -> None:
        """Handle the removal of a flow entry by the device."""
        self.composition.sessions.flow_removed(event.msg)

    @on(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def on_port_status(self, event: Any) -> None:
        """Handle a port that was added, modified or deleted."""
        self.composition.sessions.port_status(event.msg)

    @on(REPLIES, MAIN_DISPATCHER)
    def on_reply(self, event: Any) -> None:
        """Handle a reply, or a part of one."""
        self.composition.sessions.reply(event.msg)

    @on(ofp_event.EventOFPRoleStatus, MAIN_DISPATCHER)
    def on_role_status(self, event: Any) -> None:
        """Handle the report that another controller has become the primary one."""
        self.composition.sessions.role_status(event.msg)

    @on(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def on_barrier_reply(self, event: Any) -> None:
        """Handle the reply to a barrier."""
        self.composition.sessions.barrier_reply(event.msg)

    @on(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def on_error(self, event: Any) -> None:
        """Handle an error message."""
        self.composition.sessions.error(event.msg)

    @on([ofp_event.EventOFPEchoReply, ofp_event.EventOFPEchoRequest], MAIN_DISPATCHER)
    def on_echo(self, event: Any) -> None:
        """Handle an echo request or reply, which shows that the device is alive."""
        self.composition.sessions.echo(event.msg)
