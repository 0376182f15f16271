from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from flowlane.hosttools.nic.reader import (
    Nic,
    Vf,
    VfLimit,
    kernel_datapath,
    parse_limits,
    read_channels,
    read_limits,
    read_nic,
)

if TYPE_CHECKING:
    from pathlib import Path


def in_own_network(setup: str, python: str) -> str:
    """Run Python in a network namespace of its own, with its own /sys."""
    script = f"mount -t sysfs none /sys && {setup} && exec {sys.executable} -c '{python}'"
    command = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-ec", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make(base: Path, files: dict[str, str], queues: tuple[int, int]) -> None:
    for kind, number in zip(("tx", "rx"), queues, strict=True):
        for index in range(number):
            (base / "queues" / f"{kind}-{index}").mkdir(parents=True)
    for name, content in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(content + "\n")


def test_an_sriov_nic_with_functions(tmp_path: Path) -> None:
    pci, net = tmp_path / "pci", tmp_path / "net"
    card, functions = pci / "0000:01:00.0", [pci / "0000:01:10.0", pci / "0000:01:10.2"]
    (tmp_path / "drivers" / "igb").mkdir(parents=True)
    make(
        net / "pf0",
        {"flags": "0x1003", "speed": "10000", "phys_switch_id": "aabb", "phys_port_name": "p0"},
        (1, 2),
    )
    make(card, {"sriov_numvfs": "2", "sriov_totalvfs": "7"}, (0, 0))
    (card / "driver").symlink_to(tmp_path / "drivers" / "igb")
    (net / "pf0" / "device").symlink_to(card)
    for index, function in enumerate(functions):
        (function / "net" / f"vf{index}").mkdir(parents=True) if index else function.mkdir()
        (card / f"virtfn{index}").symlink_to(function)
        (function / "physfn").symlink_to(card)
    assert read_nic("pf0", net) == Nic(
        "pf0", "igb", True, True, 10**10, 1, 2, 2, 7,
        (Vf(0, "0000:01:10.0", ""), Vf(1, "0000:01:10.2", "vf1")), False, "aabb", "p0",
    )  # fmt: skip
    make(net / "vf1", {"flags": "0x1002", "speed": "-1"}, (1, 1))
    (net / "vf1" / "device").symlink_to(functions[1])
    function_itself = read_nic("vf1", net)
    assert function_itself is not None
    assert (function_itself.vf, function_itself.up, function_itself.speed) == (True, False, None)


def test_malformed_files_count_as_missing(tmp_path: Path) -> None:
    make(tmp_path / "x", {"flags": "up", "speed": "fast", "device/sriov_numvfs": ""}, (3, 1))
    nic = read_nic("x", tmp_path)
    assert nic is not None
    assert (nic.tx_queues, nic.up, nic.speed, nic.num_vfs) == (3, False, None, 0)


@pytest.mark.parametrize("name", ["", "gone", "../net/lo", "a/b"])
def test_what_is_not_there_is_none(tmp_path: Path, name: str) -> None:
    assert read_nic(name, tmp_path) is None


def test_a_real_device_has_the_queues_that_the_kernel_made() -> None:
    printed = in_own_network(
        "ip link add v0 numtxqueues 5 numrxqueues 5 type veth peer name v1 && ip link set v0 up && ethtool -L v0 tx 3",
        'from flowlane.hosttools.nic.reader import read_nic; n = read_nic("v0"); '
        'print(n.tx_queues, n.up, n.hardware, n.total_vfs, read_nic("v2"))',
    )
    assert printed == "3 True False 0 None"


def test_the_kernel_datapath_is_its_module_or_its_device(tmp_path: Path) -> None:
    modules, net = tmp_path / "module", tmp_path / "net"
    assert not kernel_datapath(modules, net)
    (net / "ovs-system").mkdir(parents=True)
    assert kernel_datapath(modules, net)
    (modules / "openvswitch").mkdir(parents=True)
    assert kernel_datapath(modules, tmp_path / "none")


def test_it_reads_what_ethtool_prints() -> None:
    script = (
        "ip link add v0 numtxqueues 4 numrxqueues 6 type veth peer name v1 && "
        "ethtool -L v0 tx 3 rx 2 && ethtool -l v0 && "
        f"exec {sys.executable} -c "
        "'from flowlane.hosttools.nic.reader import read_channels; print(read_channels(\"v0\"))'"
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


SHOWN = [
    {
        "ifname": "pf0",
        "vfinfo_list": [
            {
                "vf": 0,
                "address": "02:00:00:00:00:01",
                "vlan_list": [{"vlan": 101}],
                "rate": {"max_tx": 50, "min_tx": 5},
            },
            {"vf": 1, "address": "02:00:00:00:00:02", "rate": {"max_tx": 0, "min_tx": 0}},
            {"vf": 2, "tx_rate": 20},
        ],
    }
]
"""Cut from ``ip -j -d link show`` of iproute2 6.1; ``tx_rate`` is what drivers without a minimum have."""


def test_limits_are_bits_per_second_and_none_where_there_is_none() -> None:
    assert parse_limits(json.dumps(SHOWN)) == (
        VfLimit(0, 50_000_000, 5_000_000, 101),
        VfLimit(1, None, None, 0),
        VfLimit(2, 20_000_000, None, 0),
    )


def test_a_device_without_functions_or_that_is_not_there_has_none() -> None:
    assert read_limits("lo") == ()
    assert read_limits("no-such-nic") == ()
