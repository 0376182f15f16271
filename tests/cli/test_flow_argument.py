"""The argument FLOW of ``flowlane explain``: ids, beginnings of ids, and flows as they are printed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from support.engine.controller import FLOWS

from flowlane.cli import main as cli
from flowlane.core.flowkey import flow_text

IDS = [key.hex() for key, _ in FLOWS]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], controller_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("FLOWLANE_URL", controller_url)

    def call(*words: str) -> tuple[int, str, str]:
        code = cli.main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def explained(run: Run, *words: str) -> list[str]:
    """The ids of the flows that are explained."""
    code, out, err = run("explain", *words, "--json")
    assert (code, err) == (0, "")
    return [explanation["flow"] for explanation in json.loads(out)]


def test_what_the_column_flow_prints_is_accepted(run: Run) -> None:
    """Also without quotes, where the shell leaves the words alone."""
    flows = json.loads(run("flows", "--json")[1])["items"]
    table = run("flows", "--sort-by", "flow")[1].splitlines()[1:]
    printed = [line.split("  ")[0].strip() for line in table]
    assert len(printed) == len(flows) == len(IDS)
    assert {identity for text in printed for identity in explained(run, text)} == set(IDS)
    assert all(explained(run, text) == explained(run, *text.split()) for text in printed)


@pytest.mark.parametrize("key", [key for key, _ in FLOWS], ids=lambda key: key.hex()[16:])
def test_what_events_and_the_log_print_is_accepted(run: Run, key: bytes) -> None:
    assert explained(run, flow_text(key)) == [key.hex()]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (IDS[0], IDS[0]),
        (IDS[0].upper(), IDS[0]),
        (IDS[0][:23], IDS[0]),
        (IDS[0][:24], IDS[0]),
        (IDS[3][:40], IDS[3]),
        ("10.0.0.1:1234->192.0.2.1:80", IDS[0]),
        ("10.0.0.2:53 - 192.0.2.1:5353", IDS[2]),
    ],
)
def test_any_beginning_of_an_id_that_is_unique(run: Run, name: str, expected: str) -> None:
    assert explained(run, name) == [expected]


def test_a_beginning_of_several_ids_lists_them(run: Run) -> None:
    code, out, err = run("explain", "aaaa0001")
    assert (code, out) == (1, "")
    assert "'aaaa0001' is the beginning of several ids; give more of one of them:" in err
    assert [line.split()[0] for line in err.splitlines()[1:]] == IDS[:2]
    assert "tcp 10.0.0.1:1234 > 192.0.2.1:80" in err


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("ffff", "no flow's id begins with 'ffff' now"),
        ("ab" * 20, "there is no flow"),
        ("udp 10.0.0.2:53 > 192.0.2.1:5353 vlan 9", "no flow matches"),
        ("tcp 10.0.0.1:1234", "is half a flow; put it in quotes, since the shell takes > for itself"),
        ("tcp 10.0.0.1:12… > 192", "is cut off; copy the flow from a wider terminal, or from flowlane flows -o wide"),
        ("tpc 10.0.0.1:1234 > 192.0.2.1:80", "'tpc' is not a value of 'proto'"),
        ("\x1b[2J", r"'\x1b[2J' is neither a flow's id nor"),
    ],
)  # fmt: skip
def test_what_is_no_flow(run: Run, name: str, error: str) -> None:
    code, out, err = run("explain", name)
    assert (code, out) == (1, "")
    assert error in err
