"""Inside the guest: the lab that lab/guest/setup has built, and ways to change it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from lab.inside.controller import Controller, physical
from lab.inside.counters import BRIDGE, UPLINK_PORT, ofctl, run
from lab.inside.namespaces import FIRST_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator


collect_ignore = (
    ["test_same_as_normal.py", "test_offload.py"]
    if os.environ.get("LAB_LAYOUT") == "sriov"
    else ["test_vf.py"]
)
"""Only there are VFs behind the bridge's ports; what a bridge forwards is the same in both layouts."""


COOKIE = 0x7E57
"""Of the entries made here; a controller that is connected leaves them alone."""


SETTLED = 4.0
"""Seconds after which packets pass again where queues were set: a slow guest loses those before."""


class Lab(NamedTuple):
    layout: str
    vms: tuple[str, ...]
    rate: int
    min_rate: int

    def set_queues(self, count: int, *, software: int = 0, rate: int | None = None) -> None:
        """Give the uplink ``count`` queues of another ``rate`` (bit/s), as the lab's own set-up does."""
        most = rate or self.rate
        numbers = (count, most, min(self.min_rate, most // (count + software)), software)
        run("/run/lab/control/queues", "pf0", *(str(number) for number in numbers))
        time.sleep(SETTLED)


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab with every address known to everybody, so that exact counts are not blurred by ARP."""
    vms = tuple(f"vm{number}" for number in range(1, int(os.environ["LAB_VMS"]) + 1))
    built = Lab(os.environ["LAB_LAYOUT"], vms, int(os.environ["LAB_RATE"]), int(os.environ["LAB_MIN_RATE"]))
    far_mac = run("ip", "netns", "exec", "wire", "cat", "/sys/class/net/wire0/address").strip()
    lines = dict.fromkeys(vms, f"neigh replace 10.0.0.254 lladdr {far_mac} dev eth0 nud permanent\n")
    lines["wire"] = "".join(
        f"neigh replace 10.0.0.{n} lladdr 02:00:00:00:00:{n:02x} dev wire0 nud permanent\n"
        for n in range(1, len(vms) + 1)
    )
    for namespace, batch in lines.items():
        subprocess.run(["ip", "-n", namespace, "-batch", "-"], input=batch, text=True, check=True)
    return built


@pytest.fixture(scope="session")
def running(lab: Lab) -> Iterator[Controller]:
    """One controller for all tests: it takes the emulated CPU seconds to start."""
    lab.set_queues(4)
    controller = Controller(Path(__file__).parent / "policy.yaml", Path("/run/lab/out/controller.log"))
    yield controller
    controller.close()


@pytest.fixture
def controller(lab: Lab, running: Controller) -> Controller:
    """The controller, with four queues on the uplink."""
    if running.queues() != physical(4):
        lab.set_queues(4)
        running.wait_for_queues(physical(4))
    return running


def forget_queues() -> None:
    """Leave the uplink as a NIC that nobody has set up, with its eight transmit queues."""
    run("ovs-vsctl", "clear", "port", "pf0", "qos", "--", "--all", "destroy", "qos")
    run("ovs-vsctl", "--all", "destroy", "queue")
    if "clsact" in run("tc", "qdisc", "show", "dev", "pf0"):
        run("tc", "qdisc", "del", "dev", "pf0", "clsact")
    run("ethtool", "-L", "pf0", "combined", "8")


@pytest.fixture
def bare(lab: Lab) -> Iterator[None]:
    """An uplink that nobody has set up; after the test as the other tests want it."""
    forget_queues()
    yield
    forget_queues()
    lab.set_queues(4)


@pytest.fixture
def queue_flows() -> Iterator[None]:
    """UDP from vm1 to port FIRST_PORT + k goes to queue k, whether the uplink has it or not; past any controller."""
    match = f"cookie={COOKIE:#x},priority=65000,in_port=1,udp,tp_dst="
    entries = [f"{match}{FIRST_PORT + k},actions=set_queue:{k},output:{UPLINK_PORT}\n" for k in range(9)]
    ofctl("add-flows", BRIDGE, "-", given="".join(entries))
    yield
    ofctl("del-flows", BRIDGE, f"cookie={COOKIE:#x}/-1")
