from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.engine.controller import FLOWS

from flowlane.cli import main as cli

FLOW = FLOWS[0][0].hex()


Run = Callable[..., tuple[int, str, str]]
"""The words of a command -> its exit code and what it wrote."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], controller_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("FLOWLANE_URL", controller_url)

    def call(*words: str) -> tuple[int, str, str]:
        code = cli.main(words)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (
            ["status"],
            ["openflow", "ok", "1 connected of 2", "3 on physical queues", "default, heavy, capped"],
        ),
        (["devices"], ["0000000000000001", "br-nic", "4/4", "7/100".replace("7", "1"), "down"]),
        (["queues"], ["uplink", "100Mbit/s", "software"]),
        (["queues", "--device", "br-nic", "--port", "uplink"], ["uplink"]),
        (["vms"], ["web", "ns/db", "02:00:00:00:00:01"]),
        (["flows"], ["tcp 10.0.0.1:1234 > 192.0.2.1:80", "95Mbit/s", "uplink:1 up:-", "0x88f7", "vlan 7"]),
        (["flows", "--vm", "db", "--proto", "udp"], ["udp 10.0.0.2:53 > 192.0.2.1:5353 vlan 0"]),
        (["assignments", "--queue", "2", "--src-port", "1235"], ["capped", "7 (50Mbit/s)", "shared"]),
        (["explain", FLOW], ["queue 1 (physical) of uplink", "class     heavy", "on tor"]),
        (["explain", "10.0.0.1:1234-192.0.2.1:80"], [FLOW]),
        (["explain", FLOW], ["class     heavy, by backups (line 9)"]),
        (["explain", "[::1]-[2001::]"], ["icmpv6 ::1 > 2001:: type 128 vlan 7"]),
        (["ports"], ["uplink", "vf0"]),
        (["meters"], ["br-nic", "50Mbit/s"]),
        (["groups"], ["0:1 1:1"]),
        (["left-out"], ["none"]),
        (["pins"], ["none"]),
        (["hint", "show", "web"], ["none"]),
        (["policy", "show"], ["version: 1"]),
    ],
)
def test_what_commands_show(run: Run, words: list[str], shown: list[str]) -> None:
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    for text in shown:
        assert text in out


@pytest.mark.parametrize("command", ["status", "devices", "queues", "vms", "flows", "assignments"])
def test_json_is_what_rest_answers(run: Run, command: str) -> None:
    code, out, _ = run(command, "--json")
    answer = json.loads(out)
    assert code == 0
    assert "version" in answer if command == "status" else answer["items"]
    assert command == "status" or answer["next"] is None


def test_limits_are_told(run: Run) -> None:
    assert "1 shown, there may be more: --limit 0 shows all" in run("flows", "--limit", "1")[1]
    assert len(json.loads(run("flows", "--limit", "2", "--json")[1])["items"]) == 2
    assert json.loads(run("flows", "--limit", "2", "--json")[1])["next"]


def test_hints_over_their_life(run: Run) -> None:
    assert (
        run("hint", "set", "web", "--class", "heavy", "--match", "dst-port=80", "--lifetime", "60s")[0] == 0
    )
    assert run("hint", "set", "ns/db", "--class", "capped")[0] == 0
    added = run("hint", "set", "uuid-web", "--class", "capped", "--add", "--json")[1]
    assert [item["class"] for item in json.loads(added)["hints"]] == ["heavy", "capped"]
    assert "dst-port=80" in run("hint", "show", "web")[1]
    assert run("hint", "clear", "web") == (0, "", "")
    assert run("hint", "clear", "ns/db")[0] == 0
    assert run("hint", "show", "ns/db")[1].strip() == "none"


def test_a_policy_is_checked_replaced_and_refused(run: Run, tmp_path: Path) -> None:
    sound, broken = tmp_path / "sound.yaml", tmp_path / "broken.yaml"
    sound.write_text("classes: default heavy capped bulk")
    broken.write_text("bad")
    code, out, _ = run("policy", "check", str(sound))
    assert code == 0
    assert "bulk" in out
    assert "nothing was changed" in out
    code, out, err = run("policy", "replace", str(broken))
    assert (code, out) == (1, "")
    assert "Policy refused" in err
    assert "line 3: classes.bulk.limit: 'fast' is not a rate (write 50Mbit/s)" in err
    assert run("policy", "replace", str(tmp_path / "none.yaml"))[2].endswith("No such file or directory\n")


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["flows", "--src-port", "http"], 1, "'http' is not a value of 'src_port'"),
        (["explain", "ab" * 20], 1, "there is no flow"),
        (["flows", "--vm", "wbe"], 1, "there is no VM 'wbe'; did you mean web?"),
        (["flows", "--device", "br-nik"], 1, "there is no device 'br-nik'; did you mean br-nic?"),
        (["flows", "--class", "havy"], 1, "there is no class 'havy'; did you mean heavy?"),
        (["flows", "--proto", "tpc"], 1, "'tpc' is not a value of 'proto': "),
        (
            ["flows", "--proto", "0x123456"],
            1,
            "'0x123456' is not a value of 'proto': tcp, udp, sctp, icmp, icmpv6, 0 to 255, or an ethertype",
        ),
        (
            ["flows", "--src", "10.0.0.300"],
            1,
            "'10.0.0.300' is not a value of 'src': an address, a prefix or a MAC address",
        ),
        (["vms", "--device", "x"], 1, "there is no device 'x'; known: br-nic, "),
        (["queues", "--device", "x"], 1, "there is no device 'x'; known: br-nic, "),
        (["queues", "--port", "x"], 1, "there is no port 'x'; known: "),
        (
            ["queues", "--port", "uplink", "--device", 'tor "1"'],
            1,
            "there is no port 'uplink'; known: up",
        ),
        (["assignments", "--port", "x"], 1, "there is no port 'x'; known: "),
        (["assignments", "--queue", "77"], 1, "there is no queue '77'; known: "),
        (
            ["assignments", "--kind", "fysical"],
            1,
            "'fysical' is not a value of 'kind': one of none, physical,",
        ),
        (["assignments", "--reason", "x"], 1, "'x' is not a value of 'reason': one of "),
        (
            ["events", "--kind", "foo"],
            1,
            "'foo' is not a value of 'kind': it is no kind of event; known: assignment, device, error, flow, ",
        ),
        (["events", "--kind", "hints"], 1, "did you mean hint?"),
        (["explain", "what"], 1, "neither a flow's id nor"),
        (["explain", "10.9.9.9-10.9.9.8"], 1, "no flow matches"),
        (["hint", "show", "nobody"], 1, "there is no VM 'nobody'"),
        (["hint", "set", "web", "--class", "gold"], 1, "no class 'gold'"),
        (
            ["hint", "set", "web", "--class", "heavy", "--lifetime", "999h"],
            1,
            "more than 0 and at most 2592000 s",
        ),
        (["hint", "set", "web", "--class", "heavy", "--match", "dst-port=" + "9" * 5000], 1, "is not a port"),
        (["hint", "set", "web", "--class", "heavy", "--match", "x"], 1, "not KEY=VALUE"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(run: Run, words: list[str], code: int, error: str) -> None:
    assert run(*words)[0] == code
    _, out, err = run(*words)
    assert out == ""
    assert error in err
    assert err.startswith("flowlane: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [[], ["dance"], ["flows", "--colour", "red"], ["hint"], ["policy", "replace"]]
)
def test_a_wrong_command_line_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "usage: flowlane" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["policy", "show"], ["print the policy in force"]),
        (["policy", "replace"], ["replace the policy in force atomically"]),
        (["policy", "schema"], ["print the language's JSON Schema"]),
        (["policy", "reference"], ["print the tables of the language"]),
        (["qos", "show"], ["show queues of ports", "name of a port (default: all ports)"]),
        (["qos", "apply"], ["make the queues of a port", "name of a port of a bridge"]),
        (["qos", "clear"], ["remove the queues of a port", "name of a port of a bridge"]),
    ],
)
def test_an_action_describes_itself(
    words: list[str], texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([*words, "--help"])
    out = " ".join(capsys.readouterr().out.split())
    for text in texts:
        assert text in out


def test_help_names_every_command_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    for name in (
        "status",
        "devices",
        "queues",
        "vms",
        "flows",
        "assignments",
        "explain",
        "events",
        "hint",
        "policy",
    ):
        assert re.search(rf"^    {name}\s", out, re.MULTILINE)


def test_a_missing_package_hurts_its_command_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "needy.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "needy", ("needy", "needs a package"))
    code, _, err = run("needy")
    assert code == 2
    assert "'no_such_package' is missing" in err
    assert run("status")[0] == 0


@pytest.mark.parametrize("command", ["doctor", "qos"])
def test_a_command_prints_no_warning_of_a_library(command: str) -> None:
    program = [sys.executable, "-m", "flowlane.cli.main", command, "--help"]
    answer = subprocess.run(program, check=True, capture_output=True, text=True)
    assert answer.stderr == ""


def test_orders_over_their_life(run: Run) -> None:
    """Cordons and drains, which need real queues, are in tests/bridge/test_orders.py."""
    code, out, _ = run("pin", "10.0.0.2-192.0.2.1", "1", "--for", "5min")
    assert code == 0 and "br-nic  uplink      1" in out
    flow = json.loads(run("pins", "--json")[1])["items"][0]["flow"]
    assert flow in run("pins")[1]
    assert run("pin", FLOW, "1")[0] == 1, "it is on two devices"
    assert run("pin", flow, "77")[2] == (
        "flowlane: port uplink of br-nic has no queue 77; its queues: 0, 1, 2, 3, 10\n"
    )
    assert run("pin", flow)[2] == "flowlane: QUEUE is missing: flowlane queues lists the queues\n"
    assert run("unpin", flow)[0] == 0
    assert run("pin", flow, "--remove")[0] == 1
    assert run("pins")[1] == "none\n"
    assert run("cordon", "br-x", "uplink", "3")[2].startswith("flowlane: there is no device 'br-x'")


def test_one_hint_of_a_name(run: Run) -> None:
    assert "rest:uuid-web:mine" in run("hint", "set", "web", "--class", "heavy", "--name", "mine")[1]
    assert run("hint", "clear", "web", "--name", "mine")[0] == 0
    assert run("hint", "clear", "web", "--name", "mine")[0] == 1
