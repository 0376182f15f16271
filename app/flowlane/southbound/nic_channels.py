"""Channels of a network device (``ethtool -l``), asked of the kernel directly.

By the SIOCETHTOOL ioctl, whose structure is part of the kernel's stable interface (linux/ethtool.h, struct
ethtool_channels): no command to be installed, no text to be parsed (ethtool 6.1 has no JSON for it), no
netlink library for one request.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import NamedTuple

_SIOCETHTOOL = 0x8946
_ETHTOOL_GCHANNELS = 0x3C
_CHANNELS = struct.Struct("=9I")
_IFREQ = struct.Struct("=16sQ16x" if struct.calcsize("P") == 8 else "=16sI12x")


class Channels(NamedTuple):
    """How many channels there may be at most, and how many there are."""

    max_rx: int
    max_tx: int
    max_other: int
    max_combined: int
    rx: int
    tx: int
    other: int
    combined: int

    @property
    def most_tx(self) -> int:
        """The most transmit queues that ``ethtool -L`` can give."""
        return self.max_tx + self.max_combined


def read_channels(name: str) -> Channels | None:
    """Ask the kernel; None when there is no such device or its driver has no channels."""
    raw = name.encode()
    if len(raw) > 15:
        return None
    answer = array.array("B", _CHANNELS.pack(_ETHTOOL_GCHANNELS, *[0] * 8))
    request = _IFREQ.pack(raw, answer.buffer_info()[0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
    except OSError:
        return None
    return Channels(*_CHANNELS.unpack(answer.tobytes())[1:])
