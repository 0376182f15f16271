"""``flowlane qos`` on a real database; the rows are read back with ovs-vsctl."""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from lab.inside import private_ovs
from lab.inside.namespaces import network_of_its_own
from support.ovs.ovsdb_server import Server

from flowlane.cli import qos
from flowlane.cli.qos_views import print_ports
from flowlane.core.model import QueueKind
from flowlane.errors import FlowlaneError
from flowlane.hosttools.findings import Finding, Level
from flowlane.hosttools.inventory import PortEntry, QueueEntry
from flowlane.hosttools.nic.consistency import NicState
from flowlane.hosttools.nic.reader import Channels, Nic
from flowlane.hosttools.nic.tc import Filter, Qdisc, QueueClass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
    assert command("show", "-o", "name") == (0, "br0\nup0\nup1\n", "")
    assert command("show", "-o", "name", "--sort-by", "port", "--reverse")[1] == "up1\nup0\nbr0\n"
    assert command("show", "-o", "name", "--sort-by", "queues")[1].splitlines()[0] == "up0"
    assert yaml.safe_load(command("show", "up0", "-o", "yaml")[1]) == [port]
    assert command("apply", *words[1:])[1] == (
        "up0: nothing to change\nup0: not a network device of this host (type system); no leaf\n"
    )


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


class FakeNic:
    """A NIC with two queues and Open vSwitch's HTB; that tc does what the lines say is for the lab to test."""

    def __init__(self, *leaves: Qdisc, root: tuple[str, str] = ("htb", "1:")) -> None:
        self.qdiscs = [Qdisc(*root, True, ""), Qdisc("clsact", "ffff:", False, ""), *leaves]
        self.classes = (QueueClass(0, 0), QueueClass(1, 0))
        self.filters: list[Filter] = []
        self.ran: list[str] = []
        self.kernel_has_fq_codel = True

    def read(self, name: str) -> NicState | None:
        nic = Nic(name, "igb", hardware=True, up=True, tx_queues=2, speed=10**9)
        channels = Channels(0, 0, 1, 8, 0, 0, 1, 2)
        return NicState(nic, channels, tuple(self.qdiscs), tuple(self.filters), (), self.classes)

    def run(self, lines: Sequence[str]) -> None:
        for line in lines:
            words = line.split()
            if words[:2] == ["qdisc", "add"]:
                if not self.kernel_has_fq_codel:
                    raise FlowlaneError("tc -batch -: Error: Specified qdisc kind is unknown.")
                self.qdiscs.append(Qdisc(words[6], "8001:", False, words[5]))
            elif words[:2] == ["qdisc", "del"]:
                self.qdiscs = [qdisc for qdisc in self.qdiscs if qdisc.parent != words[5]]
            self.ran.append(line)

    def use(self, monkeypatch: pytest.MonkeyPatch) -> FakeNic:
        monkeypatch.setattr(qos, "read_state", self.read)
        monkeypatch.setattr(qos, "run_batch", self.run)
        return self


LEAF_LINES = ["qdisc add dev up0 parent 1:1 fq_codel", "qdisc add dev up0 parent 1:2 fq_codel"]


