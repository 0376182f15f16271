"""Every command on a controller whose names others have chosen: nothing of them reaches the terminal as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml
from support.engine.controller import FLOWS, HOSTILE
from support.rest.server import running

from flowlane.cli import main as cli
from flowlane.escaping import escaped

FLOW = FLOWS[0][0].hex()
COMMANDS = [
    ["devices"],
    ["ports"],
    ["queues"],
    ["vms"],
    ["hosts"],
    ["addresses"],
    ["flows"],
    ["assignments"],
    ["topology"],
    ["topology", "--dot"],
    ["explain", FLOW],
    ["pins"],
    ["hint", "set", f"web{HOSTILE}", "--class", "heavy"],
    ["events", "--last", "5", "--kind", "hint"],
    ["top", "--count", "1"],
    *([name, "-o", "name"] for name in ("devices", "ports", "queues", "vms", "hosts")),
    *([name, "-o", "wide"] for name in ("devices", "vms")),
]
"""In an order in which events have been made before they are listed."""


@pytest.fixture(scope="module")
def hostile_url() -> Iterator[str]:
    with running("hostile") as server:
        yield server.url


@pytest.mark.parametrize(
    "words", COMMANDS, ids=lambda words: " ".join(words[:3]).translate({27: None, 10: None})
)
def test_names_are_escaped(hostile_url: str, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code = cli.main([*words, "--url", hostile_url])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert all(line.isprintable() for line in out.split("\n"))
    if words[0] not in ("explain", "pins", "hint"):
        assert escaped(HOSTILE) in out or r"\n\u202e" in out or r"\n\\u202e" in out


@pytest.mark.parametrize(
    "words",
    [
        ["queues", "--device", "x"],
        ["vms", "--device", "x"],
        ["flows", "--vm", f"x{HOSTILE}"],
        ["explain", HOSTILE],
        ["pin", FLOW, "2"],
        ["cordon", "x", "y", "2"],
    ],
    ids=["queues", "vms", "flows", "explain", "pin", "cordon"],
)
def test_errors_are_escaped(hostile_url: str, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code = cli.main([*words, "--url", hostile_url])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_data_has_the_names_as_they_are(
    hostile_url: str, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    assert cli.main(["vms", "-o", form, "--url", hostile_url]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out
    items = (json.loads if form == "json" else yaml.safe_load)(out)["items"]
    assert {item["name"] for item in items} == {f"web{HOSTILE}", f"db{HOSTILE}"}
