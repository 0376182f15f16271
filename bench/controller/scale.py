"""One controller with 1,000 switches of 20 VMs and 1,000,000 flows, simulated: joins, restarts, memory, policy, idling.

``python -m bench.controller.scale [--quick] [--switches N] [--flows N] [SCENARIO ...] [--json FILE]``

The switches are those of :mod:`bench.controller.switches`; a private Open vSwitch is recorded first (no root). Each
scenario is one row of the table. Waits are those of :mod:`bench.controller.waits`; "busy" is the longest piece of work
of the controller's own within one of them. Processor time is that of the controller's process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from bench.controller import recording, switches, waits
from bench.controller.recording import Recording
from bench.controller.switches import Running, Status
from bench.controller.waits import Asking, processor_seconds
from lab.inside.manager import Launched, free_port, launched, wait_for

QUICK = 50
"""Switches, and flows of each, of a quick run."""

JOINS = 50.0
"""Connections a second of joins and of a rolling restart."""

NEW_FLOWS = 7.0
"""New flows a second on each switch of a cold start."""

PATIENCE = 1800.0
"""Seconds that a scenario may take."""

MOST, QUIET = 0.95, 5.0
"""Part of the switches that must be programmed, and seconds without an entry for the others, to go on without them."""

POLICY = b"""version: 1
classes:
  bulk: {limit: 50Mbit/s}
  small: {}
rules:
  - {name: web, match: {protocol: tcp, dst-port: 80}, class: bulk}
default: small
"""
"""A policy that makes some rules and changes no flow's class for another limit."""


@dataclass
class Row:
    """One scenario's figures; ``share``: processor time over time."""

    scenario: str
    switches: int
    flows: int
    seconds: float
    share: float
    longest_ms: float
    busy_ms: float
    p99_ms: float
    megabytes: int
    lost: int
    note: str = ""


