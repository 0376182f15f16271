"""How long the first packets of new flows take: through Flowlane, through a reactive controller, through NORMAL.

Usage: ``unshare --net bench/first_packet.py [--rates 100,2000] [--seconds 5] [--json FILE]`` (root, Open vSwitch).
A private Open vSwitch on the userspace datapath has tap devices as ports; what goes in and comes out there is in
``first_packet_traffic.py``. Every flow sends ``--packets`` packets, 10 ms apart; only the first one is timed, and those
of each run's first second are not (the switch fills its cache then). Copies: packets that met an entry that shows them
to the controller. *Paused*: the controller stands still while packets are timed, and reads its copies after: what the
switch does by itself, as when the controller runs elsewhere. ``--kernel`` takes the machine's own Open vSwitch and its
kernel datapath: for the lab, see ``first_packet_lab.py``, which also has the controllers run elsewhere (``--outside``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import openvswitch  # noqa: E402
import requests  # noqa: E402
from first_packet_traffic import UP, VM, WARM_UP, Load, drive  # noqa: E402
from openvswitch import PrivateOvs  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator


BRIDGE = "flb-br"

SETTINGS = {
    "NORMAL": "",
    "Flowlane": "pins: {budget: 10000}",
    "Flowlane, paused": "pins: {budget: 10000}",
    "learn-after: 0": "pins: {budget: 10000}\nlearn-after: 0",
    "reactive": "pins: {which: reactive, budget: 10000}",
}
"""Way -> what its policy has besides; none for NORMAL."""

PAUSED = ("Flowlane, paused",)

POLICY = "version: 1\ncopy-rate: 100000\nclasses: {any: {}}\n"


class Place(NamedTuple):
    """Where a controller runs: a host, and its ports for OpenFlow and REST."""

    host: str
    openflow: int
    rest: int


HERE = Place("127.0.0.1", 16653, 18080)


class Result(NamedTuple):
    """All rounds of one way. Latencies in microseconds: the median round's, and the best and worst round's p99.

    ``ratios``: p99 against the first way's in the same round; the lower quartile, the median, the upper quartile.
    """

    way: str
    rate: int
    packets: int
    flows: int
    p50: float
    p99: float
    p99_best: float
    p99_worst: float
    ratios: tuple[float, float, float]
    lost: int
    copies: float


class Taken(NamedTuple):
    """What one round told: the waits of first packets (us), how many were timed, and copies per flow begun."""

    waits: list[float]
    timed: int
    copies: float


def measure(load: Load, first: int, ovs: PrivateOvs, pause: int | None) -> Taken:
    """One round, with the copies counted by the switch; ``pause`` is a process that stands still meanwhile."""
    before = shown(ovs)
    with paused(pause):
        sent, arrived = drive(load, first)
    timed = {number: left for number, left in sent.items() if number - first >= load.rate * WARM_UP}
    waits = [(arrived[number] - left) * 1e6 for number, left in timed.items() if number in arrived]
    return Taken(waits, len(timed), (shown(ovs) - before) / len(sent))


@contextlib.contextmanager
def paused(process: int | None) -> Iterator[None]:
    """Have a process stand still; a switch gives its controller up only when it is silent for 10 s."""
    if process is None:
        yield
        return
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def result(way: str, load: Load, rounds: list[Taken], beside: list[Taken]) -> Result:
    """All rounds of one way and load together; ``beside``: the same rounds of the way that it is held against."""
    flows = sum(taken.timed for taken in rounds)
    lost = flows - sum(len(taken.waits) for taken in rounds)
    copies = sum(taken.copies for taken in rounds) / len(rounds)
    p50s = [quantile(taken.waits, 0.5) for taken in rounds]
    p99s = [quantile(taken.waits, 0.99) for taken in rounds]
    against = [p99 / quantile(other.waits, 0.99) for p99, other in zip(p99s, beside, strict=True)]
    ratios = (quantile(against, 0.25), quantile(against, 0.5), quantile(against, 0.75))
    p50, p99 = quantile(p50s, 0.5), quantile(p99s, 0.5)
    return Result(way, load.rate, load.packets, flows, p50, p99, min(p99s), max(p99s), ratios, lost, copies)


def quantile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the values lie (nearest rank); infinite without any."""
    return sorted(values)[int(len(values) * share)] if values else float("inf")


class KernelOvs(PrivateOvs):
    """The Open vSwitch that runs already: a kernel has one datapath for it. The bridge is ours, and goes."""

    def __init__(self) -> None:
        super().__init__(Path("/run/openvswitch"), system=True)
        self.datapath = "system"

    def close(self) -> None:
        self.vsctl("--if-exists", "del-br", BRIDGE)


@contextlib.contextmanager
def switch(kernel: bool) -> Iterator[PrivateOvs]:
    """An Open vSwitch with a bridge between the VM's device and the uplink."""
    with contextlib.ExitStack() as stack:
        ovs = stack.enter_context(
            contextlib.closing(KernelOvs()) if kernel else openvswitch.running(system=True)
        )
        ovs.add_bridge(BRIDGE, (VM, UP), dpid=0xF1)
        ovs.vsctl("set", "Interface", VM, "external_ids:iface-id=vm")
        ovs.vsctl("set", "Interface", UP, "external_ids:flowlane-port=uplink")
        ovs.set_queues(UP, {number: {} for number in range(4)})
        for name in (VM, UP):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield ovs


