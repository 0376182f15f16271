"""Changes of entries on their way to one device: in order, many of them a slice at a time, with barriers behind them.

Pins and packets that wait are sent by templates (:mod:`.templates`) where there are some, since there are as many of
them as there are new flows.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from flowlane import hub
from flowlane.core.effects import PinFlow, UnpinFlow
from flowlane.logs import Repeats
from flowlane.southbound.openflow.osken import coalescing
from flowlane.southbound.openflow.session import packing
from flowlane.southbound.openflow.session.outbox import BATCH, MAX_UNCONFIRMED, Outbox, UnconfirmedChanges
from flowlane.southbound.openflow.tables import pins
from flowlane.southbound.openflow.tables.entries import BARRIER, Change, FlowEntry, MeterEntry
from flowlane.southbound.openflow.tables.pipeline import TableId

if TYPE_CHECKING:
    from flowlane.core.effects import SendPacket
    from flowlane.southbound.openflow.session.encode import Datapath
    from flowlane.southbound.openflow.session.templates import Templates
    from flowlane.southbound.openflow.tables.entries import Entry
    from flowlane.southbound.openflow.tables.layout import Layout
    from flowlane.telemetry import DeviceTraffic

_REPEATS = Repeats(logging.getLogger(__name__))

SLICE = 256
"""Changes that are encoded at a time, which takes some 10 ms; other devices are served in between."""


class ChangeSender:
    """Sends messages and changes to one device.

    Args:
        layout: returns the numbers of tables on the device.
        close: ends the connection, with the reason.
        traffic: counts what is sent.
    """

    def __init__(
        self,
        datapath: Datapath,
        layout: Callable[[], Layout],
        close: Callable[[str], None],
        traffic: DeviceTraffic,
    ) -> None:
        self._datapath, self._layout, self._close, self._traffic = datapath, layout, close, traffic
        at_once = partial(coalescing.send_at_once, datapath)
        self._outbox = Outbox(datapath.send, lambda: close("reads too slowly"), at_once)
        datapath.socket.after_read = self._outbox.flush
        self._unconfirmed = UnconfirmedChanges()
        self._backlog: deque[Change] = deque()
        """Changes that have not been encoded and sent yet."""
        self._postponed: list[Callable[[], object]] = []
        """What to do after the backlog, so that the device learns again by the new standing rules."""
        self.templates: Templates | None = None
        """Those of pins and packets, once the handshake has shown what the device can do."""

    @property
    def has_backlog(self) -> bool:
        """Whether changes have not been sent yet."""
        return bool(self._backlog)

    @property
    def lacks_barrier(self) -> bool:
        """Whether changes were sent after the last barrier."""
        return bool(self._unconfirmed.since_barrier)

    @property
    def count(self) -> int:
        """How many messages were sent so far."""
        return self._outbox.count

    def stop(self) -> None:
        """Send nothing more, and drop what waits and what refers back here."""
        self._backlog.clear()
        self._postponed.clear()
        self._outbox.close()
        self._unconfirmed = UnconfirmedChanges()
        layout = self._layout()
        self._close, self._layout = _ignore, lambda: layout

    def send(self, message: Any) -> int:
        """Send an os-ken message, or one as bytes, with the next transaction id; return that."""
        data = message if isinstance(message, bytes) else packing.serialized(message)
        if (operation := packing.operation_of(data)) is not None:
            self._traffic.flow_mods[operation] += 1
        xid = packing.next_xid(self._datapath)
        self._outbox.put(packing.numbered(data, xid))
        return xid

    def change(self, changes: Sequence[Change]) -> None:
        """Send changes in order; many of them a slice at a time, so that other devices are served in between."""
        if not self._backlog and len(changes) <= SLICE:
            self.send_at_once(changes)
            return
        if not self._backlog:
            hub.spawn(self._drain)
        self._backlog.extend(changes)

    def send_at_once(self, changes: Iterable[Change]) -> None:
        """Send changes now, before what waits."""
        for change in changes:
            self.send_one(change)
        self._ask_for_confirmation()

    def send_one(self, change: Change) -> None:
        """Send one change now; nothing asks for its confirmation yet."""
        xid = self.send(packing.change(self._datapath, change, self._layout()))
        if change.entry is None:
            self._unconfirmed.add_barrier(xid)
        else:
            self._unconfirmed.add(xid, change)

    def send_pin(self, effect: PinFlow | UnpinFlow) -> bool:
        """Send a pin by a template; return False, and do nothing, where it has to go the general way."""
        templates = self.templates
        if templates is None or self._backlog:
            return False
        if isinstance(effect, UnpinFlow):
            xid = packing.next_xid(self._datapath)
            message, operation = templates.unpin(effect, xid), "delete"
        elif templates.has(effect.queue_id):
            xid = packing.next_xid(self._datapath)
            message, operation = templates.pin(effect, xid), "modify" if effect.moved else "add"
        else:
            return False
        self._traffic.flow_mods[operation] += 1
        self._outbox.put(message)
        self._unconfirmed.add(xid, effect)
        self._ask_for_confirmation()
        return True

    def send_packet(self, effect: SendPacket) -> None:
        """Send a packet that waits back to its device."""
        assert self.templates is not None
        self._outbox.put(self.templates.packet(effect, packing.next_xid(self._datapath)))

    def postpone(self, work: Callable[[], object]) -> None:
        """Do something after what waits to be sent; now, where nothing does."""
        if self._backlog:
            self._postponed.append(work)
        else:
            work()

    def barrier(self) -> bytes:
        """Return a barrier request, with transaction id 0."""
        return packing.change(self._datapath, BARRIER)

    def confirm(self, xid: int) -> None:
        """Take the reply to a barrier: what was sent before it has been carried out."""
        self._unconfirmed.confirm(xid)

    def pop_refused(self, xid: int) -> Change | None:
        """Remove and return the change that an error is about; None when it is about none."""
        sent = self._unconfirmed.pop_refused(xid)
        if isinstance(sent, Change | None):
            return sent
        assert self.templates is not None
        return pins.change(sent, self.templates.learns)

    def _ask_for_confirmation(self) -> None:
        if self._unconfirmed.since_barrier >= BATCH:
            self._unconfirmed.add_barrier(self.send(self.barrier()))
        if len(self._unconfirmed) > MAX_UNCONFIRMED:
            self._close("does not reply to barriers")

    def _drain(self) -> None:
        while self._backlog:
            self.send_at_once([self._backlog.popleft() for _ in range(min(SLICE, len(self._backlog)))])
            hub.sleep(0)
        postponed, self._postponed = self._postponed, []
        for work in postponed:
            work()


def log_refusal(dpid: int, change: Change, entry: Entry, error: str) -> None:
    """Log what a device refused: each standing entry, but one for all of pins and meters, which may be many."""
    is_pin = isinstance(entry, FlowEntry) and entry.table_id == TableId.ASSIGN
    kind = "pin" if is_pin else "meter" if isinstance(entry, MeterEntry) else entry
    _REPEATS.warning((dpid, error, change.op, kind), "device %016x refused to %s: %s", dpid, change, error)


def _ignore(_reason: str) -> None:
    """Do nothing."""
