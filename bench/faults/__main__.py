"""Faults of the switch, its database, the controller and the machine, and what an auditor finds after each.

Usage: ``python -m bench.faults [FAULT ...] [--part 0.1] [--json FILE]`` (root); without a name, all of them.
Each fault has a host of its own (``lab/inside/tap_host.py``): four VMs with 40 flows that send all the time, an
uplink with eight queues, a policy with a limit. After it, an auditor (``lab/inside/audit.py``) reads the switch's
tables by ovs-ofctl, and REST, until both agree about every flow and what stands in the switch is what stood there
before; and one packet of each flow has to leave by the uplink. The time that this takes is printed, how many changes
were refused meanwhile, and what is wrong after ``--patience`` seconds: also that nothing was refused where the fault is
that something is.

``--part`` makes a fault shorter: 30 s become 3 s, 1,000 policies 100.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from email.utils import parsedate_to_datetime
from pathlib import Path
from platform import machine
from typing import TYPE_CHECKING, NamedTuple

import requests
from lab.inside import audit, compare, tap_host
from lab.inside.compare import ASSIGN_TABLE
from lab.inside.manager import wait_for
from lab.inside.namespaces import network_of_its_own
from lab.inside.proxy import ADD, FLOW_MOD, TYPES, Error, refuse_groups, refuse_meters, refuse_nothing
from lab.inside.tap_host import BRIDGE, UPLINK, TapHost, vm_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VMS, FLOWS, QUEUES = 4, 40, 8
PATIENCE = 90.0
"""Seconds; what a switch refused is tried again after 60 s."""
POLICY = """version: 1
default: any
classes:
  any: {}
  slow: {limit: 5Mbit/s}
rules: [{name: slow, match: {protocol: udp, dst-port: 873}, class: slow}]
pins: {idle-timeout: 60s}
track-above: 0
"""
OTHER = POLICY.replace("5Mbit/s", "6Mbit/s").replace("873", "874")
"""Another policy: each replacement changes classes of flows and their meters."""
FEWER_QUEUES = POLICY.replace("any: {}", "any: {max-queues: 3}")
"""Another policy: its class has a group of its own."""

FAKETIME = Path(f"/usr/lib/{machine()}-linux-gnu/faketime/libfaketimeMT.so.1")
CLOCK = Path(tempfile.gettempdir()) / f"fl-clock-{os.getpid()}"
YEAR = 365 * 86400

TABLE_FULL = Error(5, 1)
MARK = "ffffffff actions=meter:"
"""What ends the match of an entry that marks a meter as ours, and begins its actions."""


class Traffic:
    """The flows of all VMs: each sends ten packets a second from a thread until it is stopped."""

    def __init__(self, host: TapHost) -> None:
        self._host = host
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            send_all(self._host)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def send_all(host: TapHost, payload: bytes = b"") -> None:
    """Send one packet of each flow; a VM whose interface is away sends none."""
    for number in range(FLOWS):
        port = 873 if number % 8 == 0 else 80
        with contextlib.suppress(OSError):
            host.send(1 + number % VMS, 1000 + number, port, payload)


@contextlib.contextmanager
def traffic(host: TapHost) -> Iterator[None]:
    sending = Traffic(host)
    try:
        yield
    finally:
        sending.stop()


@contextlib.contextmanager
def stopped(process: int) -> Iterator[None]:
    """SIGSTOP a process for the block."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


# ---- faults: each takes the host and the part of its full length


def restart_switch(host: TapHost, part: float) -> None:
    """ovs-vswitchd ends and begins again: entries, groups, meters and devices are new."""
    for _ in range(max(1, round(5 * part))):
        host.ovs.restart_vswitchd()
        host.reopen()


