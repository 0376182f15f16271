"""Two controllers, a database of three servers, and a real Open vSwitch: take-overs, and what the switch keeps."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from lab.inside import private_ovs
from lab.inside.database_servers import DatabaseServers, database
from lab.inside.manager import COMMAND, Launched, free_port, launched
from lab.inside.namespaces import inside, network_of_its_own

from flowlane.cli.main import main

pytestmark = pytest.mark.ovs

POLICY = b"""version: 1
classes: {default: {}, bulk: {priority: 2}}
rules: [{name: backups, match: {dst-port: 873}, class: bulk}]
"""
BRIDGES = {"br1": 1, "br2": 2}
_CHANGING = re.compile(r"(cookie|duration|n_packets|n_bytes|idle_age|hard_age)=[^,\s]*,? ?")


class Trial:
    """The controllers by name, their switch and their database."""

    def __init__(self, stack: ExitStack, servers: DatabaseServers, switch: private_ovs.PrivateOvs) -> None:
        self.stack, self.servers, self.switch = stack, servers, switch
        self.running: dict[str, Launched] = {}
        self.ports: dict[str, tuple[int, int]] = {}

    def start(self, name: str, command: tuple[str, ...] = COMMAND) -> Launched:
        """Start a controller; under one name always on the same ports."""
        openflow, rest = self.ports.setdefault(name, (free_port(), free_port()))
        options = (
            f"--database={self.servers.target}",
            f"--member={name}",
            f"--rest-url=http://127.0.0.1:{rest}",
        )
        ports = (f"--ofp-tcp-listen-port={openflow}", f"--wsapi-port={rest}")
        self.running[name] = self.stack.enter_context(launched(*options, *ports, command=command))
        return self.running[name]

    def led(self, name: str) -> list[int]:
        devices = self.running[name].rest("/v1/devices")["items"]
        return [int(device["dpid"], 16) for device in devices if device["connected"]]

    def all_led_by(self, *names: str) -> bool:
        return sorted(dpid for name in names for dpid in self.led(name)) == [1, 2]

    def entries(self) -> list[str]:
        """Every flow, group and meter of ours, without what changes by itself."""
        dumps = [
            self.switch.ofctl(command, bridge, version="OpenFlow15")
            for bridge in BRIDGES
            for command in ("dump-flows", "dump-groups", "dump-meters")
        ]
        return sorted(_CHANGING.sub("", line) for dump in dumps for line in dump.splitlines()[1:])

    def settled(self) -> list[str]:
        """Return the entries once they have not changed for a second."""
        before = self.entries()
        while True:
            time.sleep(1)
            if before == (now := self.entries()):
                return now
            before = now

    def roles(self) -> list[str]:
        return sorted(self.switch.vsctl("--bare", "--columns=role", "list", "Controller").split())


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    addresses = tuple(f"tcp:127.0.0.1:{free_port()}" for _ in range(3))
    with ExitStack() as stack:
        servers = stack.enter_context(database(addresses))
        made = Trial(stack, servers, stack.enter_context(private_ovs.running()))
        for name in "ab":
            made.start(name)
        for bridge, dpid in BRIDGES.items():
            made.switch.add_bridge(bridge, (f"{bridge}p1", f"{bridge}p2"), dpid=dpid)
            targets = [f"tcp:127.0.0.1:{openflow}" for openflow, _rest in made.ports.values()]
            made.switch.vsctl("set-controller", bridge, *targets)
        yield made


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> float:
    """Wait for a condition; return the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "not in time"
        time.sleep(0.02)
    return time.monotonic() - began


def test_each_leads_its_share_and_has_what_the_other_was_told(trial: Trial) -> None:
    wait_for(lambda: len(trial.led("a")) == len(trial.led("b")) == 1)
    wait_for(lambda: trial.roles() == ["master", "master", "slave", "slave"])
    a, b = trial.running["a"], trial.running["b"]
    members = a.rest("/v1/members")["items"]
    assert [(member["name"], member["is_own"], len(member["devices"])) for member in members] == [
        ("a", True, 1),
        ("b", False, 1),
    ]
    (elsewhere,) = trial.led("b")
    assert a.rest(f"/v1/devices/{elsewhere:016x}")["connected"], "the request went on to b"
    vm = a.rest("/v1/vms")["items"][0]["id"]
    b.put("/v1/policy", POLICY, "application/yaml")
    body = json.dumps({"hints": [{"class": "bulk", "match": {"dst-port": 80}}]}).encode()
    wait_for(lambda: [one["name"] for one in a.rest("/v1/policy")["classes"]] == ["default", "bulk"])
    a.put(f"/v1/vms/{vm}/hints", body, "application/json")
    wait_for(lambda: "bulk" in trial.servers.dump("Order"))


