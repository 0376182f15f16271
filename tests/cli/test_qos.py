"""``flowlane qos`` on a real database; the rows are read back with ovs-vsctl."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import pytest
from lab.inside import private_ovs
from support.ovs.ovsdb_server import Server

from flowlane.cli import qos
from flowlane.cli.qos import print_ports
from flowlane.core.model import QueueKind
from flowlane.hosttools.findings import Finding, Level
from flowlane.hosttools.inventory import PortEntry, QueueEntry
from flowlane.hosttools.nic.consistency import NicState
from flowlane.hosttools.nic.reader import Channels, Nic
from flowlane.hosttools.nic.tc import Filter, Qdisc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    database = Server(tmp_path)
    database.start()
    database.bridge("br0", 1, "up0", "up1")
    yield database
    database.stop()


class Command:
    """The command against one database."""

    def __init__(self, remote: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.remote, self.capsys = remote, capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser()
        qos.add_arguments(parser)
        code = qos.run(parser.parse_args([*words, "--db", self.remote, "--timeout", "2"]))
        return (code, *self.capsys.readouterr())

    def json(self, *words: str) -> Any:
        code, out, err = self(*words, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def command(server: Server, capsys: pytest.CaptureFixture[str]) -> Command:
    server.vsctl("set", "Open_vSwitch", ".", "cur_cfg=1000000")
    return Command(server.remote, capsys)


def test_apply_is_idempotent_and_show_tells_what_was_made(command: Command) -> None:
    words = ("apply", "up0", "--queues", "2", "--software-queues", "1", "--rate", "3Gbit/s")
    first = command.json(*words)
    assert (first["changed"], first["taken_over"]) == (True, True)
    assert command.json(*words) == {**first, "changed": False, "rows": []}
    (port,) = command.json("show", "up0")
    assert (port["qos_type"], port["max_rate"], port["made_by_flowlane"]) == ("linux-htb", 3 * 10**9, True)
    assert [(q["queue_id"], q["kind"], q["min_rate"]) for q in port["queues"]] == [
        (0, "physical", 10**9),
        (1, "physical", 10**9),
        (2, "software", 10**9),
    ]
    _, text, _ = command("show")
    assert "software" in text
    assert "3Gbit/s" in text
    assert command("apply", *words[1:])[1] == "up0: nothing to change\n"


def test_a_dry_run_changes_nothing(command: Command, server: Server) -> None:
    planned = command.json("apply", "up0", "--queues", "2", "--rate", "1Gbit/s", "--dry-run")
    assert [(row["action"], row["table"]) for row in planned["rows"]] == [
        ("insert", "Queue"),
        ("insert", "Queue"),
        ("insert", "QoS"),
        ("update", "Port"),
    ]
    assert server.vsctl("list", "qos") == ""
    assert "would insert QoS" in command("apply", "up0", "--queues", "2", "--rate", "1Gbit/s", "--dry-run")[1]


def test_clear_leaves_no_row(command: Command, server: Server) -> None:
    command("apply", "up0", "--queues", "4", "--rate", "1Gbit/s")
    assert command("clear", "up0")[0] == 0
    assert server.vsctl("list", "qos") + server.vsctl("list", "queue") == ""
    assert command("clear", "up0")[1] == "up0: nothing to change\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["apply", "up0"], "cannot be counted"),
        (["apply", "up0", "--queues", "2"], "--rate"),
        (["apply", "up0", "--queues", "2", "--rate", "1Gbit/s", "--min-rate", "1Gbit/s"], "exceed"),
        (["apply", "nope", "--queues", "2", "--rate", "1Gbit/s"], "port nope"),
        (["clear", "nope"], "port nope"),
        (["show", "nope"], "port nope"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_done(
    command: Command, server: Server, words: list[str], text: str
) -> None:
    code, out, err = command(*words)
    assert (code, out) == (1, "")
    assert text in err
    assert server.vsctl("list", "qos") + server.vsctl("list", "queue") == ""


def test_a_foreign_row_needs_replace(command: Command, server: Server) -> None:
    server.vsctl("set", "port", "up0", "qos=@q", "--", "--id=@q", "create", "qos", "type=linux-hfsc")
    words = ("apply", "up0", "--queues", "2", "--rate", "1Gbit/s")
    assert "--replace" in command(*words)[2]
    assert command(*words, "--replace")[0] == 0
    assert server.vsctl("get", "qos", "up0", "type") == "linux-htb"
    assert len(server.vsctl("--bare", "--columns=_uuid", "list", "qos").split()) == 1


def test_without_a_database_or_with_a_bad_remote_it_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "No such file or directory" in Command(f"unix:{tmp_path}/none", capsys)("show")[2]
    assert "ovsdb remote" in Command("http://x", capsys)("show")[2]


def test_the_hardware_is_mapped_and_the_mapping_taken_back(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The NIC is made up; that the filters do what they say is for the lab, where there is one."""
    filters: list[Filter] = []
    ran: list[str] = []

    def truth(name: str) -> NicState | None:
        nic = Nic(name, "igb", hardware=True, up=True, tx_queues=2, speed=10**9)
        qdiscs = (Qdisc("htb", "1:", True, ""), Qdisc("clsact", "ffff:", False, ""))
        return NicState(nic, Channels(0, 0, 1, 8, 0, 0, 1, 2), qdiscs, tuple(filters))

    monkeypatch.setattr(qos, "read_state", truth)
    monkeypatch.setattr(qos, "run_batch", ran.extend)
    planned = command.json("apply", "up0", "--map-hardware", "--dry-run")
    assert ran == []
    done = command.json("apply", "up0", "--map-hardware")
    assert ran == done["tc"] == planned["tc"]
    assert len(ran) == 3
    assert len(done["rows"]) == 4
    filters += [Filter(0xF10A, "basic", k + 1, "all", 0x10001 + k, k) for k in range(2)]
    filters.append(Filter(0xF10B, "matchall", 1, "all", None, 0))
    again = command.json("apply", "up0", "--map-hardware")
    assert (again["changed"], again["tc"]) == (False, [])
    (port,) = command.json("show", "up0")
    assert port["nics"][0]["mapped_queues"] == [0, 1]
    assert port["findings"] == []
    assert len(command.json("clear", "up0")["tc"]) == 3


