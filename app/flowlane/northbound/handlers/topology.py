"""GET handlers of REST about the topology: the graph, hosts, addresses."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from flowlane.core.topology.adjacency import links
from flowlane.core.topology.graph import machines
from flowlane.northbound.handlers.read import names_page
from flowlane.northbound.http.problems import bad_field
from flowlane.northbound.query import DEFAULT_LIMIT, check_names, devices_named
from flowlane.northbound.views.topology import addresses_of, host_view, topology_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.northbound.http.routing import Call
    from flowlane.northbound.types import Page
    from flowlane.northbound.types.topology import AddressView, HostView, TopologyView


def topology(call: Call) -> TopologyView:
    """Answer with devices, links and hosts."""
    return topology_view(call.controller.state, call.clock, call.controller.expected)


def hosts(call: Call) -> Page[HostView]:
    """List the machines, by id."""
    state = call.controller.state
    listed = {host.id: host for host in machines(state)}
    names, following = names_page(call, listed)
    return {"items": [host_view(state, listed[name]) for name in names], "next": following}


def addresses(call: Call) -> Page[AddressView]:
    """List where addresses are attached, by device, address and VLAN."""
    check_names(call.controller.state, call.query)
    start, limit = _start(call), call.query.get("limit", DEFAULT_LIMIT)
    items = list(islice(_addresses(call, start), limit + 1))
    following = None
    if len(items) > limit:
        following = "/".join(map(str, _place(items[limit - 1])))
    return {"items": items[:limit], "next": following}


_Place = tuple[str, str, int]
_CURSOR = re.compile("([0-9a-f]{16})/((?:[0-9a-f]{2}:){5}[0-9a-f]{2})/(-1|[0-9]{1,4})", re.ASCII)
"""What :func:`_place` gives, as text."""


def _place(view: AddressView) -> _Place:
    return view["device"], view["mac"], -1 if view["vlan"] is None else view["vlan"]


def _addresses(call: Call, start: _Place | None) -> Iterator[AddressView]:
    state = call.controller.state
    linked = frozenset(end for link in links(state) for end in link.ends)
    chosen = list(state.devices.values())
    if "device" in call.query:
        chosen = list(devices_named(state, call.query["device"]))
    for device in sorted(chosen, key=lambda device: device.dpid):
        if start is None or f"{device.dpid:016x}" >= start[0]:
            for view in addresses_of(state, device, linked):
                if start is None or _place(view) > start:
                    yield view


def _start(call: Call) -> _Place | None:
    text = call.query.get("cursor")
    if text is None:
        return None
    place = _CURSOR.fullmatch(text)
    if place is None:
        raise bad_field("cursor", "this is no cursor of this list; start again without one")
    return place[1], place[2], int(place[3])
