"""Every part of a match, by hand: what holds, and what is named when it does not."""

from ipaddress import ip_address, ip_network

import pytest

from flowlane.core.classify.matching import Facts, holds, unmet
from flowlane.core.flowkey import ICMP, IPV4, IPV6, LAYER2, TCP, UDP, FlowParts
from flowlane.core.model import Vm
from flowlane.core.policy import Match, VmSelector

VM = Vm(7, "web-1", "web-1", 1, 3, "vnet3")


def ip(text: str) -> bytes:
    return ip_address(text).packed


def net(text: str) -> tuple[bytes, int]:
    network = ip_network(text)
    return network.network_address.packed, network.prefixlen


WEB = Facts(VM, FlowParts(7, None, IPV4, TCP, 40000, 443, ip("10.1.2.3"), ip("192.0.2.9")), dscp=46)
TAGGED6 = Facts(VM, FlowParts(7, 100, IPV6, UDP, 53, 5353, ip("2001:db8::1"), ip("fd00::2")), pcp=5)
PING = Facts(VM, FlowParts(7, None, IPV4, ICMP, 8, 0, ip("10.1.2.3"), ip("10.1.2.4")))
DATAGRAMS = Facts(VM, FlowParts(7, None, IPV4, UDP, 0, 0, ip("10.1.2.3"), ip("10.1.2.4")))
PIECES6 = Facts(VM, FlowParts(7, None, IPV6, 44, 0, 0, ip("fd00::1"), ip("fd00::2")))
ARP = Facts(VM, FlowParts(7, None, LAYER2, 0, 0x0806, 0, bytes(6), bytes(6)))


@pytest.mark.parametrize(
    ("match", "facts", "expected"),
    [
        (Match(), WEB, ()),
        (Match(vms=VmSelector(("web-*",))), WEB, ()),
        (Match(vms=VmSelector(("db-*",))), WEB, ("vm",)),
        (Match(eth_types=(0x0800,)), WEB, ()),
        (Match(eth_types=(0x86DD,)), WEB, ("ethertype",)),
        (Match(eth_types=(0x0806,)), ARP, ()),
        (Match(eth_types=(0x0800,)), ARP, ("ethertype",)),
        (Match(protocols=(TCP, UDP)), WEB, ()),
        (Match(protocols=(UDP,)), WEB, ("protocol",)),
        (Match(protocols=(0,)), ARP, ("protocol",)),
        (Match(src=(net("10.0.0.0/8"),)), WEB, ()),
        (Match(src=(net("10.1.2.3/32"),), dst=(net("192.0.2.8/29"),)), WEB, ()),
        (Match(src=(net("11.0.0.0/8"),)), WEB, ("src",)),
        (Match(dst=(net("::/0"),)), WEB, ("dst",)),
        (Match(dst=(net("0.0.0.0/0"),)), WEB, ()),
        (Match(dst=(net("fd00::/8"),)), TAGGED6, ()),
        (Match(src=(net("0.0.0.0/0"),)), ARP, ("src",)),
        (Match(dst_ports=((443, 443),)), WEB, ()),
        (Match(dst_ports=((1, 442), (444, 500))), WEB, ("dst-port",)),
        (Match(src_ports=((40000, 40001),)), WEB, ()),
        (Match(src_ports=((0, 65535),)), PING, ("src-port",)),
        (Match(dst_ports=((0, 65535),)), ARP, ("dst-port",)),
        (Match(protocols=(UDP,), dst_ports=((443, 443),)), DATAGRAMS, ()),
        (Match(protocols=(TCP,), dst_ports=((443, 443),)), DATAGRAMS, ("protocol",)),
        (Match(protocols=(TCP,), src_ports=((1, 1),)), PIECES6, ()),
        (Match(protocols=(47,)), PIECES6, ()),
        (Match(protocols=(47,), dst_ports=((1, 1),)), PIECES6, ("protocol", "dst-port")),
        (Match(protocols=(ICMP,)), PIECES6, ("protocol",)),
        (Match(dst=(net("fd00::3/128"),)), PIECES6, ("dst",)),
        (Match(dscp=(46,)), WEB, ()),
        (Match(dscp=(45,)), WEB, ("dscp",)),
        (Match(dscp=(0,)), ARP, ("dscp",)),
        (Match(vlans=((100, 200),)), TAGGED6, ()),
        (Match(vlans=((101, 200),)), TAGGED6, ("vlan",)),
        (Match(vlans=((0, 4095),)), WEB, ("vlan",)),
        (Match(pcp=(5,)), TAGGED6, ()),
        (Match(pcp=(0,)), WEB, ("pcp",)),
        (Match(hint=(2,)), WEB, ("hint",)),
        (Match(hint=(2,)), WEB._replace(hint=2), ()),
        (Match(gate=1), WEB._replace(opened=0b01), ("rate",)),
        (Match(gate=1), WEB._replace(opened=0b10), ()),
        (Match(protocols=(UDP,), dscp=(1,), gate=0), WEB, ("protocol", "dscp", "rate")),
    ],
)
def test_unmet(match: Match, facts: Facts, expected: tuple[str, ...]) -> None:
    assert unmet(match, facts) == expected
    assert holds(match, facts) is (not expected)
