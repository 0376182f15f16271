"""Tunnel ports as uplinks: what is inside leaves and arrives as it did.

Open vSwitch encapsulates by itself here, over a bridge of dummy ports that has an address (ovs-vswitchd's native
tunnelling; its own tests in tunnel-push-pop.at do the same).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import arp, checksum, ether, hello, ipv4, mac, tag, to_group, udp, unicast
from support.ovs.protocols import FRAGMENTS, GROUP, LAYERS_3_AND_4
from support.ovs.twins import BRIDGES, Frame, FrameFor, Namer, Sent, Setup, Stage, stage, twins, uplink, vm

pytestmark = pytest.mark.ovs

UNDERLAY, PEER = bytes.fromhex("0200000000c8"), bytes.fromhex("0200000000c9")
PROBER = bytes.fromhex("02f10a00000e")
"""Source of Flowlane's own frames, by which it finds where a tunnel leads."""
PORTS = {"vxlan": 4789, "geneve": 6081}
VNI = 7


@pytest.fixture(scope="module")
def tunnelling() -> Iterator[Stage]:
    with stage(tunnels=True) as running:
        yield running


def network(bridge: str) -> int:
    """Third byte of the addresses of a bridge's underlay: two bridges of one switch cannot share tunnels."""
    return 1 + [name for name in BRIDGES if bridge.startswith(name)].count("attached")


def tunnel(kind: str) -> Setup:
    def setup(ovs: PrivateOvs, bridge: str, named: Namer) -> None:
        vm(ovs, bridge, named("vm1"), 1, macs="02:00:00:00:00:01")
        vm(ovs, bridge, named("vm2"), 2)
        net, under = network(bridge), named("under")
        ovs.vsctl("set", "Bridge", under, f'other_config:hwaddr="{UNDERLAY.hex(":")}"')
        uplink(ovs, under, named("nic"), 1)
        ovs.control("netdev-dummy/ip4addr", under, f"172.31.{net}.1/24")
        ovs.control("ovs/route/add", f"172.31.{net}.2/24", under)
        ovs.control("tnl/neigh/set", under, f"172.31.{net}.2", PEER.hex(":"))
        ovs.vsctl(
            "add-port", bridge, named("tun"),
            "--", "set", "Interface", named("tun"), f"type={kind}", "ofport_request=9",
            f"options:remote_ip=172.31.{net}.2", f"options:key={VNI}",
        )  # fmt: skip

    return setup


def outer(kind: str, inner: bytes) -> FrameFor:
    """A frame that arrives through the tunnel."""
    head = b"\x08\0\0\0" if kind == "vxlan" else b"\0\0\x65\x58"

    def encapsulate(bridge: str) -> bytes:
        data = udp(50000, PORTS[kind], head + struct.pack("!I", VNI << 8) + inner)
        packet = ipv4(0, 0, 17, data)
        addresses = bytes((172, 31, network(bridge), 2, 172, 31, network(bridge), 1))
        return ether(UNDERLAY, PEER, 0x800, with_addresses(packet, addresses))

    return "nic", encapsulate


def with_addresses(packet: bytes, addresses: bytes) -> bytes:
    head = packet[:10] + b"\0\0" + addresses
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + packet[20:]


def inside(sent: Sent) -> Sent:
    """What tunnels carry instead of their packets, whose addresses and hashes differ from bridge to bridge."""
    seen: Sent = Counter()
    for (port, data), count in sent.items():
        if data[6:12] == UNDERLAY and data[36:38] in [struct.pack("!H", number) for number in PORTS.values()]:
            if data[56:62] != PROBER:
                seen[port, b"VNI" + data[46:49] + data[50:]] += count
        elif data[6:12] != PEER:
            seen[port, data] += count
    return seen


@pytest.mark.parametrize("everywhere", [False, True], ids=["VMs' bridge", "underlay too"])
@pytest.mark.parametrize("kind", PORTS)
def test_tunnels(tunnelling: Stage, tmp_path: Path, kind: str, everywhere: bool) -> None:
    others, upstream = (("under",), ()) if everywhere else ((), ("under",))
    with twins(tunnelling, tmp_path, tunnel(kind), others=others, upstream=upstream, view=inside) as both:
        both.sources |= {UNDERLAY, mac(9)}
        frames: list[Frame | FrameFor] = [
            ("vm1", hello(1)), ("vm2", hello(2)), outer(kind, hello(9)), ("vm1", unicast(1, 9)), ("vm1", unicast(1, 2)),
            outer(kind, unicast(9, 1)), outer(kind, unicast(9, 2)), ("vm1", unicast(1, 77)),
            ("vm1", to_group(1, GROUP)),
            outer(kind, ether(mac(1), mac(9), 0x806, arp(9, 1, 2))), ("vm1", unicast(1, 9, tag(100))),
            outer(kind, unicast(9, 1, tag(100))), outer(kind, to_group(9, GROUP)),
            *(("vm1", frame) for frame in (*FRAGMENTS.values(), *LAYERS_3_AND_4.values())),
            *(outer(kind, mac(1) + mac(9) + frame[12:]) for frame in FRAGMENTS.values()),
        ]  # fmt: skip
        attached = both.same(frames)
        through = [data for port, data in attached if port == "nic" and data.startswith(b"VNI")]
        assert b"VNI\0\0\7" + unicast(1, 9) in through
        assert ("vm1", unicast(9, 1)) in attached
