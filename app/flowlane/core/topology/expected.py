"""The expected topology against the one that is known: devices and links that are missing, unexpected or miswired."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.state.links import LinkState
from flowlane.core.topology.adjacency import Link, LinkKind, by_end, device_name, port_name, port_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowlane.core.state.device import State

Place = tuple[int, str]
"""(dpid, name of a port)."""


class Expected(NamedTuple):
    """A network as it should be.

    ``source``: the file. ``devices``: dpid -> name. ``uncontrolled``: dpids of those that have no connection to
    Flowlane, whose links nobody sees. ``links``: the ends of each link, in order.
    """

    source: str
    devices: Mapping[int, str]
    uncontrolled: frozenset[int]
    links: tuple[tuple[Place, Place], ...]


class DeviationKind(StrEnum):
    """How the network differs; ``unknown``: whether it does cannot be seen."""

    MISSING_DEVICE = "missing-device"
    UNEXPECTED_DEVICE = "unexpected-device"
    MISSING_LINK = "missing-link"
    UNEXPECTED_LINK = "unexpected-link"
    MISWIRED = "miswired"
    DOWN = "down"
    UNKNOWN = "unknown"


class Deviation(NamedTuple):
    """A difference between the expected network and the one that is known; ``ports`` are the ends that it is about."""

    kind: DeviationKind
    text: str
    ports: tuple[Place, ...] = ()


def deviations(state: State, expected: Expected, known: Sequence[Link]) -> list[Deviation]:
    """List the differences.

    Args:
        known: the links (:func:`flowlane.core.topology.adjacency.links`).
    """
    passive = {device.dpid for device in state.passive}  # They are declared, not found.
    known = [link for link in known if passive.isdisjoint(dpid for dpid, _ in link.ends)]
    return [*_devices(state, expected), *_links(state, expected, known), *_unexpected(state, expected, known)]


def _devices(state: State, expected: Expected) -> Iterator[Deviation]:
    for dpid, name in sorted(expected.devices.items()):
        device = state.devices.get(dpid)
        if dpid not in expected.uncontrolled and (device is None or not device.connected):
            yield Deviation(DeviationKind.MISSING_DEVICE, f"device {name} ({dpid:016x}) is not connected")
    for dpid, device in sorted(state.devices.items()):
        if device.connected and dpid not in expected.devices:
            text = f"device {device.name} ({dpid:016x}) is not in {expected.source}"
            yield Deviation(DeviationKind.UNEXPECTED_DEVICE, text)


def _links(state: State, expected: Expected, known: Sequence[Link]) -> Iterator[Deviation]:
    there = by_end(known)
    numbers = {dpid: {name: no for no, name in port_names(state, dpid).items()} for dpid in expected.devices}
    for ends in expected.links:
        text = " - ".join(_named(expected, place) for place in ends)
        places = [(dpid, numbers[dpid].get(name)) for dpid, name in ends]
        ports = {(dpid, number) for dpid, number in places if number is not None}
        link = next((there[port] for port in sorted(ports) if port in there), None)
        reason = _not_visible(state, expected, ends)
        if reason and (link is None or link.state is not LinkState.UP):
            yield Deviation(DeviationKind.UNKNOWN, f"link {text}: {reason}", ends)
        elif len(ports) < len(places):
            absent = (place for place in ends if place[1] not in numbers[place[0]])
            names = ", ".join(_named(expected, place) for place in absent)
            yield Deviation(DeviationKind.MISSING_LINK, f"link {text}: there is no port {names}", ends)
        elif link is None:
            yield _not_seen(state, text, ends)
        elif {*link.ends} != ports:
            found = " - ".join(f"{device_name(state, end[0])}/{port_name(state, end)}" for end in link.ends)
            yield Deviation(DeviationKind.MISWIRED, f"link {text}: found {found} instead", ends)
        elif link.state is LinkState.DOWN:
            yield Deviation(DeviationKind.DOWN, f"link {text}: it is down", ends)
        elif link.state is LinkState.UNCONFIRMED:
            yield Deviation(DeviationKind.UNKNOWN, f"link {text}: no probe has crossed it lately", ends)


def _not_visible(state: State, expected: Expected, ends: tuple[Place, Place]) -> str:
    """Say why nobody can see a link; '': it can be seen."""
    for dpid, _ in ends:
        device = state.devices.get(dpid)
        if dpid in expected.uncontrolled:
            return f"{expected.devices[dpid]} has no connection to Flowlane"
        if device is None or not device.connected:
            return f"{expected.devices[dpid]} is not connected"
    return ""


def _not_seen(state: State, text: str, ends: tuple[Place, Place]) -> Deviation:
    """Make the deviation of a link that no probe has crossed: a blocked port neither sends nor receives any."""
    trees = (state.described[dpid].spanning_tree for dpid, _ in ends if dpid in state.described)
    if any(trees):
        return Deviation(
            DeviationKind.UNKNOWN, f"link {text}: not seen; the spanning tree may block it", ends
        )
    return Deviation(DeviationKind.MISSING_LINK, f"link {text}: it is not there", ends)


def _unexpected(state: State, expected: Expected, known: Sequence[Link]) -> Iterator[Deviation]:
    """Find links that the file does not have; one that is in the place of an expected one is miswired instead.

    Patch ports to bridges that the file leaves out are a matter of their machine.
    """
    planned = {place for ends in expected.links for place in ends}
    for link in known:
        places = tuple((end[0], port_name(state, end)) for end in link.ends)
        is_inside = link.kind is LinkKind.PATCH and not all(dpid in expected.devices for dpid, _ in link.ends)
        if link.state is not LinkState.DOWN and planned.isdisjoint(places) and not is_inside:
            text = " - ".join(f"{device_name(state, dpid)}/{name}" for dpid, name in places)
            yield Deviation(DeviationKind.UNEXPECTED_LINK, f"link {text} is not in {expected.source}", places)


def _named(expected: Expected, place: Place) -> str:
    return f"{expected.devices[place[0]]}/{place[1]}"
