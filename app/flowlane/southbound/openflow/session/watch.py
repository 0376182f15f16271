"""The watch over the start table: entries that others add there later may conflict with ours.

It is read when ports or queues may have changed, and every few seconds. Conflicts are reported when they
change. When somebody adds an entry with one of our priorities, ours get others: of two entries with one
priority either may count (OpenFlow 1.3.5 section 5.3).

When none of ours is there any more, somebody has deleted all entries. Open vSwitch does so when a bridge gets
its first primary controller, loses its last one, or changes its fail mode (ofproto/connmgr.c), and keeps the
connection of a service controller.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowlane.core.events import ConflictsReported
from flowlane.southbound.openflow.session import arrangement, packing, requests
from flowlane.southbound.openflow.tables import foreign
from flowlane.southbound.openflow.tables.entries import BARRIER, Change, FlowEntry, Op
from flowlane.southbound.openflow.tables.layout import OUTSIDE
from flowlane.southbound.openflow.tables.pipeline import TableId

if TYPE_CHECKING:
    from flowlane.southbound.openflow.session.arrangement import Arrangement
    from flowlane.southbound.openflow.session.requests import Reply
    from flowlane.southbound.openflow.tables.layout import Layout

LARGE = 4096
"""Foreign entries beyond which they are read at connect only: reading them takes some 10 µs each."""

Send = Callable[[str, Any, Callable[["Reply"], None]], None]
"""Send a request: its name, the message, what to call with the reply."""


def has_entries(flows: Iterable[FlowEntry]) -> bool:
    """Return whether some of the entries are in the start table."""
    return any(entry.table_id == TableId.INGRESS for entry in flows)


def rebased(flows: Iterable[FlowEntry], old: Layout) -> tuple[Change, ...]:
    """Return the changes that give our entries in the start table the priorities of the layout in use.

    The new ones are there before the old ones go.

    Args:
        old: the layout until now.
    """
    entries = [entry for entry in flows if entry.table_id == TableId.INGRESS]
    there = [replace(old.flow_on_device(entry), steps=()) for entry in entries]
    outside = [replace(entry, table_id=OUTSIDE + entry.table_id) for entry in there]
    adds = (Change(Op.ADD, entry) for entry in entries)
    return (*adds, BARRIER, *(Change(Op.DELETE, entry) for entry in outside), BARRIER)


class StartTableWatch:
    """Watches the start table of one device.

    Args:
        layout: returns the layout that is in use.
        ports: returns the numbers of the device's ports.
        rebase: gives our entries in the start table other priorities, from the given one on.
        is_programmed: whether all that was sent before now puts entries of ours there.
        lost: called when none of them is there.
    """

    def __init__(
        self,
        datapath: Any,
        send: Send,
        emit: Callable[[ConflictsReported], None],
        layout: Callable[[], Layout],
        ports: Callable[[], Collection[int]],
        rebase: Callable[[int], None],
        is_programmed: Callable[[], bool],
        lost: Callable[[], None],
    ) -> None:
        self._datapath, self._send, self._emit = datapath, send, emit
        self._layout, self._ports, self._rebase = layout, ports, rebase
        self._is_programmed, self._lost = is_programmed, lost
        self._is_pending = False
        self._are_expected = False
        self._is_large = False
        self._is_led_to = True
        self._copies = False
        self._reported: tuple[str, ...] = ()
        self._waiting: list[Callable[[], None]] = []

    def begin(self, arranged: Arrangement) -> None:
        """Take what the handshake has found."""
        self._is_led_to = foreign.is_led_to(arranged.layout.start, arranged.others.tables)
        self._copies = arranged.others.copies and arranged.capabilities.controller_meter
        self._reported = arranged.conflicts

    def read(self, then: Callable[[], None] | None = None) -> None:
        """Request the entries of the start table, unless the last reply is pending.

        While none of another table leads to it, those of all tables are requested: somebody may add one.

        Args:
            then: called when the reply was taken; at once where the table is too large to be read again.
        """
        if then is not None:
            self._waiting.append(then)
        if self._is_large:
            self._go_on()
        if self._is_pending or self._is_large:
            return
        self._is_pending = True
        self._are_expected = self._is_programmed()
        table_id = self._layout().start if self._is_led_to else None
        message = packing.request(self._datapath, requests.flows_request, 0, 0, table_id)
        self._send("start table", message, self._take)

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()

    def _take(self, reply: Reply) -> None:
        self._is_pending = False
        self._take_entries(reply)
        self._go_on()

    def _take_entries(self, reply: Reply) -> None:
        if reply.error:
            return
        if self._are_expected and not arrangement.has_ours(reply.parts):
            self._lost()
            return
        start, base = self._layout().start, self._layout().base
        entries = tuple(arrangement.foreign_entries(reply.parts))
        self._is_large = len(entries) > LARGE
        there = [entry for entry in entries if entry.table_id == start]
        if not self._is_led_to:
            tables = (number for entry in entries for number in entry.leads.tables)
            self._is_led_to = foreign.is_led_to(start, frozenset(tables))
        if foreign.has_priority_of_ours(there, base):
            base = foreign.base_for(there)
            self._rebase(base)
        conflicts = foreign.conflicts(
            there, start, base, self._ports(), is_led_to=self._is_led_to, copies=self._copies
        )
        if conflicts != self._reported:
            self._reported = conflicts
            self._emit(ConflictsReported(self._datapath.id, conflicts))
