"""``flowlane doctor --prove`` on the kernel's datapath: judged by the counters of class, switch and driver."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lab.inside.controller import flowlane
from lab.inside.counters import classes, run

from flowlane.hosttools.proof import PACKETS

from .test_device_truth import PATIENCE_S, qos

if TYPE_CHECKING:
    from .conftest import Lab


def prove(expected_code: int) -> dict[int, dict[str, Any]]:
    done = flowlane("doctor", "--prove", "pf0", "--json", "--timeout", PATIENCE_S)
    assert done.returncode == expected_code, done.stdout + done.stderr
    return {item["queue_id"]: item for item in json.loads(done.stdout)}


def test_queues_are_real_until_their_class_is_gone(lab: Lab, bare: None) -> None:
    qos("apply", "pf0", "--rate", "100Mbit/s", "--queues", "3", "--map-hardware")
    before = classes()
    proofs = prove(0)
    grown = {queue: count.packets - before[queue].packets for queue, count in classes().items()}
    assert all(grown[queue] >= PACKETS for queue in range(3))
    assert {item["verdict"] for item in proofs.values()} == {"real"}
    assert all(item["switch"] >= PACKETS and item["kernel"] >= PACKETS for item in proofs.values())
    if lab.layout == "veth":
        assert all(queue in item["driver"] for queue, item in proofs.items()), "as the filters say"
    run("tc", "class", "del", "dev", "pf0", "classid", "1:3")
    proofs = prove(1)
    assert {queue: item["verdict"] for queue, item in proofs.items()} == {0: "real", 1: "real", 2: "not real"}
    assert proofs[2]["kernel"] is None
    assert proofs[2]["elsewhere"] == ["1:1"], "HTB's default class"
