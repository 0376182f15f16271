"""Each kind of frame leaves a bridge with Flowlane by the ports by which it leaves one with NORMAL alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.ovs.frames import BROADCAST, ether, mac
from support.ovs.protocols import FRAGMENTS, KINDS, LAYERS_3_AND_4
from support.ovs.twins import Stage, Twins, flat, learnt, twins

pytestmark = pytest.mark.ovs


@pytest.fixture(scope="module", params=["OpenFlow13", "OpenFlow15"])
def flat_twins(
    request: pytest.FixtureRequest, on: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Twins]:
    with twins(on, tmp_path_factory.mktemp("flat"), flat, versions=request.param) as both:
        both.send(learnt("vm1", "vm2", "up"))
        yield both


def test_each_kind_of_frame(flat_twins: Twins) -> None:
    """All in one test: the second round, in which flows are known, waits for the controller once."""
    attached = flat_twins.same(("vm1", frame) for frame in KINDS.values())
    sent = {data for _, data in attached}
    silent = {kind for kind, frame in KINDS.items() if frame not in sent}
    assert silent == {*RESERVED, "to itself", "VLAN tag, truncated"}, (
        "the comparison would hold for two bridges that send nothing"
    )


RESERVED = {
    "STP",
    "RSTP",
    "PVST",
    "CDP",
    "flow control",
    "LACP",
    "Ethernet OAM",
    "EAPOL",
    "LLDP",
    "PTP peer delay",
}
"""What no bridge forwards (ovs-vswitchd.conf.db(5), other_config:forward-bpdu)."""


def test_each_kind_of_frame_from_the_uplink(flat_twins: Twins) -> None:
    """The same packets on their way to a VM; the host behind the uplink sends them."""
    frames = [
        mac(1) + mac(9) + frame[12:] if frame[0] % 2 == 0 else frame[:6] + mac(9) + frame[12:]
        for frame in KINDS.values()
    ]
    flat_twins.same(("up", frame) for frame in frames)


def test_the_numbers_of_kinds() -> None:
    assert len(LAYERS_3_AND_4) >= 31
    assert len(FRAGMENTS) >= 10


def test_bpdus_where_they_are_forwarded(on: Stage, flat_twins: Twins) -> None:
    """other-config:forward-bpdu makes a bridge treat them as any multicast."""
    flat_twins.each("set", "Bridge", "{}", "other_config:forward-bpdu=true")
    attached = flat_twins.same(("vm1", KINDS[kind]) for kind in sorted(RESERVED))
    assert len({data for _, data in attached}) == len(RESERVED)
    flat_twins.each("remove", "Bridge", "{}", "other_config", "forward-bpdu")


def test_frames_to_and_from_the_bridge_itself(flat_twins: Twins) -> None:
    """The host's own traffic by the bridge's port."""
    host = mac(200)
    both = [("LOCAL", ether(BROADCAST, host, 0x806, bytes(28))), ("LOCAL", ether(mac(1), host, 0x88B5, b"to a VM")),
            ("vm1", ether(host, mac(1), 0x88B5, b"to the host")), ("up", ether(host, mac(9), 0x88B5, b"to the host")),
            ("LOCAL", ether(mac(9), host, 0x88B5, b"to the network"))]  # fmt: skip
    attached = flat_twins.same(both)
    assert ("LOCAL", both[2][1]) in attached
