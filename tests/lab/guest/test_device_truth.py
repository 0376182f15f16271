"""``flowlane qos apply`` on a real driver: what it made, the kernel does; again, and after a restart of the switch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from labtools.controller import DPID, flowlane, physical
from labtools.counters import run, settle
from labtools.traffic import udp_flows

from .test_assignment import judge, place

if TYPE_CHECKING:
    from labtools.controller import Controller

    from .conftest import Lab

PIDFILE = Path("/run/openvswitch/ovs-vswitchd.pid")
START = ("ovs-vswitchd", "--pidfile", "--detach", "--log-file=/run/lab/ovs/ovs-vswitchd.log", "-vconsole:off")
PORT = 7400


def restart_switch() -> None:
    pid = int(PIDFILE.read_text())
    run("ovs-appctl", "-t", "ovs-vswitchd", "exit")
    assert settle(lambda: not Path(f"/proc/{pid}").exists(), 10)
    run(*START)


def reconnected_after(controller: Controller, before: str) -> bool:
    device = controller.get(f"/v1/devices/{DPID}")
    return bool(device["connected"]) and device["since"] != before


def test_queues_made_by_flowlane(lab: Lab, controller: Controller) -> None:
    run("ovs-vsctl", "clear", "port", "pf0", "qos")
    run("tc", "qdisc", "del", "dev", "pf0", "clsact")
    run("ethtool", "-L", "pf0", "combined", "8")
    words = (
        "qos",
        "apply",
        "pf0",
        "--queues",
        "auto",
        "--rate",
        "50Mbit/s",
        "--min-rate",
        "5Mbit/s",
        "--map-hardware",
    )
    made = flowlane(*words)
    assert made.returncode == 0, made.stderr
    controller.wait_for_queues(physical(8))
    again = flowlane(*words)
    assert again.returncode == 0, again.stderr
    assert "insert" not in again.stdout + again.stderr
    assert "tc filter" not in again.stdout + again.stderr

    with udp_flows(lab.vms[:2], 8, PORT) as flows:
        place(controller, flows)
        judge(controller, flows, set(range(8)))
        before = controller.get(f"/v1/devices/{DPID}")["since"]
        restart_switch()
        # What the controller knew of the flows goes when it finds the new switch without their entries.
        assert settle(lambda: reconnected_after(controller, before), 40)
        controller.wait_for_queues(physical(8), 30)
        time.sleep(3)
        place(controller, flows, 40)
        judge(controller, flows, set(range(8)))
