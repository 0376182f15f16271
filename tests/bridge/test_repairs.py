"""What others change or delete of what stands in a switch is back soon, is counted, and is in the log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab.inside import private_ovs
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from support.ovs.hosts import Host, host
from support.ovs.standing import Standing, settled, standing

from flowlane.southbound.openflow.session.verification import EVERY

pytestmark = pytest.mark.ovs

BRIDGE, VM, UPLINK = "flw-fix", "flw-vm", "flw-up"
POLICY = """
version: 1
learn-after: 0
classes:
  shared: {limit: 20Mbit/s, limit-scope: class}
  slow: {limit: 2Mbit/s, limit-scope: vm}
rules:
  - {name: shared, match: {dst-port: 80, protocol: tcp}, class: shared}
  - {name: slow, match: {vm: vm1, protocol: udp}, class: slow}
"""
SLOW_MACHINE = 3
"""How many times as long as promised a busy machine may take."""


@pytest.fixture(scope="module")
def taps() -> Iterator[PrivateOvs]:
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        yield switch


def repairs(running: Host) -> dict[str, int]:
    """The metric of repairs, by kind."""
    text = running.manager.text("/metrics")
    return {
        kind: int(float(count))
        for kind, count in re.findall(r'flowlane_repairs_total\{.*kind="(\w+)"\} (\S+)', text)
    }


def damages(running: Host, before: Standing) -> dict[str, tuple[Callable[[], str], float]]:
    """What somebody does to a switch -> how to do it, and within how many seconds it is put back."""
    flows, groups, _ = before
    deleted, other = re.findall(r"group_id=(\d+)", "".join(groups[:2]))
    rule = next(line for line in flows if "table=6" in line and "priority=100," in line)
    match = rule.split(" actions=")[0].split(", ", 1)[1]
    ofctl = running.ovs.ofctl
    changed = f"group_id={other},type=select,bucket=actions=drop"
    return {
        "entries deleted": (lambda: ofctl("del-flows", BRIDGE, "table=1"), 2.0),
        "actions changed": (lambda: ofctl("mod-flows", BRIDGE, "table=6,actions=drop"), 2.0),
        "replaced by another's": (lambda: ofctl("add-flow", BRIDGE, f"{match},actions=drop"), 2.0),
        "a group deleted": (lambda: ofctl("del-groups", BRIDGE, f"group_id={deleted}"), 2.0),
        "meters deleted": (lambda: ofctl("del-meters", BRIDGE), 2.0),
        "a group changed": (lambda: ofctl("mod-group", BRIDGE, changed), 10.0),
    }


@pytest.mark.parametrize("version", ["OpenFlow13", "OpenFlow15"])
def test_what_others_change_or_delete_is_put_back(taps: PrivateOvs, tmp_path: Path, version: str) -> None:
    """With OpenFlow 1.3 all at once: the switch reports no changes, and is read every few seconds."""
    with host(taps, tmp_path, POLICY) as running:
        words = f"add-port {BRIDGE} {VM} -- set Interface {VM} type=internal external_ids:iface-id=vm1"
        words += f" -- add-port {BRIDGE} {UPLINK} -- set Interface {UPLINK} type=internal"
        words += f" external_ids:flowlane-port=uplink -- set Bridge {BRIDGE} protocols={version}"
        running.bridge(BRIDGE, 0x71, *words.split())
        running.up(VM, UPLINK)
        taps.set_queues(UPLINK, {number: {} for number in range(4)})
        running.wait(lambda: all(len(part) > 1 for part in standing(taps, BRIDGE)), "no groups, no meters")
        before = settled(taps, BRIDGE)
        for name, (damage, seconds) in damages(running, before).items():
            damage()
            if version == "OpenFlow15":
                back = lambda: standing(taps, BRIDGE) == before  # noqa: E731
                running.wait(back, f"not put back: {name}", SLOW_MACHINE * seconds)
        running.wait(lambda: standing(taps, BRIDGE) == before, "not put back", SLOW_MACHINE * 10.0)
        if version == "OpenFlow13":
            time.sleep(2.5 * EVERY)  # Now the replies are known by their bytes.
            for name in ("actions changed", "a group changed"):
                damages(running, before)[name][0]()
                assert standing(taps, BRIDGE) != before
                back = lambda: standing(taps, BRIDGE) == before  # noqa: E731
                running.wait(back, f"not put back: {name}", SLOW_MACHINE * 10.0)
        assert {kind for kind, count in repairs(running).items() if count} == {"entry", "group", "meter"}
        assert "others had changed or deleted" in running.manager.log
