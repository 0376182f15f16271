"""The argument FLOW of commands: an id or the beginning of one, or a flow as tables and events write it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowlane.cli.client import PAGE, Answer, Client, RefusedError, get, pages
from flowlane.cli.tables import flow_text
from flowlane.errors import RequestError

if TYPE_CHECKING:
    import argparse

HELP = (
    "an id or the beginning of one, SRC[:PORT]-DST[:PORT] ([...] around IPv6), or a flow as the column FLOW shows it, "
    "in quotes"
)

NOT_FOUND = 404
MAX_FLOWS = 20
"""Flows at most that one argument stands for, and candidates that an error lists."""

_ID_LENGTHS = (40, 48, 88)
"""Hexadecimal digits of the id of an IPv4, a layer-2 and an IPv6 flow (:mod:`flowlane.core.flowkey`)."""

_ID = re.compile(r"[0-9a-fA-F]+\Z")
_END = (
    r"(?:\[(?P<{0}_in>[^\]\s]+)\]|(?P<{0}>[0-9a-fA-F.]+(?:/\d+)?|(?:[0-9a-fA-F]{{0,4}}:){{2,}}[0-9a-fA-F.]*))"
    r"(?::(?P<{0}_port>\d{{1,5}}))?"
)
_PROTOCOL = r"(?:(?:ip protocol|ethertype) )?(?P<proto>[0-9a-z]+)(?P<fragments> fragments)?"
_FLOW = re.compile(
    rf"(?:{_PROTOCOL} )?{_END.format('src')} ?(?:->?|>|to) ?{_END.format('dst')}"
    r"(?: type (?P<type>\d{1,3}))?(?: (?:in )?vlan (?P<vlan>\d{1,4}))?\Z",
    re.IGNORECASE,
)
_HALF = re.compile(rf"{_PROTOCOL} {_END.format('src')}\Z", re.IGNORECASE)
"""What is left of a flow where the shell took ``>`` and the rest for a file."""

_IPV6_FRAGMENTS = "44"
"""The protocol of all fragments between two IPv6 addresses (RFC 8200, 4.5)."""


def add_flow(parser: argparse.ArgumentParser) -> None:
    """Declare the argument; words that belong together need no quotes."""
    parser.add_argument("flow", metavar="FLOW", nargs="+", help=HELP)


def flow_name(args: argparse.Namespace) -> str:
    """Return the argument as one text."""
    return " ".join(" ".join(args.flow).split())


def find_flows(client: Client, name: str) -> list[Answer]:
    """Find the flow of an id or of the beginning of one, or those that are written so.

    Raises:
        RequestError: ``name`` is nothing of that, or the beginning of several ids.
        RefusedError: there is no such flow.
    """
    if _ID.match(name):
        return [_by_id(client, name)]
    match = _FLOW.match(name)
    if match is None:
        raise RequestError(_why_not(name))
    flows = _of_vlan(pages(client, "/v1/flows", _query(match), PAGE)["items"], match)
    if not flows:
        raise RefusedError(f"no flow matches {name!r} now; flowlane flows lists flows", NOT_FOUND)
    return flows[:MAX_FLOWS]


def find_flow(client: Client, name: str) -> Answer:
    """Find the one flow that an argument stands for.

    Raises:
        RequestError: ``name`` is nothing that :func:`find_flows` reads, or stands for several flows.
        RefusedError: there is no such flow.
    """
    flows = find_flows(client, name)
    if len(flows) > 1:
        raise _several(f"{name!r} stands for several flows", flows)
    return flows[0]


def _by_id(client: Client, name: str) -> Answer:
    missing: RefusedError | None = None
    if len(name) in _ID_LENGTHS:
        try:
            return get(client, f"/v1/flows/{name}")
        except RefusedError as error:
            if error.status != NOT_FOUND:
                raise
            missing = error
    candidates = pages(client, "/v1/flows", {"id": name.lower()}, MAX_FLOWS)["items"]
    if len(candidates) == 1:
        only: Answer = candidates[0]
        return only
    if candidates:
        raise _several(f"{name!r} is the beginning of several ids", candidates)
    raise missing or RefusedError(
        f"no flow's id begins with {name!r} now; flowlane flows lists flows", NOT_FOUND
    )


def _several(what: str, flows: list[Answer]) -> RequestError:
    lines = [f"  {flow['id']}  {flow_text(flow)}  VM {flow['vm_name'] or '-'}" for flow in flows]
    more = ["  ..."] if len(flows) >= MAX_FLOWS else []
    return RequestError("\n".join([f"{what}; give more of one of them:", *lines, *more]))


def _query(match: re.Match[str]) -> dict[str, Any]:
    """Make the filters of REST that select what is written."""
    fields = match.groupdict()
    proto = fields["proto"] and fields["proto"].lower()
    ports = fields["src_port"] or fields["type"], fields["dst_port"]
    if proto == "fragments":
        proto = _IPV6_FRAGMENTS
    elif fields["fragments"]:
        ports = "0", "0"
    given = {
        "proto": proto,
        "src": fields["src_in"] or fields["src"],
        "dst": fields["dst_in"] or fields["dst"],
        "src_port": ports[0],
        "dst_port": ports[1],
    }
    return {key: value for key, value in given.items() if value is not None}


def _of_vlan(flows: list[Answer], match: re.Match[str]) -> list[Answer]:
    """Select the flows of the VLAN that is written; a flow that is written whole, without one, is untagged."""
    vlan = match["vlan"]
    if vlan is not None:
        return [flow for flow in flows if flow["vlan"] == int(vlan)]
    untagged = [flow for flow in flows if flow["vlan"] is None]
    return untagged if match["proto"] and untagged else flows


def _why_not(name: str) -> str:
    if "…" in name:
        return f"{name!r} is cut off; copy the flow from a wider terminal, or from flowlane flows -o wide"
    if _HALF.match(name):
        return f"{name!r} is half a flow; put it in quotes, since the shell takes > for itself"
    return f"{name!r} is neither a flow's id nor SRC[:PORT]-DST[:PORT]; flowlane flows lists flows"
