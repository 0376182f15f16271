"""What people are told of, beside what the state shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.effects import Report

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.state import Device


def count_refusal(device: Device, what: str, why: str, out: list[Effect]) -> None:
    """Count what a device could not take; tell people of the first and every thousandth."""
    count = device.refusals[what] = device.refusals.get(what, 0) + 1
    if count % 1000 == 1:
        text = f"{device.name}: {what} not set: {why}"
        out.append(
            Report("error", text, {"device": f"{device.dpid:016x}", "what": what, "why": why, "count": count})
        )
