"""Link types of captures: their names, the Ethernet frames of their packets, and why others are refused.

Names and numbers are those of tcpdump.org's list (https://www.tcpdump.org/linktypes.html).
"""

from __future__ import annotations

from collections.abc import Callable

_NO_MACS = bytes(12)
_ETH = {4: b"\x08\x00", 6: b"\x86\xdd"}
_GROUP_OF = {b"\x00\x04\x42\x42\x03": b"\x01\x80\xc2\x00\x00\x00", b"\x88\xcc": b"\x01\x80\xc2\x00\x00\x0e"}
"""Ethertype, and LLC header, of frames for bridges themselves -> their group address (STP, LLDP)."""


def _raw(packet: bytes) -> bytes:
    return _NO_MACS + _ETH.get(packet[0] >> 4 if packet else 0, b"\x00\x00") + packet


def _with_group(sender: bytes, rest: bytes) -> bytes:
    """Make a frame of which the destination is not recorded: that of a bridge's own protocol, or none."""
    group = next((group for head, group in _GROUP_OF.items() if rest.startswith(head)), bytes(6))
    return group + sender + rest


def _cooked(packet: bytes) -> bytes:
    """Convert Linux cooked capture v1: sender's address at 6, ethertype at 14."""
    return _with_group(packet[6:12], packet[14:])


def _cooked2(packet: bytes) -> bytes:
    """Convert Linux cooked capture v2: ethertype at 0, sender's address at 12."""
    return _with_group(packet[12:18], packet[:2] + packet[20:])


ETHERNET = 1

FRAMES: dict[int, Callable[[bytes], bytes]] = {
    0: lambda packet: _raw(packet[4:]),
    ETHERNET: lambda packet: packet,
    12: _raw,
    14: _raw,
    101: _raw,
    108: lambda packet: _raw(packet[4:]),
    113: _cooked,
    228: _raw,
    229: _raw,
    276: _cooked2,
}
"""Link type -> function that makes an Ethernet frame of its packet; the MACs are 0 where it has none."""

_WIRED = "capture where the packets are Ethernet again: on the access point's or the bridge's port"
_TUNNEL = "capture the Ethernet port that carries the connection, or the IP packets that come out (-i any)"
_NO_NETWORK = "it has no packets of a network; capture an Ethernet port"

_REFUSED = {
    6: ("IEEE802_5", "Token Ring", ""),
    9: ("PPP", "PPP", _TUNNEL),
    10: ("FDDI", "FDDI", ""),
    50: ("PPP_HDLC", "PPP in HDLC framing", _TUNNEL),
    51: ("PPP_ETHER", "PPPoE sessions", _TUNNEL),
    104: ("C_HDLC", "Cisco HDLC", _TUNNEL),
    105: ("IEEE802_11", "802.11 frames", _WIRED),
    107: ("FRELAY", "Frame Relay", _TUNNEL),
    119: ("IEEE802_11_PRISM", "802.11 frames with a Prism header", _WIRED),
    127: ("IEEE802_11_RADIOTAP", "802.11 frames with a radiotap header", _WIRED),
    163: ("IEEE802_11_AVS", "802.11 frames with an AVS header", _WIRED),
    166: ("PPP_PPPD", "PPP of pppd", _TUNNEL),
    187: ("BLUETOOTH_HCI_H4", "Bluetooth", _NO_NETWORK),
    189: ("USB_LINUX", "USB", _NO_NETWORK),
    192: ("PPI", "802.11 frames with a PPI header", _WIRED),
    195: ("IEEE802_15_4_WITHFCS", "802.15.4 frames", ""),
    201: ("BLUETOOTH_HCI_H4_WITH_PHDR", "Bluetooth", _NO_NETWORK),
    220: ("USB_LINUX_MMAPPED", "USB", _NO_NETWORK),
    227: ("CAN_SOCKETCAN", "CAN bus", _NO_NETWORK),
    239: ("NFLOG", "netfilter's log", "capture the port itself (-i eth0)"),
    247: ("INFINIBAND", "InfiniBand", ""),
    249: ("USBPCAP", "USB", _NO_NETWORK),
    253: ("NETLINK", "netlink messages", _NO_NETWORK),
}
"""Link type -> name, what it is, and what to capture in its place."""


def name_of(link_type: int) -> str:
    """Name a link type that is not read: ``PPP (link type 9)``."""
    name, about, _ = _REFUSED.get(link_type, ("", "", ""))
    number = f"link type {link_type}"
    if not name:
        return number
    return f"{number}, {name}" if about == name else f"{number}, {name}: {about}"


def remedy_for(link_type: int) -> str:
    """Return what to capture in the place of a link type that is not read."""
    return _REFUSED.get(link_type, ("", "", ""))[2] or "capture an Ethernet port"
