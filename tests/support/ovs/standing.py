"""What stands in a bridge beside the entries of flows: its entries, groups and meters."""

from __future__ import annotations

import re
import time

from lab.inside.private_ovs import PrivateOvs

Standing = tuple[list[str], list[str], list[str]]


def standing(ovs: PrivateOvs, bridge: str) -> Standing:
    """Entries, groups and meters of the switch, without counters and times."""
    lines = ovs.ofctl("dump-flows", bridge, "--no-stats").splitlines()
    flows = [line.strip() for line in lines if "priority=" in line]
    flows = [line for line in flows if "cookie=0xf10a3" not in line and "cookie=0xf10a4" not in line]
    groups = [line.strip() for line in ovs.ofctl("dump-groups", bridge).splitlines() if "group_id=" in line]
    return sorted(flows), sorted(groups), re.findall(r"meter=.*\n.*", ovs.ofctl("dump-meters", bridge))


def settled(ovs: PrivateOvs, bridge: str) -> Standing:
    """What stands when nothing has changed for two seconds."""
    last, since = standing(ovs, bridge), time.monotonic()
    while time.monotonic() - since < 2.0:
        time.sleep(0.1)
        now = standing(ovs, bridge)
        if now != last:
            last, since = now, time.monotonic()
    return last
