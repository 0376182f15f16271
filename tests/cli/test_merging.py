"""Commands beside several controllers, each of which leads one of two devices: two servers of REST, in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from support.engine.controller import FLOWS, NIC, TOR, world

from flowlane.cli.client import _other, connect
from flowlane.cli.main import main
from flowlane.cli.merging import Item, Part, in_order, merged
from flowlane.cluster.membership import MemberView
from flowlane.core.events import HintGiven
from flowlane.northbound.app import make_app

NOWHERE = "http://127.0.0.1:1"


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class Trial:
    """Two controllers with the same state: what counts of each is about the device that it leads."""

    def __init__(self) -> None:
        self.controllers = [world(), world()]
        self.servers = [
            make_server("127.0.0.1", 0, make_app(controller), handler_class=Quiet)
            for controller in self.controllers
        ]
        for server in self.servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self.urls = [f"http://127.0.0.1:{server.server_port}" for server in self.servers]
        self.lead(self.urls)

    def lead(self, urls: list[str]) -> None:
        """Have each controller lead its device, and name the other by these URLs."""
        leads = (NIC, TOR)
        for number, controller in enumerate(self.controllers):
            other = 1 - number
            controller.others = [
                MemberView(f"node{other + 1}", urls[other], "1", 0.0, False, 0.1, 2, (leads[other],))
            ]


@pytest.fixture
def trial() -> Iterator[Trial]:
    made = Trial()
    yield made
    for server in made.servers:
        server.shutdown()
        server.server_close()


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[Any, str]:
    """Run a command; return the JSON that it prints, and what it writes to standard error."""
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


@pytest.mark.parametrize("asked", [0, 1])
def test_any_controller_is_asked_and_all_are_shown(
    trial: Trial, capsys: pytest.CaptureFixture[str], asked: int
) -> None:
    nic, tor = trial.controllers
    nic.state.devices[TOR].name = tor.state.devices[NIC].name = "as it was once"
    url = ("--url", trial.urls[asked])
    devices, err = shown(capsys, "devices", *url)
    assert err == ""
    assert [item["name"] for item in devices["items"]] == ["br-nic", 'tor "1"']
    flows, _ = shown(capsys, "flows", *url)
    assert len(flows["items"]) == len(FLOWS)
    (both,) = [item for item in flows["items"] if len(item["assignments"]) > 1]
    assert {place["device"] for place in both["assignments"]} == {f"{NIC:016x}", f"{TOR:016x}"}
    fastest, _ = shown(capsys, "flows", "--sort-by", "rate", "--limit", "2", *url)
    rates = [item["rate"] for item in fastest["items"]]
    assert rates == sorted((item["rate"] for item in flows["items"]), reverse=True)[:2]
    assert fastest["next"] is not None
    (explained,), _ = shown(capsys, "explain", both["id"], *url)
    assert {device["device"] for device in explained["devices"]} == {f"{NIC:016x}", f"{TOR:016x}"}
    vms, _ = shown(capsys, "vms", *url)
    assert sorted(item["name"] for item in vms["items"]) == ["db", "web"]
    assert main(["assignments", *url]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(FLOWS) + 2
    assert main(["topology", *url]) == 0
    assert f"leads 1 device: --url {trial.urls[1 - asked]} has their links" in capsys.readouterr().err


def test_what_one_has_nothing_of_another_is_asked_for(
    trial: Trial, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ("--url", trial.urls[1])
    (found,) = shown(capsys, "flows", "--url", trial.urls[0], "--limit", "1", "--proto", "udp")[0]["items"]
    del trial.controllers[1].state.devices[NIC]
    assert shown(capsys, "explain", found["id"], *url)[0][0]["flow"] == found["id"]
    items = shown(capsys, "flows", "--device", "br-nic", *url)[0]["items"]
    assert found["id"] in [item["id"] for item in items]
    assert main(["hint", "set", "web", "--class", "heavy", *url]) == 0
    trial.controllers[1].state.vms.clear()
    assert main(["hint", "set", "web", "--class", "heavy", *url]) == 0
    given = [event for event in trial.controllers[0].submitted if isinstance(event, HintGiven)]
    assert len(given) == 1, "the one that knows the VM has got the hint"
    capsys.readouterr()
    assert main(["explain", "ab" * 20, *url]) == 1
    assert "no flow" in capsys.readouterr().err


def test_a_controller_that_does_not_answer_is_named(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    url = ("--url", trial.urls[0])
    for other, why in ((NOWHERE, "refused"), ("", "it has no --rest-url")):
        trial.lead([trial.urls[0], other])
        devices, err = shown(capsys, "devices", *url)
        assert len(devices["items"]) == 2, "what was known of its device is shown"
        assert "controller node2 leads is missing or out of date here" in err
        assert why in err
    trial.lead([trial.urls[0], NOWHERE])
    both = shown(capsys, "flows", *url)[0]["items"][0]["id"]
    assert "controller node2 leads is missing here" in shown(capsys, "explain", both, *url)[1]


def test_a_token_is_not_sent_without_tls_where_it_was_sent_with_it() -> None:
    client = connect("https://a", "flowlane_secret")
    assert _other(client, "https://b").session is client.session
    assert "Authorization" not in _other(client, "http://b").session.headers
    plain = connect("http://a", "flowlane_secret")
    assert _other(plain, "http://b").session is plain.session


def test_order_and_parts() -> None:
    rows: list[Item] = [{"id": name, "rate": rate} for name, rate in (("a", None), ("b", 2.0), ("c", 3.0))]
    assert [row["id"] for row in in_order(rows, "-rate")] == ["c", "b", "a"]
    assert [row["id"] for row in in_order(rows, "rate")] == ["b", "c", "a"]
    # What has no name is in one list only; assignments have their flow's and the device's.
    unnamed: Item = {"text": "x"}
    assert merged([Part([unnamed], ()), Part([unnamed], ())], None) == [unnamed, unnamed]
    assigned: list[Item] = [{"flow": "f", "device": device} for device in "12"]
    assert merged([Part(assigned, {"2"}), Part(assigned, {"1"})], None) == assigned
