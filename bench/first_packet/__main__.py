"""How long the first packets of new flows take: through Flowlane, through a reactive controller, through NORMAL.

Usage: ``python -m bench.first_packet [--rates 100,2000] [--seconds 2] [--rounds 10] [--json FILE]`` (root).
Each way has a private Open vSwitch on the userspace datapath, in a network namespace of its own, with a VM and a far
host (``traffic.py``); all of them run from the beginning to the end, and take turns in an order that is
drawn anew for each round. Every flow sends ``--packets`` packets, 10 ms apart; only the first one is timed, and those
of each turn's first second are not (the switch fills its cache then). A controller stands still while it is not its
turn.

Copies: packets that met an entry that shows them to the controller. *Paused*: the controller stands still while packets
are timed, and reads its copies after: what the switch does by itself, as when the controller runs elsewhere.
``--kernel`` takes the machine's own Open vSwitch and its kernel datapath: for the lab, see ``in_lab.py``,
which also has the controllers run elsewhere (``--outside``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import requests
from bench.first_packet.results import Result, Taken, result, table
from bench.first_packet.traffic import WARM_UP, Load, Wire, drive, network_of_its_own, wire
from lab.inside import private_ovs
from lab.inside.private_ovs import PrivateOvs

if TYPE_CHECKING:
    from collections.abc import Iterator


_NOTE = "ct(commit,zone=5,exec(set_field:1->ct_mark,set_field:1->ct_label))"

ENTRIES = {
    "NORMAL": ("actions=NORMAL",),
    "by hand": (
        "priority=1,actions=NORMAL",
        "priority=2,in_port=1,udp,actions=ct(commit,table=1,zone=5)",
        "table=1,priority=2,udp,ct_mark=0,actions=group:1",
        "table=1,priority=1,actions=set_queue:0,output:2",
        f"table=2,udp,actions={_NOTE},controller(max_len=128),set_queue:0,output:2",
    ),
}
"""Ways without a controller: the entries. *By hand* is the least that places a flow on one of several queues by a hash
and shows each flow once, without the slow path: a connection tracker, the datapath's hash, and the copy."""

GROUP = "group_id=1,type=select,selection_method=dp_hash," + ",".join(
    f"bucket=bucket_id:{queue},actions=set_field:{queue + 1}->reg1,resubmit(,2)" for queue in range(4)
)

SETTINGS = {
    "Flowlane": "pins: {budget: 10000}",
    "Flowlane, paused": "pins: {budget: 10000}",
    "learn-after: 0": "pins: {budget: 10000}\nlearn-after: 0",
    "reactive": "pins: {which: reactive, budget: 10000}",
}
"""Ways with a controller: what the policy has besides."""

WAYS = ("NORMAL", "Flowlane", "Flowlane, paused", "by hand", "learn-after: 0", "reactive")

PAUSED = ("Flowlane, paused",)

POLICY = "version: 1\ncopy-rate: 100000\nclasses: {any: {}}\n"


class Place(NamedTuple):
    """Where a controller runs: a host, and its ports for OpenFlow and REST."""

    host: str
    openflow: int
    rest: int


HERE = Place("127.0.0.1", 16653, 18080)

PATIENCE = {"reactive": 2.0}
"""Seconds after a turn in which packets may still arrive, where it is not 0.5: the reactive way's wait in a queue."""

CATCH_UP = 2.0
"""Seconds for a controller that stood still to read what has come meanwhile, and to expire flows that have ended."""


class Way(NamedTuple):
    """One way, ready: its switch and bridge, the hosts beside it, and its controller's process where it runs here."""

    name: str
    ovs: PrivateOvs
    bridge: str
    ends: Wire
    process: int | None


