"""What the audit of a device keeps (see :mod:`flowlane.core.device.audit`), and when refusals are tried again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from flowlane.core.model import PinRef

AUDIT_EVERY = 60.0
"""Seconds between two audits of a device, and from its connection to the first."""

LATEST = 330.0
"""Seconds after which a reading of the pins is not waited for: the session has given it up before."""

RETRY = 60.0
"""Seconds after which a device is asked again for what it has refused: a pin, a meter."""


class Difference(NamedTuple):
    """Where a pin and its flow differ: what the flow has, and what the device has; None: none.

    Both are the key of the flow without its VM, the ports, the queue with its mark, and the meter.
    """

    wanted: tuple[object, ...] | None
    there: tuple[object, ...] | None


@dataclass(slots=True)
class Audit:
    """What was found by the audit of a device.

    ``due``: when it is audited next. ``number``: that of the last reading of its pins; ``asked``: when that was
    requested, None: its reply has come. ``changed``: the pins that were sent or deleted since then, about which it
    says nothing. ``suspects``: where a pin differed at the reading before, and how. ``repaired``: how often such a pin
    was put right since it last was as it should be. ``counts``: repairs by kind, since ever. ``refused_retry``: when
    flows are tried again whose pins the device has refused, None: there are none; ``retried_row``: the last one that
    was.
    """

    refused_retry: float | None = None
    retried_row: int = -1
    due: float = 0.0
    number: int = 0
    asked: float | None = None
    changed: set[PinRef] = field(default_factory=set)
    suspects: dict[PinRef, Difference] = field(default_factory=dict)
    repaired: dict[PinRef, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def connected(self, now: float) -> None:
        """Begin anew with a connection: what was requested by the last one is not answered."""
        self.due, self.asked = now + AUDIT_EVERY, None
        self.suspects = {}

    def begin_reading(self, now: float) -> int:
        """Note that the pins are requested now; return the number of the reading. 0: one is waited for."""
        if self.asked is not None and now - self.asked < LATEST:
            return 0
        self.number, self.asked = self.number + 1, now
        self.changed.clear()
        return self.number

    def end_reading(self, number: int) -> bool:
        """Note that a reading has come; return whether it is the one that is waited for."""
        is_awaited = self.asked is not None and number == self.number
        if is_awaited:
            self.asked = None
        return is_awaited

    def note_change(self, ref: PinRef) -> None:
        """Note that a pin is sent or deleted."""
        if self.asked is not None:
            self.changed.add(ref)
