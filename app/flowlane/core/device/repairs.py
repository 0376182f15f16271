"""What others had changed or deleted in a device, and was put back, as a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.effects import Report
from flowlane.units import counted

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.events import Repaired
    from flowlane.core.state.device import State


def on_repaired(state: State, event: Repaired, out: list[Effect]) -> None:
    """Report what was put back."""
    device = state.devices.get(event.dpid)
    if device is None:
        return
    number = sum(event.counts.values())
    plurals = {"entry": "entries"}
    parts = ", ".join(
        counted(count, kind, plurals.get(kind, "")) for kind, count in sorted(event.counts.items())
    )
    more = " ..." if "," in event.shown and number > event.shown.count(",") + 1 else ""
    text = f"{device.name}: others had changed or deleted {parts}; put back: {event.shown}{more}"
    data = {
        "device": f"{device.dpid:016x}",
        "change": "repaired",
        "repaired": dict(event.counts),
        "why": "others had changed or deleted them",
    }
    out.append(Report("error", text, data))
