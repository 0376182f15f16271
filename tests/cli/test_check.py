"""``flowlane check``: places of problems, summaries, and what devices would get."""

from __future__ import annotations

import argparse
import io
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flowlane.cli import check

GOOD = """\
version: 1
classes: {limited: {limit: 5Mbit/s}, sole: {queues: exclusive}}
rules:
  - {name: web, match: {dst-port: 80, protocol: tcp}, class: limited}
  - {name: web again, match: {dst-port: 80, protocol: tcp}, class: limited}
devices:
  - {match: {name: tor}, only: limited}
"""
DEVICES = [
    {"name": "able", "queues": {"physical": 4, "software": 2},
     "capabilities": {"max_meters": 9, "meter_burst": True, "select_groups": True}},
    {"name": "poor", "role": "vswitch", "dpid": "00000000000000ff", "queues": {"software": 1}},
    {"name": "tor", "role": "switch", "queues": {"physical": {"total": 8, "free": 1}, "software": {"total": 0}},
     "ports": [{"queues": [0, 1, 2, 3]}, {"queues": [0, 1, 2, 3]}],
     "capabilities": {"max_meters": 9, "meter_burst": True, "select_groups": True, "description": "x"}},
]  # fmt: skip


def run(*words: Path | str) -> int:
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    return check.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def described(tmp_path: Path) -> Path:
    path = tmp_path / "devices.json"
    path.write_text(json.dumps({"items": DEVICES, "next": None}))
    return path


def test_problems_are_printed_with_their_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("version: 1\nclases: {}\nrules: [{class: x}]\n")
    assert run(path) == 1
    out, err = capsys.readouterr()
    assert out == (
        f"{path}:2: clases: unknown key 'clases' (did you mean classes?)\n"
        f"{path}:3: rules[0].class: there is no class 'x' (known: default)\n"
    )
    assert "2 problems" in err


def test_problems_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("version: 1\nclases: {}\n")
    assert run(path, "--json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "policy": str(path),
        "good": False,
        "problems": [
            {
                "line": 2,
                "column": 1,
                "path": "clases",
                "message": "unknown key 'clases'",
                "remedy": "did you mean classes?",
            }
        ],
    }


def test_a_good_policy_is_summed_up(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(good) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{good}: good: 3 classes, 2 rules, 0 rate conditions, 0 shares, 0 trust entries; strategy combined",
        "flows that no rule matches get class default",
        f"{good}: note: class 'sole' is never used: no rule names it and no hint may ask for it",
        f"{good}:5: note: rule 'web again' is never reached: 'web' matches the same",
    ]


def test_what_devices_would_get(good: Path, described: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(good, "--devices", described) == 0
    lines = capsys.readouterr().out.splitlines()[4:]
    assert lines == [
        "device able (nic, 4 physical and 2 software queues on a port) gets the rules: same",
        "  2 rules; classes default, limited, sole",
        "device poor (vswitch, 0 physical and 1 software queues on a port) gets the rules: altered",
        "  2 rules; classes default, limited, sole",
        "  left out: limit of class limited: the device has no meters "
        "(set max-rate on a queue of its own in OVSDB, or limit the class on a device that has meters)",
        "  left out: exclusive queues of class sole: no port has two queues for it (it has 1) "
        "(add queues to the egress port (flowlane qos))",
        "device tor (switch, 4 physical and 0 software queues on a port) gets the rules: subset",
        "  2 rules; classes default, limited",
        "  left out: class sole: the policy gives this device other classes only "
        "(name the class in the device's 'only')",
    ]


def test_what_devices_would_get_as_json(
    good: Path, described: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(good, "--devices", described, "--json") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert [device["gets"] for device in outcome["devices"]] == ["same", "altered", "subset"]
    assert outcome["devices"][1]["dpid"] == "00000000000000ff"
    assert {"what", "why", "remedy"} == set(outcome["devices"][1]["left_out"][0])


class Pages(BaseHTTPRequestHandler):
    """Two pages of devices, as REST gives them."""

    def do_GET(self) -> None:
        more = "cursor=2" in self.path
        page = {"items": DEVICES[1:] if more else DEVICES[:1], "next": None if more else "2"}
        body = json.dumps(page).encode() if self.path.startswith("/v1/devices") else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def controller() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_devices_of_a_running_controller(
    good: Path, controller: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(good, "--url", controller, "--json") == 0
    assert [device["name"] for device in json.loads(capsys.readouterr().out)["devices"]] == [
        "able",
        "poor",
        "tor",
    ]


@pytest.mark.parametrize(
    "text",
    ["[", "[]", "5", "[5]", "[{role: router}]", "[{dpid: xyz}]", "[{queues: {physical: many}}]",
     "[{queues: {physical: -1}}]", "[{capabilities: 5}]", "[{capabilities: {max_meters: lots}}]",
     "[{ports: [{queues: 5}]}]", "[{ports: 5}]", "[{ports: [5]}]", "[{role: [nic]}]", "2020-99-99", "[" * 5000, "\x00"],
)  # fmt: skip
def test_devices_that_cannot_be_read(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(text)
    assert run(good, "--devices", path) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert str(path) in err


@pytest.mark.parametrize(
    "words",
    [["nothere.yaml"], ["GOOD", "--devices", "nothere.json"], ["GOOD", "--url", "http://127.0.0.1:1"], ["."]],
)
def test_what_cannot_be_read_at_all(good: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run(*[good if word == "GOOD" else word for word in words]) == 2
    assert capsys.readouterr().err.startswith("flowlane check: ")


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"version: 2\n")))
    assert run("-") == 1
    assert capsys.readouterr().out.startswith("standard input:1: version:")
