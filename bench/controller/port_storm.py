"""How long the controller serves nobody else while one switch announces many ports at once.

``python -m bench.controller.port_storm [--ports 1000] [--rounds 3] [--json FILE]`` (Open vSwitch, no root).

A private Open vSwitch adds the ports in one transaction. Meanwhile a client asks ``GET /healthz`` again and again: the
controller is one thread, so the longest wait for an answer is what any other switch would have waited. The waits of the
same client before the ports come are the floor; they show what the machine's other work costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from lab.inside.manager import Launched, launched, wait_for
from lab.inside.private_ovs import PrivateOvs, running

BRIDGE = "storm"
QUIET_S = 2.0
"""Seconds of the floor, and of waiting after the last port is listed."""


class Client:
    """Asks for the controller's health without a pause; ``waits`` are seconds."""

    def __init__(self, port: int) -> None:
        self.waits: list[float] = []
        self._stop = threading.Event()
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            begin = time.monotonic()
            self._connection.request("GET", "/healthz")
            self._connection.getresponse().read()
            self.waits.append(time.monotonic() - begin)

    def longest_ms(self) -> float:
        """Return the longest wait since the last call."""
        waits, self.waits = self.waits, []
        return 1000 * max(waits, default=0.0)

    def stop(self) -> None:
        """End the questions."""
        self._stop.set()
        self._thread.join()


def known_ports(manager: Launched) -> int:
    """Return how many ports of the bridge the controller has."""
    items: list[dict[str, Any]] = manager.rest("/v1/devices")["items"]
    return max((len(item["ports"]) for item in items), default=0)


def measure(ovs: PrivateOvs, count: int) -> dict[str, float]:
    """Announce ports to a controller of its own; return the waits in ms and the seconds until all are listed."""
    with launched(f"--ovsdb={ovs.database}") as manager:
        ovs.add_bridge(BRIDGE, ("uplink",), dpid=0x57)
        ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{manager.openflow_port}")
        wait_for(lambda: known_ports(manager) > 0, 30)
        client = Client(manager.rest_port)
        try:
            time.sleep(QUIET_S)
            floor = client.longest_ms()
            begin = time.monotonic()
            words = (f"-- add-port {BRIDGE} tap{n} -- set Interface tap{n} type=dummy" for n in range(count))
            ovs.vsctl(*(word for part in words for word in part.split()))
            wait_for(lambda: known_ports(manager) >= count, 300)
            seconds = time.monotonic() - begin
            time.sleep(QUIET_S)
            longest = client.longest_ms()
        finally:
            client.stop()
        ovs.vsctl("del-br", BRIDGE)
    return {"floor_ms": floor, "longest_ms": longest, "all_known_s": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ports", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rounds = []
    with running() as ovs:
        for _ in range(arguments.rounds):
            rounds.append(measure(ovs, arguments.ports))
            print("  ".join(f"{name} {value:.1f}" for name, value in rounds[-1].items()), file=sys.stderr)
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    print(
        f"| ports | floor, ms | longest wait, ms | all listed, s |\n|---|---|---|---|\n| {arguments.ports} | "
        f"{medians['floor_ms']:.0f} | {medians['longest_ms']:.0f} | {medians['all_known_s']:.1f} |"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"ports": arguments.ports, "rounds": rounds}))


if __name__ == "__main__":
    main()
