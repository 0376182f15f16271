"""Controllers that share a database, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.northbound.views import dpid_text, unix_text

if TYPE_CHECKING:
    from flowlane.northbound.controller import Member
    from flowlane.northbound.types.members import MemberView


def member_view(member: Member) -> MemberView:
    """Make the view of a controller."""
    return {
        "name": member.name,
        "url": member.url,
        "version": member.version,
        "started": unix_text(member.started),
        "is_own": member.is_own,
        "age": round(member.age, 3),
        "connected": member.connected,
        "devices": [dpid_text(dpid) for dpid in member.leads],
    }
