"""What the audit of a device keeps (see :mod:`flowlane.core.device.audit`), and when refusals are tried again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from flowlane.core.model import PinRef

AUDIT_EVERY = 60.0
"""Seconds between two audits of a device, and from its connection to the first."""

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

    ``due``: when it is audited next. ``asked``: when its pins were last requested. ``suspects``: where a pin differed
    at the last reading, and how; ``suspected``: when that was. ``repaired``: how often such a pin was put right since
    it last was as it should be. ``counts``: repairs by kind, since ever. ``refused_retry``: when flows are tried again
    whose pins the device has refused, None: there are none; ``retried_row``: the last one that was.
    """

    refused_retry: float | None = None
    retried_row: int = -1
    due: float = 0.0
    asked: float = 0.0
    suspected: float = 0.0
    suspects: dict[PinRef, Difference] = field(default_factory=dict)
    repaired: dict[PinRef, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