def test_hardware_that_cannot_be_mapped_is_found_before_anything_is_changed(command: Command) -> None:
    code, _, err = command("apply", "up0", "--queues", "2", "--rate", "1Gbit/s", "--map-hardware")
    assert code == 1
    assert "up0 is not a network device of this host" in err
    assert command.json("show", "up0")[0]["queues"] == []


@pytest.mark.mininet
def test_queues_of_a_real_device_are_counted_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with private_ovs.running(system=True) as switch:
        switch.add_bridge("br0", ("fl-up",))
        command = Command(switch.database, capsys)
        assert command.json("apply", "fl-up", "--rate", "1Gbit/s")["taken_over"] is True
        (port,) = command.json("show", "fl-up")
        assert len(port["queues"]) == port["nics"][0]["tx_queues"] == 1
        command("apply", "fl-up", "--rate", "1Gbit/s", "--queues", "3")
        assert switch.ofctl("queue-get-config", "br0", "fl-up").count("queue ") == 3
        assert "3 physical queues, but the NIC has 1 transmit queue" in command("show", "fl-up")[1]


def test_names_that_look_like_markup_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    queue = QueueEntry(0, QueueKind.PHYSICAL, None, 10**9)
    port = PortEntry("[red]x", "br[/0]", "system", (), "linux-htb", 10**9, False, (queue,))
    print_ports([port], {"[red]x": []}, {"[red]x": [Finding(Level.WARNING, "[b]", "w[/]hat", "re[m]edy")]})
    text = capsys.readouterr().out
    for word in (
        "[red]x",
        "br[/0]",
        "linux-htb (not Flowlane's)",
        "1Gbit/s",
        "warning: [b]: w[/]hat",
        "re[m]edy",
    ):
        assert word in text
