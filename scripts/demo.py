"""The demo: a network, its queues, the controller and traffic, shown over REST while they run.

It runs in the private namespaces of ``./run demo`` (see mininet/private): every program that it starts ends
with them. The flows are read over REST, as any user of the controller would.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import requests
from rich.console import Console
from rich.live import Live
from scripts.demo_view import (
    after_words,
    assignment_table,
    class_table,
    flow_text,
    line,
    live_view,
    network_text,
    queue_text,
)

from flowlane import topology

ROOT = Path(__file__).resolve().parent.parent
TOPOLOGY = ROOT / "topologies" / "demo.yaml"
POLICY = ROOT / "docs" / "policies" / "demo.yaml"
REST = "http://127.0.0.1:8080"
TRAFFIC = ("/usr/bin/python3", str(ROOT / "mininet" / "traffic.py"))
REMOTE = "REMOTE"
"""In a program: the address of the machine beyond the wire in the VM's VLAN."""

console = Console(highlight=False)
if not console.is_terminal:
    console.width = 120


class DemoError(Exception):
    """A step of the demo failed; the text says which, and why."""


class Wave(NamedTuple):
    """Traffic of one kind: second of its start, VMs that send it, description, and the program that sends it."""

    start: float
    vms: tuple[str, ...]
    about: str
    program: tuple[str, ...]


def small_flows(udp: int, tcp: int, *more: str) -> tuple[str, ...]:
    """Return the program for requests of 64 bytes with answers, five a second in each flow."""
    return (
        *TRAFFIC,
        "flows",
        "--to",
        REMOTE,
        "--seconds",
        "86000",
        "--udp",
        str(udp),
        "--tcp",
        str(tcp),
        *more,
    )


def bulk(port: int, rate: str, seconds: float) -> tuple[str, ...]:
    """Return the program for TCP at a steady rate, low enough for a machine without hardware queues."""
    return ("iperf3", "-c", REMOTE, "-p", str(port), "-b", rate, "-t", str(round(seconds)), "-i", "0")


def waves(seconds: float) -> list[Wave]:
    """Return all traffic by its start. Bulk TCP ends before the demo does, so that its queue becomes free."""
    six = tuple(f"vm{n}" for n in range(1, 7))
    return [
        Wave(1, six, "requests and answers, 4 UDP and 2 TCP flows each", small_flows(4, 2)),
        Wave(
            4,
            ("vm3", "vm4"),
            "marked DSCP 46 (voice), 4 flows each",
            small_flows(4, 0, "--dscp", "46", "--port", "7001"),
        ),
        Wave(6, ("vm7",), "bulk TCP, 30 Mbit/s", bulk(5201, "30M", seconds * 0.6)),
        Wave(8, ("vm8",), "bulk TCP, 15 Mbit/s", bulk(5202, "15M", 86000)),
        Wave(10, ("vm5",), "backup to port 873, limited by the policy", bulk(873, "12M", 86000)),
        Wave(10, ("vm6",), "backup to port 874, limited by the policy", bulk(874, "12M", 86000)),
    ]