def test_the_hardware_is_mapped_and_the_mapping_taken_back(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    nic = FakeNic().use(monkeypatch)
    planned = command.json("apply", "up0", "--map-hardware", "--leaf", "none", "--dry-run")
    assert nic.ran == []
    done = command.json("apply", "up0", "--map-hardware", "--leaf", "none")
    assert nic.ran == done["tc"] == planned["tc"]
    assert len(nic.ran) == 3
    assert len(done["rows"]) == 4
    nic.filters += [Filter(0xF10A, "basic", k + 1, "all", 0x10001 + k, k) for k in range(2)]
    nic.filters.append(Filter(0xF10B, "matchall", 1, "all", None, 0))
    again = command.json("apply", "up0", "--map-hardware", "--leaf", "none")
    assert (again["changed"], again["tc"]) == (False, [])
    (port,) = command.json("show", "up0")
    assert port["nics"][0]["mapped_queues"] == [0, 1]
    assert port["findings"] == []
    assert len(command.json("clear", "up0")["tc"]) == 3


def test_queues_get_leaves_once_and_lose_them_on_request(
    command: Command, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    nic = FakeNic().use(monkeypatch)
    words = ("apply", "up0", "--queues", "2")
    planned = command.json(*words, "--dry-run")
    assert (planned["tc"], nic.ran) == (LEAF_LINES, [])
    done = command.json(*words)
    assert done["tc"] == nic.ran == LEAF_LINES
    assert server.vsctl("get", "qos", "up0", "external_ids:flowlane-leaf") == "fq_codel"
    again = command.json(*words)
    assert (again["changed"], again["tc"], again["left_alone"]) == (False, [], [])
    more = command.json("apply", "up0", "--queues", "3", "--dry-run")
    assert more["tc"] == ["qdisc add dev up0 parent 1:3 fq_codel"]
    (port,) = command.json("show", "up0")
    assert (port["leaf"], port["nics"][0]["leaves"]) == ("fq_codel", {"0": "fq_codel", "1": "fq_codel"})
    lines = command("show", "up0")[1].splitlines()
    assert lines[0].split()[-2:] == ["PRIO", "LEAF"]
    assert [line.split()[-2:] for line in lines[1:3]] == [["0", "fq_codel"]] * 2
    removed = command.json(*words, "--leaf", "none")
    assert removed["tc"] == ["qdisc del dev up0 parent 1:1", "qdisc del dev up0 parent 1:2"]
    assert command.json(*words, "--leaf", "none")["changed"] is False
    assert not command.json("show", "up0")[0]["nics"][0]["leaves"]


def test_clear_removes_leaves_that_open_vswitch_has_left_and_no_others(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    nic = FakeNic().use(monkeypatch)
    assert command.json("clear", "up0")["tc"] == []
    command("apply", "up0", "--queues", "2")
    assert command.json("clear", "up0", "--dry-run")["tc"] == [], "Open vSwitch removes them with the queues"
    assert command.json("clear", "up0")["tc"] == nic.ran[2:]
    assert nic.ran[2:] == ["qdisc del dev up0 parent 1:1", "qdisc del dev up0 parent 1:2"]
    nic.qdiscs.append(Qdisc("fq_codel", "8001:", False, "1:1"))
    assert command.json("clear", "up0")["tc"] == [], "an HTB of somebody else"


def test_a_leaf_of_another_kind_is_left_alone_and_that_is_said(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    nic = FakeNic(Qdisc("sfq", "12:", False, "1:1")).use(monkeypatch)
    code, out, _ = command("apply", "up0", "--queues", "2")
    assert (code, nic.ran) == (0, LEAF_LINES[1:])
    assert "up0: queue 0 has a leaf of kind sfq, which is left alone" in out


@pytest.mark.parametrize("root", [("mq", "0:"), ("mqprio", "8001:"), ("noqueue", "0:")])
def test_a_nic_whose_queues_linux_does_not_schedule_gets_no_leaf_and_that_is_said(
    command: Command, monkeypatch: pytest.MonkeyPatch, root: tuple[str, str]
) -> None:
    nic = FakeNic(root=root).use(monkeypatch)
    code, out, _ = command("apply", "up0", "--queues", "2")
    assert (code, nic.ran) == (0, [])
    assert f"up0: its root qdisc is {' '.join(root)}, not the HTB of Open vSwitch; no leaf" in out
    assert "no leaf" not in command("apply", "up0", "--queues", "2", "--leaf", "none")[1]


def test_a_kernel_without_fq_codel_has_queues_without_leaves(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    nic = FakeNic().use(monkeypatch)
    nic.kernel_has_fq_codel = False
    done = command.json("apply", "up0", "--queues", "2")
    assert (done["tc"], len(done["rows"])) == ([], 4)
    assert done["left_alone"] == [
        "this kernel has no fq_codel; no leaf (modprobe sch_fq_codel, or --leaf none)"
    ]


def test_a_refusal_of_tc_is_an_error(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(lines: Sequence[str]) -> None:
        if lines:
            raise FlowlaneError("tc -batch -: Operation not permitted")

    FakeNic().use(monkeypatch)
    monkeypatch.setattr(qos, "run_batch", refuse)
    code, _, err = command("apply", "up0", "--queues", "2")
    assert (code, err) == (1, "flowlane qos apply: tc -batch -: Operation not permitted\n")


@pytest.mark.parametrize(
    ("settings", "words", "text"),
    [
        (
            ("bridge", "br0", "datapath_type=netdev"),
            (),
            "up0: the userspace datapath does not schedule queues",
        ),
        (("interface", "up0", "type=dpdk"), (), "up0: not a network device of this host (type dpdk)"),
        ((), ("--type", "linux-hfsc"), "up0: linux-hfsc takes packets out of a leaf to look at them"),
    ],
    ids=["userspace", "dpdk", "hfsc"],
)
def test_what_gets_no_leaf_by_the_database_is_said(
    command: Command, server: Server, settings: tuple[str, ...], words: tuple[str, ...], text: str
) -> None:
    if settings:
        server.vsctl("set", *settings)
    done = command.json("apply", "up0", "--queues", "2", "--rate", "1Gbit/s", *words)
    assert done["tc"] == []
    (said,) = done["left_alone"]
    assert said.startswith(text)
    assert said.endswith("no leaf")


def test_a_database_of_another_host_has_no_tc_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nic = FakeNic().use(monkeypatch)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        remote = f"tcp:127.0.0.1:{probe.getsockname()[1]}"
    database = Server(tmp_path, f"--remote=p{remote.replace('127.0.0.1:', '')}:127.0.0.1")
    database.start()
    try:
        database.bridge("br0", 1, "up0")
        database.vsctl("set", "Open_vSwitch", ".", "cur_cfg=1000000")
        done = Command(remote, capsys).json("apply", "up0", "--queues", "2", "--rate", "1Gbit/s")
    finally:
        database.stop()
    assert nic.ran == done["tc"] == []
    assert done["left_alone"] == [
        f"up0: the database {remote} is of another host, and tc of this one; run the command there; no leaf"
    ]


def test_priorities_are_given_by_queue_and_stay_when_none_are_given(command: Command, server: Server) -> None:
    words = ("apply", "up0", "--queues", "4", "--rate", "1Gbit/s")

    def priorities() -> list[int]:
        return [queue["priority"] for queue in command.json("show", "up0")[0]["queues"]]

    command(*words, "--priority", "1-2=1", "--priority", "3=7")
    assert priorities() == [0, 1, 1, 7]
    uuid = server.vsctl("get", "qos", "up0", "queues:3")
    assert server.vsctl("get", "queue", uuid, "other_config:priority") == '"7"'
    assert command.json(*words)["changed"] is False
    command(*words, "--priority", "0=2")
    assert priorities() == [2, 0, 0, 0]


@pytest.mark.parametrize("text", ["1", "=1", "1=", "1=8", "3-1=1", "a=1", "1-=2", "1=-1", "0-61440=1"])
def test_a_priority_that_cannot_be_read_is_refused(
    command: Command, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SystemExit):
        command("apply", "up0", "--queues", "2", "--priority", text)
    assert "such as 1-3=1" in capsys.readouterr().err


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


@pytest.mark.ovs
def test_open_vswitch_gives_its_classes_the_priorities(capsys: pytest.CaptureFixture[str]) -> None:
    """On the kernel's HTB of a tap device; the userspace datapath does not schedule by it, so it gets no leaf."""
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        switch.add_bridge("br0", ("fl-up",))
        command = Command(switch.database, capsys)
        words = ("apply", "fl-up", "--rate", "1Gbit/s", "--queues", "3")
        done = command.json(*words, "--priority", "1=1", "--priority", "2=7")
        assert done["taken_over"]
        assert done["left_alone"] == ["fl-up: the userspace datapath does not schedule queues; no leaf"]

        def prios() -> dict[str, str]:
            shown = subprocess.run(
                ["tc", "class", "show", "dev", "fl-up"], check=True, capture_output=True, text=True
            ).stdout
            return dict(re.findall(r"^class htb (\S+) parent 1:fffe prio (\d+) ", shown, re.MULTILINE))

        assert prios() == {"1:1": "0", "1:2": "1", "1:3": "7"}
        switch.restart_vswitchd()
        assert prios() == {"1:1": "0", "1:2": "1", "1:3": "7"}
        command(*words, "--priority", "0=2")
        assert prios() == {"1:1": "2", "1:2": "0", "1:3": "0"}


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
