"""Whatever the policy says, frames leave by the ports by which they leave without Flowlane: only limits may drop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import hello, unicast
from support.ovs.protocols import FRAGMENTS
from support.ovs.scenarios import SCENARIOS
from support.ovs.twins import Namer, Stage, Twins, flat, learnt, receivers, stage, twins, uplink

pytestmark = pytest.mark.ovs

ALL_SCOPES = """
version: 1
default: rest
classes:
  rest: {limit: 9Gbit/s, burst: 100MB}
  of-vm: {limit: 8Gbit/s, burst: 100MB, limit-scope: vm}
  of-class: {limit: 7Gbit/s, burst: 100MB, limit-scope: class}
rules:
  - {name: udp, match: {protocol: udp}, class: of-vm}
  - {name: icmp, match: {protocol: icmp}, class: of-class}
  - {name: sctp, match: {protocol: sctp}, class: of-class}
"""
EXCLUSIVE = """
version: 1
default: rest
classes:
  rest: {}
  alone: {queues: exclusive, priority: 5}
rules:
  - {name: udp, match: {protocol: udp}, class: alone}
  - {name: tcp, match: {protocol: tcp}, class: alone}
"""
HINTS = """
version: 1
default: rest
classes:
  rest: {}
  voice: {priority: 5, max-queues: 1, limit: 9Gbit/s, burst: 100MB}
rules:
  - {name: marked, match: {hint: voice}, class: voice}
trust:
  - {vm: "*", sources: [dscp, pcp], classes: voice, dscp: {ef: voice}, pcp: {5: voice, 3: voice}}
"""
PINS = "version: 1\npins: {which: all}\n"
REACTIVE = "version: 1\npins: {which: reactive}\n"
AT_ONCE = "version: 1\nlearn-after: 0\n"


class Case(NamedTuple):
    """A policy, options of the manager, and what its entries show when it is in force."""

    policy: str
    options: tuple[str, ...]
    shows: str
    pace_s: float = 0.0
    frames: int | None = None
    """How many frames of a scenario are sent; None: all."""


CASES = {
    "limits of all scopes": Case(ALL_SCOPES, (), "meter:"),
    "exclusive classes": Case(EXCLUSIVE, (), "cookie=0xf10a2"),
    "hints": Case(HINTS, (), "nw_tos"),
    "a pin for each flow": Case(PINS, (), "cookie=0xf10a3"),
    "reactive": Case(REACTIVE, (), "cookie=0xf10a3", 0.03, 30),
    "learned at once": Case(AT_ONCE, (), "cookie=0xf10a4"),
    "without learning": Case(ALL_SCOPES, ("--nolearn",), "cookie=0xf10a3"),
}


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Case, Stage]]:
    """One controller for each policy."""
    chosen = CASES[request.param]
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(chosen.policy)
    with stage(f"--policy={policy}", *chosen.options) as running:
        yield chosen, running


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_under_a_policy(case: tuple[Case, Stage], tmp_path: Path, name: str) -> None:
    chosen, on = case
    scenario = SCENARIOS[name]
    with twins(
        on, tmp_path, scenario.setup, others=scenario.others, upstream=scenario.upstream, view=scenario.view
    ) as both:
        both.pace_s = chosen.pace_s
        both.same(scenario.frames[: chosen.frames])
        assert chosen.shows in entries(both)


def linked(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
    """A VM, an uplink, and a cable to another switch, whose hosts OVSDB does not know."""
    flat(ovs, bridge, named)
    uplink(ovs, bridge, named("cable"), 5)
    ovs.vsctl("set", "Interface", named("cable"), "external_ids:flowlane-port=link")


def test_reactive_mode_forwards_what_is_nobodys_flow(tmp_path: Path) -> None:
    """Frames from a link with addresses that are no VM's: on each both packets and fragments."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(REACTIVE)
    with stage(f"--policy={policy}") as on, twins(on, tmp_path, linked) as both:
        both.pace_s = 0.03
        frames = [("cable", frame) for frame in (hello(7), unicast(7, 9), unicast(7, 1), *FRAGMENTS.values())]
        attached = both.same([*learnt("vm1", "up"), *frames])
        assert receivers(attached, unicast(7, 9)) == {"up": 1}


def entries(both: Twins) -> str:
    return "".join(both.ovs.ofctl("dump-flows", bridge) for bridge in both.managed)
