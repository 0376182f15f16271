"""Faults tried on a real Open vSwitch, judged by an auditor: a short form of ``python -m bench.faults``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from bench.faults.__main__ import FLOWS, POLICY, running, traffic, tried
from lab.inside import audit
from lab.inside.manager import wait_for
from lab.inside.namespaces import network_of_its_own
from lab.inside.tap_host import BRIDGE, TapHost

pytestmark = pytest.mark.ovs


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[TapHost, Counter[str]]]:
    """A host, and what stands in its switch."""
    with network_of_its_own(), running() as made:
        yield made, audit.standing(made)


@pytest.mark.parametrize("fault", ["policies", "controller-stopped", "disk-full", "switch-restart"])
def test_all_is_as_before(stage: tuple[TapHost, Counter[str]], fault: str) -> None:
    assert tried(*stage, fault, 0.02, patience=40).wrong == []


def test_the_auditor_finds_what_others_added_and_what_the_policy_changed(
    stage: tuple[TapHost, Counter[str]],
) -> None:
    host, before = stage
    with traffic(host):
        wait_for(lambda: not audit.audit(host, FLOWS, before), 30)
        host.ovs.ofctl("add-flow", BRIDGE, "table=0,priority=7,in_port=9,actions=drop")
        host.put_policy(POLICY.replace("any: {}", "any: {limit: 9Mbit/s, limit-scope: class}"))
        wait_for(lambda: len(audit.audit(host, FLOWS, before)) > 1, 30)
        found = audit.audit(host, FLOWS, before)
    assert [line for line in found if line.startswith("new: ") and "in_port=9 actions=drop" in line]
    assert [line for line in found if line.startswith("new: ") and "rate=9000" in line]
