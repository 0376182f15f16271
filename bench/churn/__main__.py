"""Flows that come and go for an hour: memory, descriptors, faults, and whether core, REST and switch still agree.

Usage: ``python -m bench.churn [--minutes 60] [--rate 2000] [--warm-up 5] [--share 1.0] [--json FILE]`` (root).
A private Open vSwitch on the userspace datapath, in a network namespace of its own, has four VMs and an uplink with
queues. All VMs together begin ``--rate`` UDP flows a second, of two packets each, one in ten of twelve; beside them 200
flows send all the time. Every ten seconds the controller's memory (resident set), descriptors and faults are read.
Every minute the placements of the 200 flows are compared: REST's with those in the switch's tables
(``lab/inside/compare.py``); a difference counts that is still there two seconds later. When no more flows begin, both
must agree about them within a minute. At the end, when all flows have ended, the switch must have the entries, groups
and meters that it had before them, and REST no flow.

The slope is that of a straight line through all readings after the warm-up (least squares). ``--share`` lets the
controller run for a part of the time only (SIGSTOP, SIGCONT), as on a machine where others want the processor: it reads
too little then, and the switch drops copies.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import signal
import socket
import statistics
import struct
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.hostile.attacks import FAR_MAC, UDP, arp, ipv4, udp
from lab.inside import compare, private_ovs
from lab.inside.dump_flows import read_entry
from lab.inside.manager import Launched, launched, wait_for
from lab.inside.namespaces import add_veth_pairs, network_of_its_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.inside.private_ovs import PrivateOvs

BRIDGE, DPID, UPLINK = "flc-br", 0xC0DE, "flc-up"
VMS, QUEUES = 4, 8
LONG, LONG_PACKETS = 10, 12
"""One flow in so many sends so many packets, and gets an entry of its own."""

STEADY = 200
"""Flows that send all the time, from ports below those of the others."""

STEADY_PORT, FIRST_PORT = 1024, 2000
POLICY = "version: 1\nclasses: {any: {}}\ncopy-rate: 5000\n"
STEP = 0.005
CONVERGE = 60
"""Seconds that REST has to agree with the switch when no more flows begin."""

PERIOD = 0.2
"""Seconds, of which a controller that is held back runs for a part."""

ENTRIES_OF_TRAFFIC = (3, 4, 5)
"""Kinds of cookies: pins, learned entries, counters of groups."""


class Reading(NamedTuple):
    """One reading: seconds, resident memory (kB), descriptors, flows, faults."""

    seconds: float
    memory: int
    descriptors: int
    flows: int
    faults: int


def _device(vm: int) -> str:
    return f"flc-vm{vm}"


def _address(vm: int) -> tuple[bytes, bytes]:
    return bytes((2, 0, 0, 0, 1, vm)), bytes((10, 8, 0, vm))


def _senders() -> tuple[list[socket.socket], list[bytearray]]:
    """Open a socket for each VM, and make a frame of it whose ports are to be filled in."""
    out = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW) for _ in range(VMS)]
    frames = []
    for vm, sock in enumerate(out):
        sock.bind((f"{_device(vm)}-in", 0))
        mac, ip = _address(vm)
        frames.append(bytearray(ipv4(ip, UDP, udp(0, 9), mac=mac)))
    return out, frames


def send_steady() -> None:
    """Send a packet of each steady flow four times a second, for ever."""
    out, frames = _senders()
    while True:
        for number in range(STEADY):
            struct.pack_into("!HH", frames[number % VMS], 34, STEADY_PORT + number, 9)
            out[number % VMS].send(frames[number % VMS])
        time.sleep(0.25)


def send(rate: int) -> None:
    """Send new flows at a rate, for ever."""
    out, frames = _senders()
    begin, sent = time.monotonic(), 0
    later: list[tuple[int, int, int]] = []
    while True:
        spent = time.monotonic() - begin
        due = min(int(spent * rate), sent + rate)
        again = [place for place in later if place[0] <= sent]
        later = [place for place in later if place[0] > sent]
        batch = [(number % VMS, _port(number)) for number in range(sent, due)]
        later += [
            (due + packet * rate // 50, vm, port)
            for vm, port in batch
            for packet in range(1, 2 if port % LONG else LONG_PACKETS)
        ]
        for vm, port in (*batch, *((vm, port) for _, vm, port in again)):
            struct.pack_into("!HH", frames[vm], 34, *port_pair(port))
            out[vm].send(frames[vm])
        sent = due
        time.sleep(STEP)


def _port(number: int) -> int:
    return number // VMS


def port_pair(number: int) -> tuple[int, int]:
    """Return the source and destination port of a VM's flow; it takes hours until one comes again."""
    return FIRST_PORT + number % 60000, 1000 + number // 60000 % 60000


