"""Loops and differences from the expected network are reported when they last, and when they end."""

from __future__ import annotations

from support.engine.links import Network, cable

from flowlane.core.topology.expected import Expected
from flowlane.core.topology.findings import NOTHING, RIGHT, WRONG, Followed, follow

EXPECTED = Expected("net.yaml", {1: "one", 2: "two"}, frozenset(), (((1, "a"), (2, "a")),))


def network() -> Network:
    of = Network()
    for dpid in (1, 2):
        of.device(dpid, {1: cable("a"), 2: cable("b")})
    return of


def checked(of: Network, before: Followed) -> tuple[Followed, list[tuple[object, str]]]:
    after, reports = follow(of.state, EXPECTED, before)
    return after, [(report.data["change"], report.text) for report in reports]


def test_what_lasts_is_reported_once_and_its_end_too() -> None:
    of = network()
    missing = "missing-link: link one/a - two/a: it is not there"
    after, reports = checked(of, NOTHING)
    assert reports == [], "probes may be on their way"
    after, reports = checked(of, after)
    assert reports == [(WRONG, missing)]
    after, reports = checked(of, after)
    assert reports == []
    of.connect((1, 1), (2, 1))
    after, reports = checked(of, after)
    assert reports == [(RIGHT, f"no longer: {missing}")]


def test_loops_are_reported() -> None:
    of = network()
    of.connect((1, 1), (2, 1))
    of.connect((1, 2), (2, 2))
    after, _ = checked(of, NOTHING)
    _, reports = checked(of, after)
    loop = "a loop that nobody breaks: d1/a, d1/b, d2/a, d2/b (without spanning tree: d1, d2)"
    assert (WRONG, loop) in reports