def test_a_token_of_the_database_counts_on_both_and_either_shows_what_both_lead(
    trial: Trial, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(lambda: len(trial.led("a")) == len(trial.led("b")) == 1)
    where, urls = (
        ("--database", trial.servers.target),
        [f"http://127.0.0.1:{rest}" for _, rest in trial.ports.values()],
    )
    assert main(["token", "add", "alice", "--scope", "read", *where]) == 0
    try:
        monkeypatch.setenv("FLOWLANE_TOKEN", "flowlane_wrong")
        for url in urls:
            wait_for(lambda url=url: main(["status", "--url", url]) == 1)  # type: ignore[misc]
        monkeypatch.setenv("FLOWLANE_TOKEN", capsys.readouterr().out.strip().splitlines()[0])
        for url in urls:
            wait_for(lambda url=url: main(["devices", "-o", "wide", "--url", url]) == 0)  # type: ignore[misc]
            shown = capsys.readouterr().out
            assert (shown.count(" up "), shown.count(" down ")) == (2, 0)
    finally:
        assert main(["token", "remove", "alice", "--admit-everybody", *where]) == 0
    wait_for(lambda: main(["status", "--url", urls[0]]) == 0)


def seconds_until_taken_over(trial: Trial, end: Callable[[Launched], None]) -> float:
    """End controller a, and start it again; return after how many seconds b led all switches, which keep everything."""
    wait_for(lambda: len(trial.led("a")) == len(trial.led("b")) == 1)
    before, ended = trial.entries(), trial.running.pop("a")
    end(ended)
    seconds = wait_for(lambda: trial.all_led_by("b"), 15)
    ended.process.wait(10)
    wait_for(lambda: trial.entries() == before, 5)
    assert "its connection has ended" not in trial.running["b"].log, "b leads by the connections that it had"
    trial.start("a")
    return seconds


@pytest.mark.parametrize(
    ("end", "limit"),
    [
        (lambda controller: controller.process.terminate(), 1.0),
        (lambda controller: controller.process.kill(), 3.0),
    ],
    ids=["stopped", "kill -9"],
)
def test_another_controller_leads_in_time(
    trial: Trial, end: Callable[[Launched], None], limit: float
) -> None:
    """Three tries, since the machine may do something else just then; what the switch keeps counts in each."""
    assert any(seconds_until_taken_over(trial, end) < limit for _ in range(3))
    policy = trial.running["a"].rest("/v1/policy")
    assert [one["name"] for one in policy["classes"]] == ["default", "bulk"]


def test_one_of_three_servers_is_lost_and_nothing_else(trial: Trial) -> None:
    wait_for(lambda: trial.all_led_by("a", "b"))
    before, rows = trial.entries(), trial.servers.dump("Order", "kind", "name", "content")
    lost = trial.servers.leader()
    trial.servers.kill(lost)
    trial.running["a"].put("/v1/policy", POLICY + b"# 2\n", "application/yaml")
    wait_for(lambda: "# 2" in trial.servers.dump("Policy"))
    wait_for(lambda: trial.all_led_by("a", "b"))
    assert trial.servers.dump("Order", "kind", "name", "content") == rows
    assert trial.entries() == before
    trial.servers.start(lost)
    trial.servers.wait_for(lost)


STOPPING = """
import os, signal, sys
from pathlib import Path
from flowlane import hub, manager
hub.prepare()
from flowlane.southbound.openflow.session.outbox import Outbox
take, marker, flow_mod = Outbox._take, Path(sys.argv.pop(1)), 14
def stopping(outbox):
    data = take(outbox)
    if data[1] == flow_mod and marker.exists():
        marker.rename(marker.with_suffix('.stopped'))
        os.kill(os.getpid(), signal.SIGSTOP)
    return data
Outbox._take = stopping
sys.exit(manager.main())
"""
"""A controller that stops itself where it is about to write an entry to a switch, while there is a file."""


def test_a_leader_that_was_stopped_before_a_write_for_longer_than_its_lease_changes_nothing(
    trial: Trial, tmp_path: Path
) -> None:
    """It has looked at its lease and goes on with its write when another leads: the switch refuses that (roles)."""
    marker = tmp_path / "stop"
    trial.running.pop("a").stop()
    a = trial.start("a", (sys.executable, "-c", STOPPING, str(marker)))
    wait_for(lambda: len(trial.led("a")) == len(trial.led("b")) == 1)
    b, (dpid,) = trial.running["b"], trial.led("a")
    bridge, port, right = f"br{dpid}", f"br{dpid}p1", trial.settled()
    marker.touch()
    trial.switch.vsctl("del-port", bridge, port)
    wait_for(marker.with_suffix(".stopped").exists)
    try:
        wait_for(lambda: trial.all_led_by("b"))
        trial.switch.add_port(bridge, port, 1)
        wait_for(lambda: trial.settled() == right)
        repairs = repairs_of(b)
    finally:
        a.process.send_signal(signal.SIGCONT)
    while not ("it joins them again" in a.log and trial.roles().count("master") == len(BRIDGES)):
        assert trial.entries() == right
    assert repairs_of(b) == repairs, "nothing was taken away that b has put back"
    wait_for(lambda: len(trial.led("a")) == len(trial.led("b")) == 1)
    assert trial.settled() == right


def repairs_of(controller: Launched) -> list[str]:
    return [line for line in controller.text("/metrics").splitlines() if line.startswith("flowlane_repairs")]


# ---- a cut network


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def cable(name: str, namespace: str, net: int) -> Iterator[None]:
    """A cable from this network, address .1, into a namespace, address .2."""
    ip("link", "add", name, "type", "veth", "peer", "name", "far", "netns", namespace)
    ip("addr", "add", f"10.99.{net}.1/24", "dev", name)
    ip("-n", namespace, "addr", "add", f"10.99.{net}.2/24", "dev", "far")
    ip("-n", namespace, "link", "set", "far", "name", name)
    for words in ((), ("-n", namespace)):
        ip(*words, "link", "set", name, "up")
    yield


def moment_of(log: str, text: str) -> float:
    """When a line with a text was logged last, in seconds."""
    line = next(line for line in reversed(log.splitlines()) if text in line)
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()


def test_a_member_that_is_cut_off_from_the_database_stands_by_before_another_leads() -> None:
    with ExitStack() as stack:
        stack.enter_context(network_of_its_own())
        namespace = "fl-cut"
        ip("netns", "add", namespace)
        stack.callback(ip, "netns", "delete", namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
        stack.enter_context(cable("fl-db", namespace, 1))
        stack.enter_context(cable("fl-of", namespace, 2))
        servers = stack.enter_context(database())
        servers.kill(0)
        servers.start(0, "--remote=ptcp:6645:10.99.1.1")
        servers.wait_for(0)
        switch = stack.enter_context(private_ovs.running())
        options = ("--ofp-listen-host=0.0.0.0", "--ofp-tcp-listen-port=6653")
        with inside(namespace):
            cut = stack.enter_context(launched("--database=tcp:10.99.1.1:6645", "--member=cut", *options))
        switch.add_bridge("br1", ("p1", "p2"), dpid=1)
        switch.vsctl("set-controller", "br1", "tcp:10.99.2.2:6653")
        wait_for(lambda: "is connected from" in cut.log)
        other = stack.enter_context(launched(f"--database={servers.target}", "--member=other"))
        switch.vsctl("set-controller", "br1", "tcp:10.99.2.2:6653", f"tcp:127.0.0.1:{other.openflow_port}")
        role = ("--bare", "--columns=role", "list", "Controller")
        wait_for(lambda: sorted(switch.vsctl(*role).split()) == ["master", "slave"])
        ip("link", "set", "fl-db", "down")
        wait_for(lambda: "is connected from" in other.log)
        assert moment_of(cut.log, "this controller stands by") < moment_of(other.log, "is dead")
        wait_for(lambda: sorted(switch.vsctl(*role).split()) == ["master", "slave"])
        ip("link", "set", "fl-db", "up")
        wait_for(lambda: "it joins them again" in cut.log)
