"""Ports of VMs that come, change and go: what is patched is what is made from nothing."""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.changing_hosts import IDENTITIES, LEARNING, STEPS, ChangingHosts, Step
from support.engine.required import required
from support.engine.two_hosts import A, B

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.device import patching
from flowlane.core.engine import Engine
from flowlane.core.state.device import Device, Port, State

INSIDE = {"columns", "flows", "classifier", "known_senders", "readings", "samples", "audit", "names_vms"}
"""Fields of a device that do not compare, or that are not made of its ports and VMs."""


def caught_up(engine: Engine, now: float) -> list[fx.Effect]:
    out: list[fx.Effect] = []
    while engine.is_behind:
        out += engine.step(ev.CatchUp(), now)
    return out


def port_parts(port: Port) -> list[Any]:
    parts = {item.name: getattr(port, item.name) for item in fields(Port)}
    parts["allocation"] = port.allocation is None
    return list(parts.items())


def parts_of(device: Device) -> dict[str, Any]:
    parts = {item.name: getattr(device, item.name) for item in fields(Device) if item.name not in INSIDE}
    parts["ports"] = {port_no: port_parts(port) for port_no, port in device.ports.items()}
    parts["claims"] = {number: repr(one) for number, one in device.claims.items()}
    parts["meter_pool"] = device.meter_pool.specs
    parts["nearer"] = {number: [other.dpid for other in way] for number, way in device.nearer.items()}
    parts["keys"] = [key for key in device.flows.keys if key is not None]
    return parts


def state_parts(state: State) -> dict[str, Any]:
    names = ("vms", "vm_numbers", "gone_vms", "macs", "conflicts", "renamed", "nics", "hints", "due")
    parts = {name: getattr(state, name) for name in (*names, "hints_of_vm", "policy_awaited", "patch_ports")}
    parts["claims"] = {number: repr(of_vm) for number, of_vm in state.claims.items()}
    return parts


class Twins:
    """Two engines that get the same events: one patches, the other makes all anew."""

    def __init__(self, hosts: ChangingHosts) -> None:
        self.hosts = hosts
        self.patched, self.anew = Engine(LEARNING), Engine(LEARNING)
        self.patches = 0
        self.do(hosts.first())
        self.catch_up()
        self.do(hosts.events(("wait", A, 0, 60, 0)))  # The end of the adoption.
        self.catch_up()

    def do(self, events: list[ev.Event]) -> None:
        for event in events:
            assert self.patched.step(event, self.hosts.now) == self.anew.step(event, self.hosts.now)

    def catch_up(self) -> None:
        def count(*args: Any) -> patching.Patch | None:
            made = take_in(*args)
            self.patches += made is not None
            return made

        take_in = patching.take_in
        with patch.object(patching, "take_in", count):
            first = caught_up(self.patched, self.hosts.now)
        with patch.object(patching, "take_in", lambda *_args: None):
            second = caught_up(self.anew, self.hosts.now)
        assert first == second

    def check(self) -> None:
        assert state_parts(self.patched.state) == state_parts(self.anew.state)
        for dpid, device in self.patched.devices.items():
            assert parts_of(device) == parts_of(self.anew.devices[dpid])


@settings(max_examples=150)
@given(STEPS, st.booleans(), st.sampled_from(((True, True), (False, True), (True, False))))
def test_a_patched_device_is_the_same_as_one_made_from_nothing(
    steps: list[Step], normal: bool, named: tuple[bool, bool]
) -> None:
    twins = Twins(ChangingHosts(normal, *named))
    for number, step in enumerate(steps):
        twins.do(twins.hosts.events(step))
        if step[0] == "catch up" or number % 4:  # What comes now and then is caught up with what comes next.
            twins.catch_up()
            twins.check()
    twins.catch_up()
    twins.check()


def test_a_vm_more_leaves_the_parts_of_all_others_as_they_are() -> None:
    twins = Twins(ChangingHosts())
    before = required(twins.patched.devices[A].plan)
    twins.do(twins.hosts.events(("plug", A, 12, 0, 0)))
    twins.catch_up()
    after = required(twins.patched.devices[A].plan)
    assert twins.patches == 1
    assert [port.port_no for port in after.ports] == [3, 9, 12]
    assert all(any(port is other for other in after.ports) for port in before.ports)
    twins.check()


def plug(dpid: int, port: int, value: int, setting: int = 0) -> Step:
    return "plug", dpid, port, value, setting


LINK = IDENTITIES.index({"flowlane-port": "link"})
BEHIND = IDENTITIES.index({"iface-id": "vm10", "attached-mac": "02:00:00:00:00:aa"})
SCENES: dict[str, tuple[int, list[Step]]] = {
    "a VM comes, gets another name and goes": (
        3,
        [plug(A, 12, 0), ("describe", A, 12, 3, 0), ("unplug", A, 12, 0, 0)],
    ),
    "its link goes down and up again": (
        3,
        [plug(A, 12, 0), ("send", A, 12, 2, 0), ("link", A, 12, 0, 0), ("link", A, 12, 1, 0)],
    ),
    "two have one address": (3, [plug(A, 12, 0), plug(A, 13, 6), ("unplug", A, 13, 0, 0)]),
    "young flows are counted": (1, [("policy", A, 0, 2, 0), plug(A, 12, 0)]),
    "only stated addresses may send": (1, [("policy", A, 0, 3, 0), plug(A, 12, 0)]),
    "the VM is behind a patch port of another device": (1, [("patch", A, 0, 1, 0), plug(A, 12, 0)]),
    "the policy names it": (0, [("policy", A, 0, 4, 0), plug(A, 12, 0)]),
    "its marks are trusted": (0, [("policy", A, 0, 5, 0), plug(A, 12, 0)]),
    "it has a share": (0, [("policy", A, 0, 6, 0), plug(A, 12, 0)]),
    "it has a meter": (0, [("policy", A, 0, 9, 0), plug(A, 12, 0)]),
    "a port claims a VM of another port": (1, [plug(A, 12, 0), plug(B, 12, 0), ("describe", A, 12, 5, 0)]),
    "it has two NICs": (1, [plug(A, 12, 8), plug(A, 13, 9), ("unplug", A, 12, 0, 0)]),
    "its address was taken for that of a VM behind a link": (
        1,
        [
            plug(A, 13, LINK),
            plug(B, 12, 7),
            ("send", B, 12, 4, 0),
            ("send", A, 13, 4, 0),
            plug(A, 12, BEHIND),
        ],
    ),
    "the device has just connected": (0, [("again", A, 0, 0, 0), plug(A, 12, 0)]),
}


@pytest.mark.parametrize("scene", SCENES)
def test_what_may_be_patched_is_and_nothing_else(scene: str) -> None:
    twins = Twins(ChangingHosts())
    patches, steps = SCENES[scene]
    for step in steps:
        twins.do(twins.hosts.events(step))
        twins.catch_up()
        twins.check()
    assert twins.patches == patches


def test_what_speaks_against_a_patch_has_all_made_anew() -> None:
    not_simple = [n for n, ids in enumerate(IDENTITIES) if "iface-id" not in ids or "flowlane-port" in ids]
    for value in not_simple:
        twins = Twins(ChangingHosts())
        twins.do(twins.hosts.events(("plug", A, 12, value, 0)))
        twins.catch_up()
        assert twins.patches == 0, IDENTITIES[value]
    for setting in (4, 5):
        twins = Twins(ChangingHosts())
        twins.do(twins.hosts.events(("plug", B, 12, 0, setting)))
        twins.catch_up()
        assert twins.patches == 0
