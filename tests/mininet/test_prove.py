"""``flowlane doctor --prove`` against the kernel's HTB, as Open vSwitch sets it up, and against its own datapath.

This machine's kernel need not have Open vSwitch's datapath. So packets are sent as it sends them, by a packet socket
whose priority is the class (net/sched/sch_htb.c, ``htb_classify``); in the lab's guest the switch sends them itself
(``tests/lab/guest/test_prove.py``).
"""

from __future__ import annotations

import json
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from lab.inside import private_ovs

from flowlane.cli import prove
from flowlane.cli.main import main
from flowlane.hosttools import proof

if TYPE_CHECKING:
    from collections.abc import Iterator

BRIDGE, PORT, BARE, DOWN, PATCH = "flp-br", "flp-up", "flp-bare", "flp-down", "flp-patch"
QUEUES = {number: {"min-rate": "1000000"} for number in range(3)}


@pytest.fixture(scope="module")
def ovs() -> Iterator[private_ovs.PrivateOvs]:
    with private_ovs.running(system=True) as switch:
        switch.add_bridge(BRIDGE, (PORT, BARE, DOWN))
        patch = ("--", "set", "Interface", PATCH, "type=patch", "options:peer=flp-none")
        switch.vsctl("add-port", BRIDGE, PATCH, *patch)
        for port in (PORT, DOWN, PATCH):
            switch.set_queues(port, QUEUES)
        subprocess.run(["ip", "link", "set", PORT, "up"], check=True)
        yield switch


def prove_port(
    ovs: private_ovs.PrivateOvs, capsys: pytest.CaptureFixture[str], port: str, *words: str
) -> tuple[int, str, str]:
    code = main(["doctor", "--db", ovs.database, "--prove", port, *words])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def verdicts(text: str) -> dict[int, tuple[str, str]]:
    items: list[dict[str, Any]] = json.loads(text)
    return {item["queue_id"]: (item["verdict"], item["why"]) for item in items}


def send_as_the_kernels_datapath(bridge: str, _ofport: int, queue_id: int, *_rest: object) -> None:
    assert bridge == BRIDGE
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 0x10001 + queue_id)
        sender.bind((PORT, 0))
        for _ in range(proof.PACKETS):
            sender.send(bytes.fromhex(proof.frame()))


def test_a_queue_whose_class_is_gone_is_not_real(
    ovs: private_ovs.PrivateOvs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The QoS row still has it. HTB puts its packets into the default class, that of queue 0."""
    monkeypatch.setattr(prove, "_send", send_as_the_kernels_datapath)
    monkeypatch.setattr(prove, "KERNEL_DATAPATH", "netdev")
    real = {queue: ("real", f"class 1:{queue + 1}; the driver does not count by queue") for queue in QUEUES}
    code, out, err = prove_port(ovs, capsys, PORT, "--json")
    assert (code, err, verdicts(out)) == (0, "", real)
    subprocess.run(["tc", "class", "del", "dev", PORT, "classid", "1:3"], check=True)
    code, out, _ = prove_port(ovs, capsys, PORT, "--json")
    assert (code, verdicts(out)) == (
        1,
        {**real, 2: ("not real", "the kernel has no class 1:3; they went by 1:1")},
    )


def test_the_userspace_datapath_schedules_nothing(
    ovs: private_ovs.PrivateOvs, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = prove_port(ovs, capsys, PORT)
    assert code == 1
    assert "not real  the userspace datapath does not schedule queues" in out
    assert out.splitlines()[-1] == f"{PORT}: 0 of 3 queues are real on this host"
    sent = ovs.ofctl("dump-ports", BRIDGE, PORT)
    assert "tx pkts=" in sent


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (BARE, f"the port has no queues; flowlane qos apply {BARE} makes them"),
        (DOWN, f"{DOWN} is down: nothing would leave; ip link set {DOWN} up"),
        (
            PATCH,
            "this is a patch port, whose packets leave by other ports; prove the port that they leave by",
        ),
        ("none", "no bridge of this Open vSwitch has a port none"),
    ],
)
def test_where_nothing_can_be_proved_nothing_is_sent(
    ovs: private_ovs.PrivateOvs,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    port: str,
    words: str,
) -> None:
    monkeypatch.setattr(prove, "_send", lambda *_: pytest.fail("packets were sent"))
    code, out, err = prove_port(ovs, capsys, port)
    assert (code, out) == (1, "")
    assert words in err
