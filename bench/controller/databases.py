"""What following the databases of many hosts costs the controller: time, memory, processor, pauses.

``python -m bench.controller.databases [--hosts 1000] [--vms 20] [--real 4] [--json FILE]``

The hosts are *simulated*: one other process answers for all of them (:mod:`bench.controller.simulated_databases`), so
that what is measured is the controller alone; ``--real`` adds so many real ovsdb-servers (Open vSwitch). The controller
is the whole composition with its engine, and has the databases as files of a directory. A pause is the longest time in
which a green thread that wants to run every 5 ms did not, in processor time of the controller: on a machine with
nothing else to do that is time itself.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowlane import garbage, hub

hub.prepare()

from flowlane.composition import Composition  # noqa: E402
from flowlane.options import Settings  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
IDLE_S = 20.0


class Pauses:
    """The longest pause since the last call of :meth:`longest_ms`."""

    def __init__(self) -> None:
        self._longest = 0.0
        hub.spawn(self._run)

    def _run(self) -> None:
        while True:
            begin = time.thread_time()
            hub.sleep(0.005)
            self._longest = max(self._longest, time.thread_time() - begin)

    def longest_ms(self) -> float:
        """Return it, and begin anew."""
        longest, self._longest = self._longest, 0.0
        return 1000 * longest


def memory_kb() -> float:
    """Return the resident memory of this process in kB."""
    status = Path("/proc/self/status").read_text()
    return float(status.partition("VmRSS:")[2].split()[0])


def until(true: Callable[[], bool], seconds: float = 300.0) -> float:
    """Wait for a condition; return for how long, in seconds."""
    begin = time.monotonic()
    while not true():
        if time.monotonic() - begin > seconds:
            raise SystemExit(f"not within {seconds:g} s")
        hub.sleep(0.02)
    return time.monotonic() - begin


def start_real(directory: Path, number: int) -> subprocess.Popen[bytes]:
    """Start an ovsdb-server with one bridge."""
    database, sock = directory / f"real{number}.db", directory / f"real{number}.sock"
    subprocess.run(["ovsdb-tool", "create", database, SCHEMA], check=True)
    options = [
        f"--remote=punix:{sock}",
        f"--unixctl={directory}/real{number}.ctl",
        "--no-chdir",
        "-vconsole:off",
    ]
    process = subprocess.Popen(["ovsdb-server", str(database), *options])
    until(sock.exists, 10)
    vsctl = ["ovs-vsctl", f"--db=unix:{sock}", "--no-wait", "--timeout=10"]
    name = f"br{number}"
    dpid = f'datapath_id="{(1 << 32) + number:016x}"'
    subprocess.run([*vsctl, "init", "--", "add-br", name, "--", "set", "bridge", name, dpid], check=True)
    return process


def measure(hosts: int, vms: int, real: int) -> dict[str, float]:
    """Follow so many databases, and measure."""
    with tempfile.TemporaryDirectory(prefix="fl-db-") as name:
        directory, targets = Path(name), Path(name, "targets")
        targets.mkdir()
        command = [sys.executable, "-m", "bench.controller.simulated_databases", name, str(hosts), str(vms)]
        simulated = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        servers = [start_real(directory, number) for number in range(real)]
        try:
            assert simulated.stdin is not None
            assert simulated.stdout is not None
            simulated.stdout.readline()
            for number in range(hosts):
                (targets / f"h{number}").write_text(f"unix:{directory}/h{number}.sock")
            for number in range(real):
                (targets / f"real{number}").write_text(f"unix:{directory}/real{number}.sock")
            return _measure(f"dir:{targets}", hosts, real, simulated.stdin)
        finally:
            processes: list[subprocess.Popen[Any]] = [simulated, *servers]
            for process in processes:
                process.terminate()
                process.wait()


def _measure(target: str, hosts: int, real: int, changes: object) -> dict[str, float]:
    total = hosts + real
    figures: dict[str, float] = {}
    composition = Composition(Settings("127.0.0.1", 0, (target,), None))
    pauses = Pauses()
    garbage.start()
    hub.sleep(0.1)
    before, pauses_before, cpu = memory_kb(), pauses.longest_ms(), time.process_time()
    del pauses_before
    composition.start()

    def synchronized() -> int:
        return sum(status.watcher.state == "synchronized" for status in composition.databases())

    waited = 0.0
    begin = time.monotonic()
    while synchronized() < total:
        hub.sleep(0.1)
        waited = time.monotonic() - begin
        if waited > 300:
            raise SystemExit(f"{synchronized()} of {total} databases after 300 s")
    figures["connect_s"], figures["connect_cpu_ms_each"] = waited, 1000 * (time.process_time() - cpu) / total
    figures["connect_pause_ms"] = pauses.longest_ms()
    hub.sleep(1.0)
    figures["memory_kb_each"] = (memory_kb() - before) / total
    pauses.longest_ms()
    cpu, begin = time.process_time(), time.monotonic()
    hub.sleep(IDLE_S)
    idle = (time.process_time() - cpu) / (time.monotonic() - begin)
    figures["idle_percent"], figures["idle_pause_ms"] = 100 * idle, pauses.longest_ms()
    described = composition.state.described
    for number, changed in enumerate((1, hosts), start=1):

        def noted(number: int = number, changed: int = changed) -> bool:
            return all(
                described[dpid].ports[1].external_ids.get("change") == str(number)
                for dpid in range(1, changed + 1)
            )

        cpu = time.process_time()
        changes.write(f"{changed}\n")  # type: ignore[attr-defined]
        changes.flush()  # type: ignore[attr-defined]
        seconds = until(noted)
        name = "one" if changed == 1 else "all"
        figures[f"change_{name}_s"] = seconds
        if changed > 1:
            figures["change_cpu_ms_each"] = 1000 * (time.process_time() - cpu - seconds * idle) / changed
            figures["change_pause_ms"] = pauses.longest_ms()
    composition.stop()
    figures["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=1000, help="simulated hosts (default 1000)")
    parser.add_argument("--vms", type=int, default=20, help="VMs of each (default 20)")
    parser.add_argument("--real", type=int, default=4, help="real ovsdb-servers beside them (default 4)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    figures = measure(args.hosts, args.vms, args.real)
    for name, value in figures.items():
        print(f"{name:22} {value:10.2f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