class Bench:
    """One controller, its switches, and the two clients that wait."""

    def __init__(self, manager: Launched, generator: Running, asking: Asking, count: int, flows: int) -> None:
        self.manager, self.generator, self.asking = manager, generator, asking
        self.count, self.flows = count, flows

    def measure(self, scenario: str, work: Callable[[], str]) -> Row:
        """Measure while something is done; it returns a note."""
        pid = self.manager.process.pid
        self.asking.look()
        self.asking.seen.clear()
        lost = self.generator.status().lost
        begin, used = time.monotonic(), processor_seconds(pid)
        note = work()
        seconds, share = time.monotonic() - begin, processor_seconds(pid) - used
        self.asking.look()
        waits_seen, after = self.asking.seen, self.generator.status()
        return Row(
            scenario,
            self.count,
            after.flows,
            round(seconds, 1),
            round(share / seconds, 3),
            round(max(seen.longest_ms for seen in waits_seen)),
            round(max(seen.busy_ms for seen in waits_seen)),
            round(max(seen.p99_ms for seen in waits_seen), 1),
            round(resident_bytes(pid) / 1e6),
            after.lost - lost,
            note,
        )

    def wait_until_joined(self) -> None:
        """Wait until every switch has its entries, or until most have and nothing more is sent."""
        deadline, before, changed = time.monotonic() + PATIENCE, -1, 0.0
        while (status := self.generator.status()).programmed < self.count:
            now = time.monotonic()
            if status.mods != before:
                before, changed = status.mods, now
            if now > deadline:
                raise TimeoutError(f"not all switches joined: {status._replace(join_s=())}")
            if status.programmed >= MOST * self.count and now - changed > QUIET:
                return
            time.sleep(0.05)

    def known_flows(self) -> int:
        """Return how many flows the controller lists."""
        devices = self.manager.rest("/v1/devices?limit=1000")
        flows: int = sum(item["flows"] for item in devices["items"])
        return flows


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, as the kernel counts it (proc_pid_status(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def joins(bench: Bench) -> Iterator[Row]:
    """All switches connect, 50 a second."""

    def join() -> str:
        bench.generator.command("join", JOINS)
        bench.wait_until_joined()
        return _times(bench.generator.status().join_s, bench.count)

    yield bench.measure("joins, 50/s", join)


def _times(seconds: tuple[float, ...], count: int) -> str:
    without = f"; {count - len(seconds)} not programmed" if len(seconds) < count else ""
    ordered = sorted(seconds)
    middle, last = statistics.median(ordered), ordered[-1]
    return f"programmed {middle * 1000:.0f} ms after connecting (median), {last:.1f} s (last){without}"


def idle(bench: Bench, seconds: float) -> Iterator[Row]:
    """All switches are connected and nothing happens; nobody asks either."""
    time.sleep(min(seconds, 15.0))

    def wait() -> str:
        time.sleep(seconds)
        return ""

    with bench.asking.paused():
        yield bench.measure("idle", wait)


def restart(bench: Bench) -> Iterator[Row]:
    """Every switch restarts, 50 a second, with empty tables; then once more, and a policy is replaced meanwhile."""

    def roll() -> str:
        bench.generator.command("restart", JOINS)
        wait_for(lambda: not bench.generator.status().to_restart, PATIENCE)
        bench.wait_until_joined()
        return _times(bench.generator.status().join_s, bench.count)

    def replace() -> str:
        bench.generator.command("restart", JOINS)
        old = _request(bench, "GET", "/v1/policy", b"")
        checked = _seconds(lambda: _request(bench, "POST", "/v1/policy/check", POLICY))
        put = partial(_request, bench, "PUT", "/v1/policy")
        seconds = [_seconds(partial(put, text)) for text in (POLICY, old)]
        wait_for(lambda: not bench.generator.status().to_restart, PATIENCE)
        bench.wait_until_joined()
        return f"check answered in {checked:.1f} s, PUT in {seconds[0]:.1f} and {seconds[1]:.1f} s"

    yield bench.measure("rolling restart, 50/s", roll)
    yield bench.measure("the same, policy checked and replaced twice", replace)


def _seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def memory(bench: Bench, seconds: float) -> Iterator[Row]:
    """Flows begin on every switch as fast as the controller takes them, and are then alive for a while."""
    each = bench.flows // bench.count

    def load() -> str:
        begin = time.monotonic()
        bench.generator.command("load", each)
        wait_for(lambda: _are_read(bench.generator.status(), each * bench.count), PATIENCE)
        return f"{each * bench.count / (time.monotonic() - begin):,.0f} copies/s"

    def live() -> str:
        time.sleep(seconds)
        return ""

    yield bench.measure("flows begin", load)
    row = bench.measure("the same flows alive", live)
    row.note = f"{bench.known_flows():,} of {each * bench.count:,} known"
    yield row


def _are_read(status: Status, flows: int) -> bool:
    return status.flows >= flows and not status.unread


def policy(bench: Bench, seconds: float) -> Iterator[Row]:
    """A policy is checked, then replaces the one in force, and is replaced again."""
    old = _request(bench, "GET", "/v1/policy", b"")
    yield bench.measure("POST /v1/policy/check", lambda: _check(bench))
    for name, text in (("PUT /v1/policy", POLICY), ("PUT the old policy", old)):

        def put(text: bytes = text) -> str:
            begin = time.monotonic()
            _request(bench, "PUT", "/v1/policy", text)
            answered = time.monotonic() - begin
            time.sleep(min(seconds, 2.0))
            return f"answered in {answered:.1f} s"

        yield bench.measure(name, put)


def _check(bench: Bench) -> str:
    flows = json.loads(_request(bench, "POST", "/v1/policy/check", POLICY))["flows"]
    return f"{flows['total']:,} flows, {flows['reclassified']:,} in another class"


def _request(bench: Bench, method: str, path: str, body: bytes) -> bytes:
    url = f"http://127.0.0.1:{bench.manager.rest_port}{path}"
    headers = {"Content-Type": "application/yaml", "Accept": "application/yaml, application/json;q=0.5"}
    request = urllib.request.Request(url, body or None, headers, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        data: bytes = answer.read()
        return data


def cold(record: Recording, count: int, seconds: float) -> Iterator[Row]:
    """A controller starts while all switches try to connect; flows begin on each as soon as it has its entries."""
    port = free_port()
    with switches.started(record, count, port) as generator:
        generator.command("rate", NEW_FLOWS)
        generator.command("join", 1e6)
        with launched(f"--ofp-tcp-listen-port={port}") as manager:
            begin = time.monotonic()
            with waits.asking(record, count, (port, manager.rest_port), manager.process.pid) as asking:
                bench = Bench(manager, generator, asking, count, 0)

                def start() -> str:
                    bench.wait_until_joined()
                    joined = time.monotonic() - begin
                    wait_for(lambda: _is_settled(asking), PATIENCE)
                    return f"all joined after {joined:.1f} s, settled after {time.monotonic() - begin:.1f} s"

                def go_on() -> str:
                    time.sleep(seconds)
                    return f"{NEW_FLOWS * count:,.0f} new flows/s"

                yield bench.measure("cold start, 7 new flows/s each", start)
                row = bench.measure("the same flows go on", go_on)
                known, sent = bench.known_flows(), generator.status().flows
                row.note += f", {known:,} of {sent:,} known"
                yield row


def _is_settled(asking: Asking) -> bool:
    """Whether nobody waits for longer than 100 ms, within a second."""
    asking.look()
    time.sleep(1.0)
    return asking.look().longest_ms < 100


@contextmanager
def _running(record: Recording, count: int, flows: int) -> Iterator[Bench]:
    with launched() as manager, switches.started(record, count, manager.openflow_port) as generator:
        ports = manager.openflow_port, manager.rest_port
        with waits.asking(record, count, ports, manager.process.pid) as asking:
            yield Bench(manager, generator, asking, count, flows)


def run(count: int, flows: int, seconds: float, chosen: list[str], record: Recording) -> Iterator[Row]:
    """Run scenarios, of one controller but for the cold start.

    Args:
        count: how many switches.
        flows: how many flows on all of them.
        seconds: how long what goes on by itself is measured.
        chosen: names of scenarios.
    """
    if set(chosen) - {"cold"}:
        with _running(record, count, flows) as bench:
            time.sleep(min(seconds, 2.0))
            yield from joins(bench)
            if "idle" in chosen:
                yield from idle(bench, seconds)
            if "restart" in chosen:
                yield from restart(bench)
            if "memory" in chosen or "policy" in chosen:
                yield from memory(bench, seconds)
            if "policy" in chosen:
                yield from policy(bench, seconds)
    if "cold" in chosen:
        yield from cold(record, count, seconds)


SCENARIOS = ("joins", "idle", "restart", "memory", "policy", "cold")
HEAD = (
    "| scenario | switches | flows | s | share of a core | longest wait, ms | busy, ms | p99, ms | MB | lost | |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|"
)


def line(row: Row) -> str:
    """Return a row of the table."""
    return (
        f"| {row.scenario} | {row.switches:,} | {row.flows:,} | {row.seconds} | {row.share:.1%} | {row.longest_ms:,} "
        f"| {row.busy_ms:,} | {row.p99_ms:.1f} | {row.megabytes} | {row.lost} | {row.note} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], help="which; all by default")
    parser.add_argument("--switches", type=int, default=1000)
    parser.add_argument("--flows", type=int, default=1_000_000)
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="how long what goes on by itself is measured"
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} switches of {QUICK} flows, one second")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    count, flows, seconds = arguments.switches, arguments.flows, arguments.seconds
    if arguments.quick:
        count, flows, seconds = QUICK, QUICK * QUICK, 1.0
    record = recording.record()
    print(HEAD)
    rows = []
    for row in run(count, flows, seconds, arguments.scenarios or list(SCENARIOS), record):
        rows.append(row)
        print(line(row), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
