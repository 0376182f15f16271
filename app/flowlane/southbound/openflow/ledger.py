"""What was sent to a device and may still be refused: until a barrier's reply says that it was carried out.

OpenFlow acknowledges nothing but barriers: an error names the message it is about by transaction id, and
comes before the reply of the barrier behind that message (OpenFlow 1.3.5 section 6.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowlane.southbound.openflow.entries import Change

BATCH = 256
"""Changes between two barriers at most."""

MAX_UNCONFIRMED = 200_000
"""Changes without a barrier's reply, after which the device is given up."""


class Ledger:
    """Changes by transaction id, oldest first; a barrier stands as None."""

    def __init__(self) -> None:
        self._sent: dict[int, Change | None] = {}
        self.unconfirmed = 0
        """Changes since the last barrier."""

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, xid: int, change: Change) -> None:
        """Note a change that is sent."""
        self._sent[xid] = change
        self.unconfirmed += 1

    def add_barrier(self, xid: int) -> None:
        """Note a barrier that is sent."""
        self._sent[xid] = None
        self.unconfirmed = 0

    def refused(self, xid: int) -> Change | None:
        """The change that an error is about; it is no longer waited for. None when it is about none."""
        return self._sent.pop(xid, None)

    def confirm(self, xid: int) -> None:
        """Take a barrier's reply: all that was sent before it can no longer be refused."""
        if xid in self._sent:
            for sent in list(self._sent):
                del self._sent[sent]
                if sent == xid:
                    return
