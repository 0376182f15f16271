"""What is wrong with the topology, reported when it begins and ends: loops, differences from the expected network."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.effects import Report
from flowlane.core.topology.adjacency import device_name, links, port_name
from flowlane.core.topology.expected import DeviationKind, deviations
from flowlane.core.topology.graph import loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.state.device import State
    from flowlane.core.topology.expected import Expected

WRONG, RIGHT = "topology-wrong", "topology-right"
"""``change`` of the reports."""


class Followed(NamedTuple):
    """The texts that were found by the last check, and those that were reported."""

    last: frozenset[str] = frozenset()
    reported: frozenset[str] = frozenset()


NOTHING = Followed()


def follow(state: State, expected: Expected | None, before: Followed) -> tuple[Followed, list[Report]]:
    """Check the topology; report what two checks in a row have found, and what is reported and no longer found."""
    found = dict.fromkeys(_findings(state, expected))
    begun = [text for text in found if text in before.last and text not in before.reported]
    ended = [text for text in sorted(before.reported) if text not in found]
    reports = [Report("link", text, {"change": WRONG}) for text in begun]
    reports += [Report("link", f"no longer: {text}", {"change": RIGHT}) for text in ended]
    return Followed(frozenset(found), before.reported.union(begun).difference(ended)), reports


def _findings(state: State, expected: Expected | None) -> Iterator[str]:
    known = links(state)
    for loop in loops(state, known):
        ports = ", ".join(f"{device_name(state, end[0])}/{port_name(state, end)}" for end in loop.ports)
        names = ", ".join(device_name(state, dpid) for dpid in loop.without_spanning_tree)
        yield f"a loop that nobody breaks: {ports} (without spanning tree: {names})"
    if expected is not None:
        for item in deviations(state, expected, known):
            if item.kind is not DeviationKind.UNKNOWN:
                yield f"{item.kind.value}: {item.text}"
