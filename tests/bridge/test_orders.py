"""Orders of an operator on a real switch: pins by hand, cordon and drain, seen in its entries and by its counters."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from lab.inside import tap_host
from lab.inside.manager import wait_for
from lab.inside.namespaces import network_of_its_own

from flowlane.cli.main import main

pytestmark = pytest.mark.ovs

POLICY = """
version: 1
default: rest
balance: {interval: 1s, window: 1s, moves-per-second: 100%}
classes: {rest: {}}
"""
FLOWS = range(2000, 2012)
"""Source ports."""


class Host:
    """The host, with REST and the command line of its controller."""

    def __init__(self, host: tap_host.TapHost) -> None:
        self.host = host
        self.url = f"http://127.0.0.1:{host.manager.rest_port}"
        self.queue = f"/v1/devices/{tap_host.DPID:016x}/queues/{tap_host.UPLINK}"

    def ask(self, method: str, path: str, **body: object) -> requests.Response:
        return requests.request(method, self.url + path, json=body or None, timeout=10)

    def flow(self, src_port: int) -> dict[str, Any]:
        return next(item for item in self.host.assignments() if item["src_port"] == src_port)

    def queues(self) -> dict[int, int]:
        """The queue of each flow that the switch's own entries name."""
        items = {item["src_port"]: item["queue_id"] for item in self.host.assignments()}
        return items if not self.host.differences(len(FLOWS)) else {}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("orders")
    with network_of_its_own(), tap_host.running(folder, POLICY) as running, sending(running):
        made = Host(running)
        wait_for(lambda: len(running.assignments()) == len(FLOWS), 30)
        yield made


@contextmanager
def sending(host: tap_host.TapHost) -> Iterator[None]:
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.05):
            for src_port in FLOWS:
                host.send(1, src_port, 80, bytes(400))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_pin_stands_in_the_switch_until_its_time_is_over(host: Host) -> None:
    flow = host.flow(FLOWS[0])
    target = (flow["queue_id"] + 1) % 4
    answer = host.ask("PUT", f"/v1/flows/{flow['flow']}/pin", queue_id=target, lifetime=5)
    assert answer.status_code == 200, answer.text
    wait_for(lambda: host.queues().get(FLOWS[0]) == target, 15)
    assert host.flow(FLOWS[0])["entry"] == "pin" and host.flow(FLOWS[0])["reason"] == "pinned-by-hand"
    wait_for(lambda: host.flow(FLOWS[0])["manual_pin"] is None, 30)
    assert host.flow(FLOWS[0])["reason"] != "pinned-by-hand"
    assert host.ask("PUT", f"/v1/flows/{flow['flow']}/pin", queue_id=9).status_code == 422


def test_a_drained_queue_transmits_nothing_more(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    bridge = f"{tap_host.DPID:016x}"
    # The flow that is pinned there leaves as well.
    pinned = host.flow(FLOWS[1])
    assert host.ask("PUT", f"/v1/flows/{pinned['flow']}/pin", queue_id=2).status_code == 200
    assert main(["drain", bridge, tap_host.UPLINK, "2", "--url", host.url, "--timeout", "60s"]) == 0
    assert "queue 2 of flt-up is drained: no flow is left" in capsys.readouterr().out
    wait_for(lambda: 2 not in (host.queues() or {0: 2}).values(), 30)
    groups = host.host.groups()
    # A bucket names the queue plus one (docs/engineers/pipeline.md).
    assert groups and not any("0x3->reg1" in line for line in groups), groups
    refused = host.ask("PUT", f"/v1/flows/{pinned['flow']}/pin", queue_id=2)
    assert refused.status_code == 409 and "is cordoned" in refused.json()["detail"]
    capsys.readouterr()
    assert main(["cordon", bridge, tap_host.UPLINK, "3", "--url", host.url]) == 0
    assert "queue 3 of flt-up is cordoned: it takes no new flows, and keeps" in capsys.readouterr().out
    assert main(["uncordon", bridge, tap_host.UPLINK, "3", "--url", host.url]) == 0
    assert main(["uncordon", bridge, tap_host.UPLINK, "2", "--url", host.url]) == 0
    wait_for(lambda: 2 in host.queues().values(), 30)
