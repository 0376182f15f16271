"""Policy of a device: the same as the operator's, altered, or a subset, and what is left out (M2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flowlane import policy as policies
from flowlane.core.classify.classifier import NO_RULE, compile_rules
from flowlane.core.device.rules import DeviceView, derive
from flowlane.core.flowkey import IPV4, TCP, UDP, FlowParts
from flowlane.core.model import Capabilities, Role
from flowlane.core.policy import PathPreference, Policy, TrafficClass

ABLE = Capabilities(max_meters=1000, meter_burst=True, select_groups=True)
NIC = DeviceView(1, "br-nic", Role.NIC, ABLE, physical_queues=8, software_queues=4)

TEXT = """
version: 1
default: rest
classes:
  rest: {}
  limited: {limit: 50Mbit/s, burst: 1MB}
  alone: {queues: exclusive, min-queues: 2, max-queues: 6}
  hard: {path: hardware}
  soft: {path: software}
rules:
  - {match: {protocol: tcp}, class: limited}
  - {match: {protocol: udp}, class: alone}
  - {match: {dscp: ef}, class: hard}
  - {match: {dscp: cs1}, class: soft}
trust:
  - {sources: [dscp, rest], dscp: {af11: limited, af21: alone}}
shares:
  - {name: a, vm: "a-*"}
  - {name: b, vm: "b-*"}
"""


def load(extra: str = "", **settings: object) -> Policy:
    return policies.load(TEXT + extra)


def what(device: DeviceView, policy: Policy | None = None) -> list[str]:
    return [item.what for item in derive(policy or load(), device)[1]]


def class_of(policy: Policy, name: str) -> TrafficClass:
    return next(item for item in policy.classes if item.name == name)


def test_a_device_that_can_do_all_gets_the_very_same() -> None:
    policy = load()
    assert derive(policy, NIC) == (policy, ())
    assert derive(policy, NIC)[0] is policy


def able(**changes: Any) -> DeviceView:
    return replace(NIC, capabilities=replace(ABLE, **changes))


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (able(max_meters=0), ["limit of class limited"]),
        (able(meter_burst=False), ["burst of class limited"]),
        (able(select_groups=False), ["spreading of new flows by the device (rest, limited, hard, soft)"]),
        (able(pin_room=400), ["9600 of 10000 pins"]),
        (able(pin_room=10_000), []),
        (replace(NIC, software_queues=0), ["path software of class soft"]),
        (replace(NIC, physical_queues=0), ["path hardware of class hard", "the shares of the hardware"]),
        (replace(NIC, physical_queues=1), ["the shares of the hardware"]),
        (
            replace(NIC, physical_queues=1, software_queues=0),
            ["exclusive queues of class alone", "min-queues 2 of class alone", "path software of class soft",
             "the shares of the hardware"],
        ),
        (
            replace(NIC, physical_queues=0, software_queues=0),
            ["exclusive queues of class alone", "min-queues 2 of class alone", "the shares of the hardware"],
        ),
    ],
)  # fmt: skip
def test_what_a_device_is_not_capable_of_is_left_out(device: DeviceView, expected: list[str]) -> None:
    _, left_out = derive(load(), device)
    assert [item.what for item in left_out] == expected
    assert all(item.why and item.remedy for item in left_out)


def test_what_is_left_of_classes_without_capabilities() -> None:
    poor = replace(NIC, capabilities=Capabilities(), physical_queues=1, software_queues=0)
    derived, _ = derive(load(), poor)
    assert class_of(derived, "limited").rate_limit is None
    assert class_of(derived, "limited").burst is None
    assert class_of(derived, "alone").exclusive is False
    assert class_of(derived, "alone").min_queues == 1
    assert class_of(derived, "soft").path is PathPreference.PREFER_HARDWARE
    assert derived.shares == ()


def flow(protocol: int) -> FlowParts:
    return FlowParts(0, None, IPV4, protocol, 1, 2, bytes(4), bytes(4))


def test_a_subset_keeps_indexes_and_lets_flows_fall_through() -> None:
    policy = load("devices: [{match: {name: br-nic}, only: [alone]}]\n")
    derived, left_out = derive(policy, NIC)
    assert [item.what for item in left_out] == ["class limited", "class hard", "class soft"]
    assert [rule.index for rule in derived.rules] == [1]
    found = compile_rules(derived)
    assert found.classify(None, flow(UDP), 46, 0) == (policy.rules[1].class_index, 1)
    assert found.classify(None, flow(TCP), 46, 0) == (0, NO_RULE)
    assert derived.trust[0].dscp == ((18, 2),)
    assert derived.trust[0].classes == {0, 2}


def test_changes_apply_in_order_to_the_devices_meant() -> None:
    policy = load(
        """
devices:
  - {match: {role: nic}, change: {limited: {limit: 20Mbit/s}, alone: {queues: shared, max-queues: 1}}}
  - {match: {name: "br-*"}, change: {limited: {limit: none}, soft: {path: hardware}}}
  - {match: {dpid: 00000000000000ff}, change: {rest: {path: software}}}
"""
    )
    derived, left_out = derive(policy, NIC)
    assert left_out == ()
    assert class_of(derived, "limited").rate_limit is None
    alone = class_of(derived, "alone")
    assert (alone.exclusive, alone.min_queues, alone.max_queues) == (False, 1, 1)
    assert class_of(derived, "soft").path is PathPreference.HARDWARE
    assert class_of(derived, "rest").path is PathPreference.PREFER_HARDWARE
    other, _ = derive(policy, replace(NIC, name="eth", dpid=255))
    assert class_of(other, "limited").rate_limit == 20_000_000
    assert class_of(other, "limited").burst is None
    assert class_of(other, "rest").path is PathPreference.SOFTWARE
    assert class_of(derive(policy, replace(NIC, role=Role.SWITCH, name="tor"))[0], "limited") == class_of(
        policy, "limited"
    )


def test_a_changed_limit_needs_meters_too() -> None:
    policy = load("devices: [{change: {rest: {limit: 5Mbit/s}}}]\n")
    assert what(able(max_meters=0), policy) == ["limit of class rest", "limit of class limited"]


def test_deriving_twice_is_deriving_once() -> None:
    poor = replace(NIC, capabilities=Capabilities(), physical_queues=1, software_queues=0)
    once, _ = derive(load(), poor)
    again, left_out = derive(once, poor)
    assert again is once
    assert left_out == ()


def test_a_minimum_that_no_queue_guarantees_is_reported() -> None:
    policy = policies.load("version: 1\nclasses: {default: {minimum: 10Mbit/s}}\n")
    assert what(NIC, policy) == ["minimum of class default"]
    assert what(replace(NIC, highest_minimum=9_999_999), policy) == ["minimum of class default"]
    assert what(replace(NIC, highest_minimum=10_000_000), policy) == []
