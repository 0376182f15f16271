"""How soon another controller leads the switches, after kill -9 and after a clean stop, and what the switch keeps.

Two controllers, a database of three servers, and a real Open vSwitch without root. In each round one controller is
killed or stopped while it leads, and started again. Entries, groups and meters are compared before and after.

    .venv/bin/python -m bench.takeover --rounds 50
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from lab.inside import private_ovs
from lab.inside.database_servers import database
from lab.inside.manager import Launched, free_port, launched

BRIDGES = {"br1": 1, "br2": 2, "br3": 3, "br4": 4}
_CHANGING = re.compile(r"(cookie|duration|n_packets|n_bytes|idle_age|hard_age)=[^,\s]*,? ?")


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> float:
    """Wait for a condition; return the seconds that it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError("the condition did not hold in time")
        time.sleep(0.01)
    return time.monotonic() - began


def led(manager: Launched) -> int:
    return sum(device["connected"] for device in manager.rest("/v1/devices")["items"])


def leads_all(manager: Launched) -> bool:
    return led(manager) == len(BRIDGES)


def entries(switch: private_ovs.PrivateOvs) -> list[str]:
    dumps = [
        switch.ofctl(command, bridge, version="OpenFlow15")
        for bridge in BRIDGES
        for command in ("dump-flows", "dump-groups", "dump-meters")
    ]
    return sorted(_CHANGING.sub("", line) for dump in dumps for line in dump.splitlines()[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    with ExitStack() as stack:
        servers = stack.enter_context(database(tuple(f"tcp:127.0.0.1:{free_port()}" for _ in range(3))))
        switch = stack.enter_context(private_ovs.running())
        ports = {name: free_port() for name in "ab"}

        def start(name: str) -> Launched:
            options = (
                f"--database={servers.target}",
                f"--member={name}",
                f"--ofp-tcp-listen-port={ports[name]}",
            )
            return stack.enter_context(launched(*options))

        running = {name: start(name) for name in ports}
        for bridge, dpid in BRIDGES.items():
            switch.add_bridge(bridge, (f"{bridge}p1", f"{bridge}p2"), dpid=dpid)
            switch.vsctl("set-controller", bridge, *(f"tcp:127.0.0.1:{port}" for port in ports.values()))
        times: dict[str, list[float]] = {"kill -9": [], "stop": []}
        changed = 0
        for number in range(rounds):
            how, name = ("kill -9", "stop")[number % 2], "ab"[number // 2 % 2]
            wait_for(lambda: all(led(manager) == len(BRIDGES) // 2 for manager in running.values()))
            before = entries(switch)
            ended = running.pop(name)
            (other,) = running.values()
            if how == "stop":
                ended.process.terminate()
            else:
                ended.process.kill()
            times[how].append(wait_for(partial(leads_all, other)))
            ended.process.wait()
            changed += entries(switch) != before
            running[name] = start(name)
    for how, seconds in times.items():
        if seconds:
            print(
                f"{how}: {len(seconds)} times, another leads all switches after {statistics.median(seconds):.2f} s "
                f"(median), {max(seconds):.2f} s at most"
            )
    print(f"rounds in which an entry, group or meter was another afterwards: {changed} of {rounds}")


if __name__ == "__main__":
    main()