def take_turn(way: Way, load: Load, first: int) -> Taken:
    """One turn of a way, with flows numbered from ``first``."""
    with at_work(way.process, way.name in PAUSED):
        sent, arrived = drive(way.ends, load, first, PATIENCE.get(way.name, 0.5))
    timed = {number: left for number, left in sent.items() if number - first >= load.rate * WARM_UP}
    waits = [(arrived[number] - left) / 1e3 for number, left in timed.items() if number in arrived]
    return Taken(waits, len(timed))


@contextlib.contextmanager
def at_work(process: int | None, afterwards: bool) -> Iterator[None]:
    """Let a process that stands still go on: for the block, or to catch up after it."""
    if process is None:
        yield
        return
    try:
        if not afterwards:
            os.kill(process, signal.SIGCONT)
            time.sleep(CATCH_UP)
        yield
        if afterwards:
            os.kill(process, signal.SIGCONT)
            time.sleep(CATCH_UP)
    finally:
        os.kill(process, signal.SIGSTOP)


class KernelOvs(PrivateOvs):
    """The Open vSwitch that runs already: a kernel has one datapath for it."""

    def __init__(self) -> None:
        super().__init__(Path("/run/openvswitch"), system=True)
        self.datapath = "system"

    def appctl(self, *arguments: str) -> str:
        """Run ovs-appctl against the ovs-vswitchd that runs already: its socket has its process in the name."""
        socket = next(self.directory.glob("ovs-vswitchd*.ctl"))
        return self._run("ovs-appctl", "-t", str(socket), *arguments)


@contextlib.contextmanager
def switch(number: int, kernel: bool) -> Iterator[tuple[PrivateOvs, str, Wire]]:
    """An Open vSwitch with a bridge between a VM and an uplink with queues, and the hosts at its ends."""
    vm, uplink, bridge = (f"flb-{what}{number}" for what in ("vm", "up", "br"))
    with contextlib.ExitStack() as stack:
        if not kernel:
            network_of_its_own()
        ends = stack.enter_context(wire(vm, uplink))
        ovs = KernelOvs() if kernel else stack.enter_context(private_ovs.running(system=True))
        ovs.add_bridge(bridge, (), dpid=0xF1 + number)
        stack.callback(ovs.vsctl, "--if-exists", "del-br", bridge)
        for place, name in enumerate((vm, uplink), start=1):
            port = ("add-port", bridge, name, "--", "set", "Interface", name, f"ofport_request={place}")
            ovs.vsctl(*port)
        ovs.vsctl("set", "Interface", vm, "external_ids:iface-id=vm")
        ovs.vsctl("set", "Interface", uplink, "external_ids:flowlane-port=uplink")
        ovs.set_queues(uplink, {queue: {} for queue in range(4)})
        yield ovs, bridge, ends


def shown(way: Way) -> int:
    """Packets that met an entry which shows them to the controller, after the switch has counted them."""
    time.sleep(1.5)
    lines = way.ovs.ofctl("dump-flows", way.bridge).splitlines()
    copying = (line for line in lines if "CONTROLLER" in line and "arp" not in line and "icmp" not in line)
    counts = (re.search(r"n_packets=(\d+)", line) for line in copying)
    return sum(int(found[1]) for found in counts if found)


@contextlib.contextmanager
def controller(ovs: PrivateOvs, bridge: str, place: Place, settings: str) -> Iterator[int]:
    """A Flowlane that has programmed the bridge, and stands still; its process."""
    with tempfile.TemporaryDirectory() as folder:
        policy, log = Path(folder) / "policy.yaml", Path(folder) / "log"
        policy.write_text(f"{POLICY}{settings}\n")
        command = [str(Path(sys.executable).parent / "flowlane-manager")]
        command += [f"--ofp-tcp-listen-port={place.openflow}", f"--wsapi-port={place.rest}"]
        command += [f"--ovsdb={ovs.database}", f"--policy={policy}"]
        with log.open("w") as out:
            # Mostly it runs elsewhere: here it gets the processors when the switch does not want them.
            process = subprocess.Popen(["chrt", "--idle", "0", *command], stdout=out, stderr=out)
        try:
            if not programmed(ovs, bridge, place):
                raise SystemExit(log.read_text())
            process.send_signal(signal.SIGSTOP)
            yield process.pid
        finally:
            process.terminate()
            process.send_signal(signal.SIGCONT)
            process.wait()


