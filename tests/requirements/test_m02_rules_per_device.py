"""M2: each device gets rules made from the operator's rules: the same, altered, or a subset."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.engine.example_policies import policy
from support.engine.required import required

from flowlane.core import events as ev
from flowlane.core.engine import Engine
from flowlane.core.model import Capabilities, PortFacts, PortReport, QueueFacts, QueueKind
from flowlane.core.policy import Policy
from flowlane.core.state.device import Device
from flowlane.simulation.host import CAPABILITIES


def device(
    role: str,
    caps: Capabilities = CAPABILITIES,
    kinds: tuple[QueueKind, ...] = (QueueKind.PHYSICAL,) * 4,
    rules: Policy | None = None,
) -> Device:
    """A device of this role with the example policy, as it is after its handshake."""
    engine = Engine(rules or policy("m02"))
    queues = {number: QueueFacts(kind) for number, kind in enumerate(kinds)}
    facts = {
        1: PortFacts("vf1", {"iface-id": "vm1"}),
        9: PortFacts("up", {"flowlane-port": "uplink"}, queues=queues, qos_max_rate=10**10),
    }
    engine.step(ev.DeviceDescribed(1, "dev", role, {}, "", facts), 0.0)
    ports = PortReport(1, "vf1"), PortReport(9, "up")
    engine.step(ev.DeviceUp(1, caps, ports, {9: tuple(queues)}), 0.0)
    return engine.devices[1]


def test_a_device_that_can_do_all_gets_the_same_rules() -> None:
    operators_policy = policy("m02")
    nic = device("nic", rules=operators_policy)
    assert nic.policy is operators_policy
    assert nic.left_out == ()
    assert {rule.class_name for rule in required(nic.plan).rules} == {"web", "backup", "default"}


def test_a_software_switch_gets_an_altered_copy() -> None:
    changed = device("vswitch", kinds=(QueueKind.PHYSICAL, QueueKind.SOFTWARE))
    backup = next(item for item in changed.policy.classes if item.name == "backup")
    assert backup.rate_limit == 100_000_000
    rules = [
        rule for rule in required(changed.plan).rules if rule.class_name == "backup" and rule.egress_port == 9
    ]
    assert {queue_id for rule in rules for queue_id, _ in rule.queues} == {1}, "software queues only"


def test_a_plain_switch_gets_a_subset_and_says_what_is_left_out() -> None:
    subset = device("switch")
    assert {rule.class_name for rule in required(subset.plan).rules} == {"backup", "default"}
    assert [left.what for left in subset.left_out] == ["class web"]
    assert next(item for item in subset.policy.classes if item.name == "backup").rate_limit is None


@pytest.mark.parametrize(
    ("caps", "what"),
    [
        (replace(CAPABILITIES, max_meters=0), "limit of class backup"),
        (replace(CAPABILITIES, meter_burst=False), "burst of class backup"),
        (replace(CAPABILITIES, select_groups=False, max_groups=0), "spreading of new flows"),
        (replace(CAPABILITIES, pin_room=100), "9900 of 10000 pins"),
    ],
)
def test_what_a_device_cannot_do_is_left_out_and_told_with_reason_and_remedy(
    caps: Capabilities, what: str
) -> None:
    left = [item for item in device("nic", caps).left_out if what in item.what]
    assert len(left) == 1
    assert left[0].why
    assert left[0].remedy
