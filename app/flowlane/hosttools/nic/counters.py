"""Packets counted by the kernel's traffic classes (``tc``) and by a driver's transmit queues (``ethtool``).

Drivers name their counters as they like (``ethtool -S`` is not standardized); the names below are those of Linux's own
drivers. A driver that counts no packets for each queue has none of them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from flowlane.hosttools.nic.tc import run_tc

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLASS = re.compile(r"^class \S+ (\S+:\S+) ", re.MULTILINE)
_SENT = re.compile(r"^\s*Sent \d+ bytes (\d+) pkt \(dropped (\d+)", re.MULTILINE)

_DRIVER_NAMES = tuple(
    re.compile(rf"^\s*{pattern}:\s*(\d+)\s*$", re.MULTILINE)
    for pattern in (
        r"tx_queue_(\d+)_packets",  # igb, igc, ixgbe, ice, virtio_net
        r"tx-?(\d+)[._](?:tx_)?packets",  # i40e, iavf, mlx4, mlx5, sfc, virtio_net
        r"queue_(\d+)_tx_cnt",  # ena
        r"q(\d+)_tx_pkt_n",  # stmmac
        r"txq_?(\d+)_(?:pktnum|pkts|packets)(?:_rcd)?",  # hns3, qede
        r"\[(\d+)\]: tx_[umb]cast_packets",  # bnxt_en; added up
        r"tx_posted_desc\[(\d+)\]",  # gve
        r"rvec_(\d+)_tx_pkts",  # nfp
    )
)


def parse_class_counters(text: str) -> dict[str, int]:
    """Read the output of ``tc -s class show dev X``: class -> packets that reached it, sent or dropped."""
    counters: dict[str, int] = {}
    heads = list(_CLASS.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    for head, end in zip(heads, ends, strict=False):
        sent = _SENT.search(text, head.end(), end)
        if sent is not None:
            counters[head[1]] = int(sent[1]) + int(sent[2])
    return counters


def parse_driver_counters(text: str) -> dict[int, int]:
    """Read the output of ``ethtool -S X``: transmit queue -> packets; empty where the driver does not count so."""
    for pattern in _DRIVER_NAMES:
        counters: dict[int, int] = {}
        for queue, packets in pattern.findall(text):
            counters[int(queue)] = counters.get(int(queue), 0) + int(packets)
        if counters:
            return counters
    return {}


def read_class_counters(device: str) -> Mapping[str, int]:
    """Read the counters of a device's classes.

    Raises:
        FlowlaneError: ``tc`` is missing or fails.
    """
    return parse_class_counters(run_tc(["-s", "class", "show", "dev", device]))


def read_driver_counters(device: str) -> Mapping[int, int] | None:
    """Read the counters of a device's transmit queues; None without ``ethtool``, or where it fails."""
    tool = shutil.which("ethtool") or shutil.which("ethtool", path="/usr/sbin:/sbin")
    if tool is None:
        return None
    done = subprocess.run([tool, "-S", device], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    return parse_driver_counters(done.stdout) if done.returncode == 0 else None