def programmed(ovs: PrivateOvs, bridge: str, place: Place) -> bool:
    """Give the bridge to a controller; whether it has programmed it within 100 s.

    Out of band, as a host's management network mostly is; and never given up for its silence.
    """
    settings = ("connection_mode=out-of-band", "inactivity_probe=0")
    target = f"tcp:{place.host}:{place.openflow}"
    ovs.vsctl("set-controller", bridge, target, "--", "set", "Controller", bridge, *settings)
    for _ in range(500):
        with contextlib.suppress(requests.ConnectionError):
            url = f"http://{place.host}:{place.rest}/v1/devices"
            if any(device["connected"] for device in requests.get(url, timeout=5).json()["items"]):
                time.sleep(3)
                return True
        time.sleep(0.2)
    return False


@contextlib.contextmanager
def ready(name: str, number: int, kernel: bool, outside: dict[str, Place]) -> Iterator[Way]:
    """A way with its switch: by itself, by a controller here or elsewhere."""
    with contextlib.ExitStack() as stack:
        ovs, bridge, ends = stack.enter_context(switch(number, kernel))
        process = None
        if name in ENTRIES:
            ovs.ofctl("add-group", bridge, GROUP, version="OpenFlow15")
            for entry in ENTRIES[name]:
                ovs.ofctl("add-flow", bridge, entry)
        elif name not in outside:
            place = Place(HERE.host, HERE.openflow + number, HERE.rest + number)
            process = stack.enter_context(controller(ovs, bridge, place, SETTINGS[name]))
        elif not programmed(ovs, bridge, outside[name]):
            raise SystemExit(f"the controller at {outside[name]} has not programmed the switch")
        yield Way(name, ovs, bridge, ends, process)


def run(
    names: list[str], loads: list[Load], rounds: int, kernel: bool, outside: dict[str, Place]
) -> list[Result]:
    """All ways in turn, and so again for each round; one load after the other."""
    results = []
    with contextlib.ExitStack() as stack:
        ways = [
            stack.enter_context(ready(name, number, kernel, outside)) for number, name in enumerate(names)
        ]
        first = 0
        for load in loads:
            before = {way.name: shown(way) for way in ways}
            taken: dict[str, list[Taken]] = {name: [] for name in names}
            flows = int(load.rate * (WARM_UP + load.seconds))
            for _ in range(rounds):
                for way in random.sample(ways, len(ways)):
                    taken[way.name].append(take_turn(way, load, first))
                first += flows
            for way in ways:
                copies = (shown(way) - before[way.name]) / (flows * rounds)
                turns = taken[way.name]
                results.append(result(way.name, load, turns, taken[names[0]], copies))
    return results


def main() -> None:
    """Run, print the table, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", default="100,2000")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--packets", type=int, default=3)
    parser.add_argument("--arrivals", nargs="+", default=["even"], choices=["even", "random"])
    parser.add_argument("--kernel", action="store_true")
    parser.add_argument(
        "--outside", nargs=4, action="append", default=[], metavar=("WAY", "HOST", "OPENFLOW", "REST")
    )
    given = parser.parse_args()
    loads = [
        Load(int(rate), given.seconds, given.packets, arrivals)
        for arrivals in given.arrivals
        for rate in given.rates.split(",")
    ]
    outside = {way: Place(host, int(of), int(rest)) for way, host, of, rest in given.outside}
    results = run(given.ways, loads, given.rounds, given.kernel, outside)
    print(table(results))
    if given.json:
        target = Path(os.environ.get("LAB_OUT", ""), given.json)
        target.write_text(json.dumps([result._asdict() for result in results], indent=1))


if __name__ == "__main__":
    main()
