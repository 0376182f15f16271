"""On the kernel datapath too: a bridge with Flowlane sends what one with NORMAL alone sends (see tests/bridge)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab.inside.manager import Launched
from support.ovs.kernel import KernelOvs, VethWire, unpadded
from support.ovs.protocols import FRAGMENTS
from support.ovs.scenarios import BOND_FRAMES, BOND_VIEW, SCENARIOS, Scenario, bond
from support.ovs.twins import Stage, flat, learnt, twins

if TYPE_CHECKING:
    from lab.inside.controller import Controller

ATOMIC = FRAGMENTS["IPv6 atomic fragment"]
"""A whole packet with a fragment header, deprecated by RFC 8021; the kernel's tracker takes the header out."""
CASES = {
    "VLANs": SCENARIOS["VLANs"],
    "active-backup": Scenario(bond("active-backup"), BOND_FRAMES, BOND_VIEW),
    "balance-slb": Scenario(bond("balance-slb"), BOND_FRAMES, BOND_VIEW),
    "balance-tcp": Scenario(bond("balance-tcp"), BOND_FRAMES, BOND_VIEW),
    "multicast snooping": SCENARIOS["snooping"],
    "fragments": Scenario(
        flat, (*learnt("vm1", "vm2", "up"), *(("vm1", data) for data in FRAGMENTS.values()))
    ),
    "two bridges": SCENARIOS["two bridges"],
}


class Running(Launched):
    """The guest's controller, which listens where controllers do."""

    def __init__(self) -> None:
        pass

    @property
    def openflow_port(self) -> int:
        return 6653


@pytest.fixture
def on(controller: Controller) -> Iterator[Stage]:
    ovs, wire = KernelOvs(Path("/run/openvswitch")), VethWire()
    yield Stage(ovs, Running(), lambda _ovs, _directory: wire)
    wire.close()
    ovs.remove_pairs()


@pytest.mark.parametrize("name", CASES)
def test_the_same_frames_by_the_same_ports(on: Stage, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    with twins(
        on, tmp_path, case.setup, others=case.others, view=lambda sent: case.view(unpadded(sent))
    ) as both:
        attached = both.same(frame for frame in case.frames if frame[1] != ATOMIC)
        assert len({port for port, _ in attached}) > 1, (
            "the comparison would hold for bridges that send nothing"
        )