def shown(ovs: PrivateOvs) -> int:
    """Packets that met an entry which shows them to the controller, after the switch has counted them."""
    time.sleep(1.5)
    lines = ovs.ofctl("dump-flows", BRIDGE).splitlines()
    copying = (line for line in lines if "CONTROLLER" in line and "arp" not in line and "icmp" not in line)
    counts = (re.search(r"n_packets=(\d+)", line) for line in copying)
    return sum(int(found[1]) for found in counts if found)


@contextlib.contextmanager
def controller(ovs: PrivateOvs, settings: str) -> Iterator[int]:
    """A Flowlane that has programmed the bridge; its process."""
    with tempfile.TemporaryDirectory() as folder:
        policy, log = Path(folder) / "policy.yaml", Path(folder) / "log"
        policy.write_text(f"{POLICY}{settings}\n")
        command = [str(Path(sys.executable).parent / "flowlane-manager")]
        command += [f"--ofp-tcp-listen-port={HERE.openflow}", f"--wsapi-port={HERE.rest}"]
        command += [f"--ovsdb={ovs.database}", f"--policy={policy}"]
        with log.open("w") as out:
            # Mostly it runs elsewhere: here it gets the processors when the switch does not want them.
            process = subprocess.Popen(["chrt", "--idle", "0", *command], stdout=out, stderr=out)
        try:
            if not programmed(ovs, HERE):
                raise SystemExit(log.read_text())
            yield process.pid
        finally:
            process.terminate()
            process.wait()


def programmed(ovs: PrivateOvs, place: Place) -> bool:
    """Give the bridge to a controller; whether it has programmed it within 100 s."""
    ovs.vsctl("set-controller", BRIDGE, f"tcp:{place.host}:{place.openflow}")
    for _ in range(500):
        with contextlib.suppress(requests.ConnectionError):
            url = f"http://{place.host}:{place.rest}/v1/devices"
            if any(device["connected"] for device in requests.get(url, timeout=5).json()["items"]):
                time.sleep(3)
                return True
        time.sleep(0.2)
    return False


@contextlib.contextmanager
def driven(ovs: PrivateOvs, way: str, outside: dict[str, Place]) -> Iterator[int | None]:
    """The bridge as a way has it: by itself, by a controller here or elsewhere; the process to be paused, if any."""
    if not SETTINGS[way]:
        ovs.ofctl("add-flow", BRIDGE, "actions=NORMAL")
        yield None
    elif way not in outside:
        with controller(ovs, SETTINGS[way]) as process:
            yield process if way in PAUSED else None
    elif programmed(ovs, outside[way]):
        yield None
    else:
        raise SystemExit(f"the controller at {outside[way]} has not programmed the switch")


def run(
    ways: list[str], loads: list[Load], rounds: int, kernel: bool, outside: dict[str, Place]
) -> list[Result]:
    """All ways in turn, with all loads, and so again for each round."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    taken: dict[tuple[str, Load], list[Taken]] = {(way, load): [] for way in ways for load in loads}
    for _ in range(rounds):
        for way in ways:
            with switch(kernel) as ovs, driven(ovs, way, outside) as pause:
                for place, load in enumerate(loads):
                    taken[way, load].append(measure(load, place * 100_000, ovs, pause))
    return [result(way, load, found, taken[ways[0], load]) for (way, load), found in taken.items()]


def table(results: list[Result]) -> str:
    """The results for the documentation."""
    head = (
        "| way | new flows/s | packets each | flows | p50 (µs) | p99 (µs) | p99 of rounds "
        "| p99, times the first way's | lost | copies per flow |\n" + "|---" * 10 + "|\n"
    )
    return head + "".join(
        f"| {r.way} | {r.rate} | {r.packets} | {r.flows} | {r.p50:.0f} | {r.p99:.0f}"
        f" | {r.p99_best:.0f} to {r.p99_worst:.0f} | {r.ratios[1]:.2f} ({r.ratios[0]:.2f} to {r.ratios[2]:.2f})"
        f" | {r.lost} | {r.copies:.2f} |\n"
        for r in results
    )


def main() -> None:
    """Run, print the table, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", default="100,2000")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ways", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--packets", type=int, default=3)
    parser.add_argument("--kernel", action="store_true")
    parser.add_argument(
        "--outside", nargs=4, action="append", default=[], metavar=("WAY", "HOST", "OPENFLOW", "REST")
    )
    given = parser.parse_args()
    loads = [Load(int(rate), given.seconds, given.packets) for rate in given.rates.split(",")]
    outside = {way: Place(host, int(of), int(rest)) for way, host, of, rest in given.outside}
    results = run(given.ways, loads, given.rounds, given.kernel, outside)
    print(table(results))
    if given.json:
        target = Path(os.environ.get("LAB_OUT", ""), given.json)
        target.write_text(json.dumps([result._asdict() for result in results], indent=1))


if __name__ == "__main__":
    main()