def flap_ports(_host: TapHost, part: float) -> None:
    """The links of two VMs go down and up, ten changes a second, for 30 s."""
    for number in range(max(10, round(300 * part))):
        state = "down" if number % 2 == 0 else "up"
        subprocess.run(["ip", "link", "set", vm_port(1 + number // 2 % 2), state], check=True)
        time.sleep(0.1)
    for number in (1, 2):
        subprocess.run(["ip", "link", "set", vm_port(number), "up"], check=True)


def stop_switch(host: TapHost, part: float) -> None:
    """SIGSTOP of ovs-vswitchd for 30 s."""
    with stopped(host.ovs.process):
        time.sleep(30 * part)


def stop_controller(host: TapHost, part: float) -> None:
    """SIGSTOP of the controller for 30 s."""
    with stopped(host.manager.process.pid):
        time.sleep(30 * part)


def lose_database(host: TapHost, part: float) -> None:
    """ovsdb-server is away for 60 s and comes back with another limit of a queue."""
    where = [["external_ids", "includes", ["map", [["number", "7"]]]]]
    row = {"other_config": ["map", [["max-rate", "900000000"]]]}
    change = ["Open_vSwitch", {"op": "update", "table": "Queue", "where": where, "row": row}]
    with host.ovs.without_database() as database:
        time.sleep(60 * part)
        subprocess.run(
            ["ovsdb-tool", "transact", database, json.dumps(change)], check=True, capture_output=True
        )


def delete_queues(host: TapHost, part: float) -> None:
    """Two queues with flows on them are deleted and made again, ten times."""
    for _ in range(max(1, round(10 * part))):
        host.ovs.set_queues(UPLINK, {number: {} for number in range(QUEUES - 2)})
        wait_for(
            lambda: _queues_used(host) <= set(range(QUEUES - 2)), 30, "flows are on queues that are gone"
        )
        host.ovs.set_queues(UPLINK, {number: {} for number in range(QUEUES)})


def _queues_used(host: TapHost) -> set[int | None]:
    return {item["queue_id"] for item in host.assignments()}


def replace_policy(host: TapHost, part: float) -> None:
    """The policy is replaced 1,000 times."""
    for number in range(max(10, round(1000 * part))):
        host.put_policy(OTHER if number % 2 == 0 else POLICY)
    host.put_policy(POLICY)


def _refusing(host: TapHost, refuse: Callable[[bytes], Error | None], other: str = OTHER) -> None:
    """Refuse messages while another policy makes other entries, groups or meters; then refuse nothing."""
    host.proxy.refuse = refuse
    try:
        host.put_policy(other)
        time.sleep(3)
        host.put_policy(POLICY)
        time.sleep(3)
    finally:
        host.proxy.refuse = refuse_nothing


def fill_tables(host: TapHost, _part: float) -> None:
    """The switch has no room for another entry for some seconds."""
    _refusing(host, lambda message: TABLE_FULL if message[1] == FLOW_MOD and message[25] == ADD else None)


def fill_groups(host: TapHost, _part: float) -> None:
    """The switch refuses groups for some seconds."""
    _refusing(host, refuse_groups, FEWER_QUEUES)


def fill_meters(host: TapHost, _part: float) -> None:
    """The switch refuses meters for some seconds."""
    _refusing(host, refuse_meters)


def any_error(host: TapHost, part: float) -> None:
    """Every third change of the switch gets an error, another one each time."""
    errors = [Error(kind, code) for kind in (1, 2, 3, 4, 5, 6, 12, 13) for code in range(4)]
    seen = 0

    def refuse(message: bytes) -> Error | None:
        nonlocal seen
        if message[1] not in (14, 15, 18, 29):
            return None
        seen += 1
        return errors[seen // 3 % len(errors)] if seen % 3 == 0 else None

    for _ in range(max(1, round(5 * part))):
        _refusing(host, refuse)


def change_pins(host: TapHost, _part: float) -> None:
    """Somebody deletes the pins of one VM, and has those of another do something else."""
    ours = "cookie=0xf10a300000000000/0xfffff00000000000"
    host.ovs.ofctl("del-flows", BRIDGE, f"{ours},table={ASSIGN_TABLE},in_port=1", version=host.version)
    changed = f"{ours},table={ASSIGN_TABLE},in_port=2,actions=set_queue:0,goto_table:8"
    host.ovs.ofctl("mod-flows", BRIDGE, changed, version=host.version)


def jump_clock(host: TapHost, part: float) -> None:
    """The controller's wall clock (CLOCK_REALTIME) goes forward and back by days and years, by libfaketime."""
    for seconds in (86400, -86400, 10 * YEAR, -20 * YEAR, 0):
        CLOCK.write_text(f"{seconds:+d}")
        time.sleep(10 * part)
        answer = requests.get(f"http://127.0.0.1:{host.manager.rest_port}/healthz", timeout=10)
        shown = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        assert abs(shown - time.time() - seconds) < 60, "the controller's clock did not jump"


def fill_disk(host: TapHost, _part: float) -> None:
    """No file of the controller can grow (RLIMIT_FSIZE 0): the state cannot be kept, and the switch is served."""
    pid, before = host.manager.process.pid, resource.prlimit(host.manager.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        url = f"http://127.0.0.1:{host.manager.rest_port}/v1/policy"
        answer = requests.put(url, data=OTHER, headers={"Content-Type": "application/yaml"}, timeout=10)
        assert answer.status_code < 600, answer.text
        time.sleep(3)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    host.put_policy(POLICY)


FAULTS: dict[str, Callable[[TapHost, float], None]] = {
    "switch-restart": restart_switch,
    "port-flaps": flap_ports,
    "switch-stopped": stop_switch,
    "controller-stopped": stop_controller,
    "database-gone": lose_database,
    "queues-deleted": delete_queues,
    "policies": replace_policy,
    "tables-full": fill_tables,
    "groups-full": fill_groups,
    "meters-full": fill_meters,
    "any-error": any_error,
    "pins-changed": change_pins,
    "disk-full": fill_disk,
    "clock-jumps": jump_clock,
}


REFUSING = frozenset(("tables-full", "groups-full", "meters-full", "any-error"))
"""Faults that are none unless the controller sends something that is refused."""


class Result(NamedTuple):
    """What came of a fault: seconds until all was well again, or what was not, and what was refused of each type."""

    fault: str
    seconds: float
    wrong: list[str]
    refused: Counter[str]


def _with_clock() -> dict[str, str]:
    """Return the variables of a controller whose wall clock is as :data:`CLOCK` says (faketime(1))."""
    if not FAKETIME.exists():
        sys.exit(f"no {FAKETIME}; install the package faketime")
    CLOCK.write_text("+0")
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(CLOCK),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@contextlib.contextmanager
def running(fault: str = "") -> Iterator[TapHost]:
    """A host whose flows all have their places."""
    environment = _with_clock() if fault == "clock-jumps" else None
    with tempfile.TemporaryDirectory(prefix="fl-faults-") as folder:
        options = (f"--state-dir={folder}/state",)
        made = tap_host.running(
            Path(folder), POLICY, *options, vms=VMS, queues=QUEUES, environment=environment
        )
        with made as host:
            with traffic(host):
                host.wait_until_consistent(FLOWS, PATIENCE)
                wait_for(lambda: _has_marks(host), 30, "meters of pins got no entries")
            yield host


def _has_marks(host: TapHost) -> bool:
    """Whether each meter of a pin has the entry by which it is known after a restart, which comes a second later."""
    meters = {at.meter for at in compare.placements_in_switch(host.entries()).values()} - {None}
    return bool(meters) and sum(MARK in line for line in host.dump()) == len(meters)


def packets_lost(host: TapHost) -> int:
    """Send one packet of each flow; return how many do not leave by the uplink."""
    with tap_host.capturing() as capture:
        send_all(host, b"audited")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            found = {port for port, payload in capture.seen if payload == b"audited"}
            if len(found) == FLOWS:
                return 0
            time.sleep(0.05)
    return FLOWS - len(found)


def tried(host: TapHost, before: Counter[str], fault: str, part: float, patience: float = PATIENCE) -> Result:
    """Let a fault happen under traffic, and wait until the auditor finds nothing but what stood before."""
    with traffic(host):
        earlier = len(host.proxy.refused)
        FAULTS[fault](host, part)
        refused = Counter(TYPES[message[1]] for message in host.proxy.refused[earlier:])
        begin = time.monotonic()
        while True:
            try:
                wrong = audit.audit(host, FLOWS, before)
            except (OSError, AssertionError) as error:  # the controller or the switch does not answer yet
                wrong = [repr(error)]
            if not wrong or time.monotonic() - begin > patience:
                break
            time.sleep(0.5)
        spent = time.monotonic() - begin
    if not wrong and (lost := packets_lost(host)):
        wrong = [f"{lost} of {FLOWS} packets did not leave"]
    if fault in REFUSING and not refused:
        wrong = [*wrong, "nothing was refused, so nothing was tried"]
    return Result(fault, round(spent, 1), wrong, refused)


def row(result: Result) -> str:
    """Return the row of a fault in the table."""
    refused = ", ".join(f"{count} {name}s" for name, count in sorted(result.refused.items())) or "-"
    told = "as before" if not result.wrong else "; ".join(result.wrong[:3])
    return f"| {result.fault} | {result.seconds} s | {refused} | {told} |"


def main() -> int:
    """Try faults; print a table, and return 1 when something was not as before."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(FAULTS))
    parser.add_argument("--part", type=float, default=1.0)
    parser.add_argument("--patience", type=float, default=PATIENCE)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results: list[Result] = []
    for fault in given.faults or FAULTS:
        with network_of_its_own(), running(fault) as host:
            results.append(tried(host, audit.standing(host), fault, given.part, given.patience))
        print(row(results[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps([result._asdict() for result in results], indent=1))
    return int(any(result.wrong for result in results))


if __name__ == "__main__":
    sys.exit(main())