@contextlib.contextmanager
def started(policy: str) -> Iterator[tuple[PrivateOvs, Launched]]:
    """A switch with its VMs, and its controller."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(network_of_its_own())
        names = [*map(_device, range(VMS)), UPLINK]
        add_veth_pairs(names)
        ovs = stack.enter_context(private_ovs.running(system=True))
        ovs.add_bridge(BRIDGE, (), dpid=DPID)
        with ovs.together():
            for number, name in enumerate(names, start=1):
                settings = ("set", "Interface", name, f"ofport_request={number}")
                ovs.vsctl("add-port", BRIDGE, name, "--", *settings)
                given = "flowlane-port=uplink" if name == UPLINK else f"iface-id={name}"
                ovs.vsctl("set", "Interface", name, f"external_ids:{given}")
        ovs.set_queues(UPLINK, {queue: {} for queue in range(QUEUES)})
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "policy.yaml").write_text(policy)
        manager = stack.enter_context(
            launched(f"--ovsdb={ovs.database}", f"--policy={folder / 'policy.yaml'}")
        )
        ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{manager.openflow_port}")
        ovs.vsctl("set", "Controller", BRIDGE, "connection_mode=out-of-band", "inactivity_probe=60000")
        wait_for(lambda: _is_programmed(ovs, manager), 60, "the switch was not programmed")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as far:
            far.bind((f"{UPLINK}-in", 0))
            far.send(arp(1, FAR_MAC, bytes((10, 9, 0, 254)), bytes((10, 9, 0, 254))))
        time.sleep(3)
        yield ovs, manager


def _is_programmed(ovs: PrivateOvs, manager: Launched) -> bool:
    if not manager.rest("/v1/devices")["items"]:
        return False
    queues = manager.rest(f"/v1/devices/{DPID:016x}/queues")["items"]
    return len(queues) == QUEUES and "table=8" in ovs.ofctl("dump-flows", BRIDGE)


def standing(ovs: PrivateOvs) -> tuple[str, ...]:
    """List what stands in the switch beside the entries of flows; without counters and weights."""
    lines = [line.strip() for line in ovs.ofctl("dump-flows", BRIDGE, "--no-stats").splitlines()]
    entries = (line for line in lines if " actions=" in line)
    kept = [line for line in entries if read_entry(line).cookie >> 44 & 0xF not in ENTRIES_OF_TRAFFIC]
    others = (ovs.ofctl("dump-groups", BRIDGE), ovs.ofctl("dump-meters", BRIDGE))
    ids = re.findall(r"(?:group_id|meter)=\w+", " ".join(others))
    # The entries that learn name the group of the time, and tracked ports have entries for as long.
    return tuple(sorted({line for line in kept if "learn(" not in line and "ct" not in line} | set(ids)))


def hold_back(process: int, share: float) -> None:
    """Let a process run for a share of each period only, for ever."""
    while True:
        os.kill(process, signal.SIGSTOP)
        time.sleep(PERIOD * (1 - share))
        os.kill(process, signal.SIGCONT)
        time.sleep(PERIOD * share)


def drift(ovs: PrivateOvs, manager: Launched) -> list[str]:
    """List where REST and the switch differ about the steady flows."""
    items, cursor = [], ""
    while True:
        page = json.loads(_get(manager, f"/v1/assignments?limit=1000&l4_port=9{cursor}"))
        items += page["items"]
        if not page["next"]:
            break
        cursor = f"&cursor={page['next']}"
    steady = range(STEADY_PORT, STEADY_PORT + STEADY)
    rest = compare.placements_in_rest([item for item in items if item["src_port"] in steady])
    lines = [line for line in ovs.ofctl("dump-flows", BRIDGE).splitlines() if " actions=" in line]
    entries = [read_entry(line.strip()) for line in lines]
    switch = compare.placements_in_switch(entries)
    found = {key: place for key, place in switch.items() if key.src_port in steady}
    missing = [] if len(rest) == STEADY else [f"REST has {len(rest)} of {STEADY} flows"]
    return missing + compare.differences(found, rest)


def _get(manager: Launched, path: str) -> str:
    """Read from REST; on a machine that has other work an answer may take long."""
    with urllib.request.urlopen(f"http://127.0.0.1:{manager.rest_port}{path}", timeout=90) as answer:
        text: str = answer.read().decode()
        return text


def sum_of_metric(manager: Launched, name: str) -> int:
    """Read a metric, and add up its series."""
    found = re.findall(rf"^{name}(?:{{.*}})? ([\d.e+]+)$", _get(manager, "/metrics"), re.MULTILINE)
    return int(sum(map(float, found)))


def by_kind(manager: Launched, name: str) -> dict[str, int]:
    """Read the series of a metric that are not 0, by their label ``kind``."""
    found = re.findall(rf"^{name}{{.*kind=\"(\w+)\"}} ([\d.e+]+)$", _get(manager, "/metrics"), re.MULTILINE)
    return {kind: int(float(count)) for kind, count in found if float(count)}


def read(manager: Launched, begin: float) -> Reading:
    """Read the controller's memory, descriptors, flows and faults."""
    process = Path(f"/proc/{manager.process.pid}")
    memory = re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())
    assert memory is not None
    flows = json.loads(_get(manager, "/v1/status"))["flows"]
    descriptors = len(list((process / "fd").iterdir()))
    faults = sum_of_metric(manager, "flowlane_faults_total")
    return Reading(time.monotonic() - begin, int(memory[1]), descriptors, flows, faults)


