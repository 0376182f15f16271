from __future__ import annotations

import re
import subprocess
import sys

from flowlane.southbound.nic_channels import read_channels


def test_it_says_what_ethtool_says() -> None:
    script = (
        "ip link add v0 numtxqueues 4 numrxqueues 6 type veth peer name v1 && "
        "ethtool -L v0 tx 3 rx 2 && ethtool -l v0 && "
        f"exec {sys.executable} -c "
        "'from flowlane.southbound.nic_channels import read_channels; print(read_channels(\"v0\"))'"
    )
    command = ["unshare", "--map-root-user", "--net", "sh", "-ec", script]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    numbers = [
        int(n) if n != "n/a" else 0
        for n in re.findall(r"^(?:RX|TX|Other|Combined):\s+(\S+)", text, re.MULTILINE)
    ]
    assert numbers[:2] == [6, 4]
    values = dict(re.findall(r"(\w+)=(\d+)", text))
    assert [int(values[key]) for key in ("max_rx", "max_tx", "max_other", "max_combined")] == numbers[:4]
    assert [int(values[key]) for key in ("rx", "tx", "other", "combined")] == numbers[4:]


def test_no_channels_is_none() -> None:
    assert read_channels("lo") is None
    assert read_channels("no-such-device") is None
    assert read_channels("a-name-longer-than-any-device") is None
