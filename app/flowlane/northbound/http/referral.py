"""What a controller of several says about devices that others lead: where to ask about them.

A request about one device is referred to its leader. An answer about all devices has what this controller leads, and
names the others in ``members``; so has the answer that there is no such flow or VM here.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from flowlane.northbound.http.problems import ProblemError
from flowlane.northbound.views import dpid_text

if TYPE_CHECKING:
    from webob import Request, Response

    from flowlane.northbound.controller import Controller, Member
    from flowlane.northbound.types.referrals import MemberAddress, MemberReference

DPID = re.compile("[0-9A-Fa-f]{16}")


def check_leader(controller: Controller, request: Request, text: str) -> None:
    """Refer a request about a device to the controller that leads it, where that is another one.

    Raises:
        ProblemError: 307 with its address, or 421 where it has none (RFC 9110, 15.4.8, 15.5.20).
    """
    leader = controller.leader_of(int(text, 16)) if DPID.fullmatch(text) else None
    if leader is None:
        return
    if not leader.url:
        raise ProblemError(421, f"controller {leader.name} leads device {text}; it has no --rest-url", "dpid")
    raw = request.environ.get("RAW_PATH_INFO") or request.path_info
    path = str(raw).partition("?")[0]
    target = f"{leader.url}{path}{f'?{request.query_string}' if request.query_string else ''}"
    detail = f"controller {leader.name} leads device {text}; ask it at {leader.url}"
    raise ProblemError(307, detail, "dpid", {"Location": target})


def add_members(controller: Controller, answer: Response) -> None:
    """Add the other controllers to an answer, a JSON object, where they lead devices that it has nothing of."""
    references: list[MemberReference] = [
        {"name": member.name, "url": member.url, "devices": [dpid_text(dpid) for dpid in member.leads]}
        for member in _others(controller)
    ]
    if references:
        answer.body = answer.body.rstrip()[:-1] + f', "members": {json.dumps(references)}}}\n'.encode()


def name_members(controller: Controller, error: ProblemError) -> None:
    """Add the other controllers to the problem that something is not here: one of them may have it."""
    if error.status == HTTPStatus.NOT_FOUND:
        addresses: list[MemberAddress] = [
            {"name": member.name, "url": member.url} for member in _others(controller)
        ]
        error.members = addresses


def _others(controller: Controller) -> list[Member]:
    """List the other controllers that lead devices."""
    return [member for member in controller.members() if member.leads and not member.is_own]