def slope(readings: list[Reading]) -> float:
    """Return by how many MB an hour the memory grows."""
    if len(readings) < 2:
        return float("nan")
    times = [reading.seconds / 3600 for reading in readings]
    return statistics.linear_regression(times, [reading.memory / 1024 for reading in readings]).slope


class Course(NamedTuple):
    """What was read while flows came and went; ``unanswered`` are readings that REST did not answer in time."""

    readings: list[Reading]
    differences: list[str]
    looks: int
    wrong: int
    unanswered: int


def watched(ovs: PrivateOvs, manager: Launched, begin: float, seconds: float) -> Course:
    """Read every ten seconds, and compare the steady flows every minute."""
    readings: list[Reading] = []
    differences: list[str] = []
    looks = wrong = unanswered = 0
    next_look = begin + 60
    while time.monotonic() - begin < seconds:
        time.sleep(10)
        try:
            readings.append(read(manager, begin))
            if time.monotonic() < next_look:
                continue
            next_look += 60
            found = drift(ovs, manager)
            if found:  # Once more: a flow may have moved between the two readings.
                time.sleep(2)
                again = set(drift(ovs, manager))
                found = [line for line in found if line in again]
        except OSError as error:
            unanswered += 1
            print(f"{time.monotonic() - begin:.0f} s: {error!r}", file=sys.stderr, flush=True)
            continue
        looks, wrong = looks + 1, wrong + bool(found)
        differences += found[:3]
        print(readings[-1], f"drift: {found[:3]}", file=sys.stderr, flush=True)
    return Course(readings, differences, looks, wrong, unanswered)


def converged(ovs: PrivateOvs, manager: Launched) -> tuple[float, list[str]]:
    """Return the seconds until REST and the switch agree about the steady flows, and where they do not in the end."""
    begin = time.monotonic()
    while (found := drift(ovs, manager)) and time.monotonic() - begin < CONVERGE:
        time.sleep(1)
    return round(time.monotonic() - begin, 1), found


@contextlib.contextmanager
def running(target: Callable[..., None], *arguments: object) -> Iterator[None]:
    """Run a function in a process of its own for the block."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def main() -> int:
    """Run; print what was found, and return whether all of it is within the bars."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--warm-up", type=float, default=5.0, help="minutes that do not count for the slope")
    parser.add_argument(
        "--share", type=float, default=1.0, help="part of the time in which the controller runs"
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with started(POLICY) as (ovs, manager):
        before = standing(ovs)
        begin = time.monotonic()
        with running(send_steady):
            with contextlib.ExitStack() as stack:
                stack.enter_context(running(send, given.rate))
                if given.share < 1:
                    stack.callback(os.kill, manager.process.pid, signal.SIGCONT)
                    stack.enter_context(running(hold_back, manager.process.pid, given.share))
                course = watched(ovs, manager, begin, given.minutes * 60)
            spent = time.monotonic() - begin
            seconds, differ = converged(ovs, manager)
        sent = int(re.findall(r"tx pkts=(\d+)", ovs.ofctl("dump-ports", BRIDGE, UPLINK))[0])
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and (
            json.loads(_get(manager, "/v1/status"))["flows"] or standing(ovs) != before
        ):
            time.sleep(2)
        after = standing(ovs)
        left = json.loads(_get(manager, "/v1/status"))["flows"]
        last = read(manager, begin)
        repairs = by_kind(manager, "flowlane_repairs_total")
        dropped = sum_of_metric(manager, "flowlane_copies_dropped_total")
        beyond = sum_of_metric(manager, "flowlane_vm_quota_exceeded_total")
    readings = course.readings
    steady = [reading for reading in readings if reading.seconds >= given.warm_up * 60]
    result = {
        "minutes": round(spent / 60, 1),
        "packets that left": sent,
        "copies that the switch dropped": dropped,
        "flows at a time": round(statistics.median(reading.flows for reading in readings)),
        "memory after warm-up (MB)": round(steady[0].memory / 1024, 1) if steady else None,
        "memory at the end (MB)": round(readings[-1].memory / 1024, 1),
        "slope (MB/h)": round(slope(steady), 2),
        "descriptors": f"{min(r.descriptors for r in readings)} to {max(r.descriptors for r in readings)}",
        "faults": last.faults,
        "repairs": repairs,
        "times a VM was beyond its quota": beyond,
        "readings without an answer": course.unanswered,
        "looks at the steady flows": course.looks,
        "looks with a difference": course.wrong,
        "differences": course.differences[:5],
        "seconds until REST agrees afterwards": seconds,
        "differences then": differ[:5],
        "flows left in REST": left,
        "entries, groups, meters more or fewer": [*sorted(set(before) ^ set(after))][:10],
    }
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps([result, *(reading._asdict() for reading in readings)], indent=1))
    wrong = course.wrong if given.share == 1 else 0  # A controller that is held back agrees afterwards.
    is_bad = last.faults or repairs or beyond or wrong or differ or left
    return int(bool(is_bad or result["entries, groups, meters more or fewer"]))


if __name__ == "__main__":
    sys.exit(main())
