"""Networks made by a rule: leaf-spine networks of any size."""

from __future__ import annotations

from typing import Any

import yaml

_MOST_VMS = 0x100


def leaf_spine(leaves: int, spines: int, vms: int, queues: int = 4) -> str:
    """Write the network file of a leaf-spine network: a host with a NIC and some VMs at each leaf.

    Every leaf is connected to every spine. The bridges run RSTP, which leaves one way between any two of them.

    Args:
        leaves: number of leaves, each with one host, from 1 to 255.
        spines: number of spines, from 1 to 255.
        vms: number of VMs of each host, from 1 to 255.
        queues: number of queues of each port between bridges.

    Raises:
        ValueError: a number is out of its range.
    """
    for name, number in (("leaves", leaves), ("spines", spines), ("VMs", vms), ("queues", queues)):
        if not 0 < number < _MOST_VMS:
            raise ValueError(f"{name}: {number} is not a number from 1 to {_MOST_VMS - 1}")
    bridges: dict[str, Any] = {}
    hosts: dict[str, Any] = {}
    links: list[list[str]] = []
    for spine in range(1, spines + 1):
        bridges[f"spine{spine}"] = {"dpid": f"{0x300 + spine:016x}", "role": "switch", "rstp": True}
    for leaf in range(1, leaves + 1):
        bridges[f"leaf{leaf}"] = {"dpid": f"{0x200 + leaf:016x}", "role": "switch", "rstp": True}
        bridges[f"nic{leaf}"] = {"dpid": f"{0x100 + leaf:016x}", "role": "nic", "rstp": True}
        links.append([f"nic{leaf}/pf{leaf}", f"leaf{leaf}/l{leaf}h"])
        links += [
            [f"leaf{leaf}/l{leaf}s{spine}", f"spine{spine}/s{spine}l{leaf}"] for spine in range(1, spines + 1)
        ]
        hosts |= {
            f"vm{(leaf - 1) * vms + vm}": _vm(leaf, vm, (leaf - 1) * vms + vm) for vm in range(1, vms + 1)
        }
    places = {
        end: {"count": queues, "rate": "100Mbit/s", "min_rate": "5Mbit/s"} for link in links for end in link
    }
    network = {
        "about": f"a leaf-spine network of {leaves} leaves and {spines} spines, with {vms} VMs at each leaf",
        "teaches": _TEACHES,
        "bridges": bridges,
        "hosts": hosts,
        "links": links,
        "queues": places,
    }
    return yaml.safe_dump(network, sort_keys=False, width=110, default_flow_style=None)


_TEACHES = (
    "A flow between two hosts meets four or five devices: its host's NIC, its leaf, a spine, the other leaf, the other"
    " host's NIC. Each places it by itself. RSTP decides the way; take a link down and see `flowlane topology`"
    " and the flow's way change."
)


def _vm(leaf: int, vm: int, number: int) -> dict[str, Any]:
    mac = f"52:54:00:00:{leaf:02x}:{vm:02x}"
    return {
        "kind": "vm",
        "port": f"nic{leaf}/pf{leaf}vf{vm - 1}",
        "mac": mac,
        "ip": f"10.0.{leaf}.{vm}/16",
        "external_ids": {"iface-id": f"vm{number}", "attached-mac": mac},
    }