class Stage:
    """The programs of the demo, and the Mininet hosts in which they run."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.hosts: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *program: str) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own, so that it outlives this one; its output goes to a file."""
        with (self.logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                program,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def in_host(self, host: str, name: str, *program: str) -> None:
        """Start a program in the network of a Mininet host."""
        self.start(f"{host}-{name}", "nsenter", "--target", str(self.hosts[host]["pid"]), "--net", *program)

    def remotes(self) -> list[str]:
        """Return the names of the machines beyond the wire."""
        return [name for name, host in self.hosts.items() if host["kind"] == "remote"]

    def remote_of(self, vm: str) -> dict[str, Any]:
        """Return the machine beyond the wire in the VLAN of a VM."""
        tag = self.hosts[vm].get("tag")
        return next(self.hosts[name] for name in self.remotes() if self.hosts[name].get("tag") == tag)

    def output(self, name: str) -> str:
        """Return what a program has printed so far."""
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def check(self) -> None:
        """Raise DemoError when a program has ended with an error."""
        for name, process in self.processes.items():
            if process.poll():
                raise DemoError(f"{name} ended with status {process.returncode}\n{self.output(name)[:500]}")

    def wait(self, what: str, name: str, limit: float, ready: Any) -> Any:
        """Wait until ``ready()`` is true; raise DemoError after ``limit`` s, or when the program has ended."""
        end = time.monotonic() + limit
        while not (result := ready()):
            if self.processes[name].poll() is not None or time.monotonic() > end:
                raise DemoError(f"{what}\n{self.output(name)[-2000:]}")
            time.sleep(0.1)
        return result


def start_network(stage: Stage) -> str:
    """Start the hosts and the bridge; return the kind of datapath."""
    network = stage.logs / "network.json"
    network.write_text(json.dumps(topology.load(TOPOLOGY)))
    lab = ("/usr/bin/python3", str(ROOT / "mininet" / "lab.py"), str(network))
    stage.start("network", *lab, "--controller", "tcp:127.0.0.1:6653", "--control", "/tmp/lab.sock")
    report = stage.wait(
        "the network did not start", "network", 60, lambda: _last_json(stage.output("network"))
    )
    stage.hosts = report["hosts"]
    return str(report["datapath"])


def _last_json(text: str) -> Any:
    lines = [entry for entry in text.splitlines() if entry.startswith("{")]
    return json.loads(lines[-1]) if lines else None


def make_queues() -> None:
    """Make the queues of the topology file with ``flowlane qos``."""
    for place, queues in topology.load(TOPOLOGY)["queues"].items():
        port = place.partition("/")[2]
        command = [str(ROOT / ".venv/bin/flowlane"), "qos", "apply", port, "--queues", str(queues["count"])]
        command += ["--rate", queues["rate"], "--min-rate", queues["min_rate"]]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise DemoError(f"{' '.join(command[1:])}\n{done.stdout}{done.stderr}")


def get(path: str) -> Any:
    """Get one answer of the controller."""
    answer = requests.get(REST + path, timeout=10)
    answer.raise_for_status()
    return answer.json()


def get_all(path: str) -> list[dict[str, Any]]:
    """Get all items of a paged list."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = get(path + cursor)
        items += page["items"]
        if not page.get("next"):
            return items
        cursor = f"{'&' if '?' in path else '?'}cursor={page['next']}"


def connected() -> bool:
    """Return whether the controller answers and a device is connected."""
    try:
        return bool(get("/v1/status")["devices"]["connected"])
    except requests.RequestException:
        return False


def start_controller(stage: Stage, policy: Path | None) -> None:
    """Start the controller as a user would."""
    program = [str(ROOT / ".venv/bin/flowlane-manager")]
    state = stage.logs / "state"
    shutil.rmtree(state, ignore_errors=True)  # Each demo begins with the policy that it was given.
    program += ["--database", "embedded", "--state-dir", str(state)]
    if policy is not None:
        program += ["--policy", str(policy)]
    stage.start("controller", *program)
    stage.wait("the controller did not start", "controller", 30, connected)


def start_servers(stage: Stage) -> None:
    """Start the servers at the far end of the wire, in each VLAN."""
    for remote in stage.remotes():
        stage.in_host(remote, "echo", *TRAFFIC, "serve", "--ports", "7000-7001")
        for port in ("5201", "5202", "873", "874"):
            stage.in_host(remote, f"iperf3-{port}", "iperf3", "-s", "-p", port)
    for remote in stage.remotes():
        echo = f"{remote}-echo"
        stage.wait(
            "the remote end does not answer", echo, 10, lambda echo=echo: "serving" in stage.output(echo)
        )


def snapshot() -> dict[str, Any]:
    """Read ports, queues, assignments and names of VMs."""
    dpid = get("/v1/devices")["items"][0]["dpid"]
    return {
        "ports": get_all(f"/v1/devices/{dpid}/ports"),
        "queues": get_all(f"/v1/devices/{dpid}/queues"),
        "assignments": get_all("/v1/assignments"),
        "vms": {vm["id"]: vm["name"] for vm in get_all("/v1/vms")},
    }


def start_wave(stage: Stage, wave: Wave, number: int) -> None:
    """Start the program of a wave in each of its VMs."""
    for vm in wave.vms:
        remote = stage.remote_of(vm)["ip"].partition("/")[0]
        program = (remote if word == REMOTE else word for word in wave.program)
        stage.in_host(vm, f"wave{number}", *program)


def exclusive_flows(shown: dict[str, Any]) -> dict[str, str]:
    """Describe the flows that have a queue to themselves, by their id."""
    flows = [item for item in shown["assignments"] if item["reason"] == "exclusive"]
    return {
        item["flow"]: f"{shown['vms'].get(item['vm'])}: {flow_text(item)}, {queue_text(item)}"
        for item in flows
    }


def changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Describe the flows that got an exclusive queue, and those that no longer have one."""
    got = [f"{now[flow]} is exclusive" for flow in now.keys() - before.keys()]
    return got + [f"{before[flow]} is free again" for flow in before.keys() - now.keys()]


def watch(stage: Stage, seconds: float) -> dict[str, Any]:
    """Start one wave after the other, and show once a second which queues the flows are on."""
    begun, coming, news = time.monotonic(), waves(seconds), list[str]()
    state = snapshot()
    with Live(console=console, refresh_per_second=4) if console.is_terminal else _NoLive() as live:
        while (passed := time.monotonic() - begun) < seconds:
            printed = len(news)
            while coming and coming[0].start <= passed:
                wave = coming.pop(0)
                start_wave(stage, wave, len(coming))
                news.append(f"{passed:4.0f} s  {', '.join(wave.vms)}: {wave.about}")
            stage.check()
            before, state = exclusive_flows(state), snapshot()
            news += [f"{passed:4.0f} s  {text}" for text in changes(before, exclusive_flows(state))]
            if console.is_terminal:
                live.update(live_view(state, news, passed, seconds))
            else:
                for text in news[printed:] + ([line(state, passed)] if round(passed) % 3 == 0 else []):
                    console.print(text, soft_wrap=True)
            time.sleep(1)
    return state


class _NoLive:
    """Takes the place of the live view where there is no terminal."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: nothing was drawn."""


def progress(text: str) -> None:
    """Print a line of progress."""
    console.print(f"[bold]==>[/bold] {text}")


def play(arguments: argparse.Namespace) -> None:
    """Run the demo."""
    stage = Stage(arguments.logs)
    policy = arguments.policy or (POLICY if POLICY.exists() else None)
    progress(f"network: {TOPOLOGY.relative_to(ROOT)}")
    datapath = start_network(stage)
    progress("queues of the bond: flowlane qos apply")
    make_queues()
    progress(f"controller: flowlane-manager, policy {policy or 'built-in'}, REST at {arguments.url}")
    start_controller(stage, policy)
    if datapath == "user":
        progress(
            "[yellow]no openvswitch kernel module here: the userspace datapath is used,"
            " where queues are assigned but not scheduled[/yellow]"
        )
    progress(f"traffic for {arguments.seconds:.0f} s")
    start_servers(stage)
    state = watch(stage, arguments.seconds)
    console.print(network_text(state["ports"]), soft_wrap=True)
    console.print(assignment_table(state["assignments"], state["vms"]))
    console.print(class_table(get("/v1/policy"), state["assignments"], state["queues"]))
    after_words(console, datapath, arguments.url, arguments.keep, arguments.logs)
    if not state["assignments"]:
        raise DemoError("no flow was assigned; see controller.log")


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--url", default=REST)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--policy", type=Path)
    try:
        play(parser.parse_args())
    except DemoError as failure:
        console.print(f"[red]failed:[/red] {failure}", markup=True)
        return 1
    except KeyboardInterrupt:
        console.print("\ninterrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
