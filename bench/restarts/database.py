"""Restart ovsdb-server under load, with Flowlane and with NORMAL alone, and count the packets that are lost.

Without a connection to its database ovs-vswitchd does none of its work: its main thread, which forwards on the
userspace datapath, waits for the lock of the database (``bridge_run()`` in vswitchd/bridge.c). What the ports' queues
(500 packets, tun) do not hold until then is lost, whoever has programmed the bridge.

Run as root: ``python -m bench.restarts.database --restarts 10``. With ``--require`` the exit code is 1 where more is
lost with Flowlane than under NORMAL, by more than the restarts of one way differ among themselves.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.restarts.scene import BRIDGE, POLICY, Host, attach, loaded, make_bridge, quiet_network
from lab.inside import private_ovs
from lab.inside.manager import launched
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs

WAYS = ("NORMAL", "Flowlane")


def restart(ovs: PrivateOvs, away: float) -> float:
    """Restart ovsdb-server; return after how many seconds ovs-vswitchd has taken in a change again."""
    began = time.monotonic()
    with ovs.without_database():
        time.sleep(away)
    ovs.vsctl("set", "Bridge", BRIDGE, "external_ids:bench=1")
    ovs.vsctl("remove", "Bridge", BRIDGE, "external_ids", "bench")
    return time.monotonic() - began


def run(way: str, given: argparse.Namespace) -> list[dict[str, float]]:
    """Restart the database again and again; return what each has lost."""
    found = []
    with ExitStack() as stack:
        stack.enter_context(network_of_its_own())
        quiet_network()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ovs = stack.enter_context(private_ovs.running(system=True))
        make_bridge(ovs)
        if way == "NORMAL":
            ovs.ofctl("add-flow", BRIDGE, "actions=NORMAL")
        else:
            (folder / "policy.yaml").write_text(POLICY)
            options = (
                f"--ovsdb={ovs.database}",
                f"--policy={folder / 'policy.yaml'}",
                f"--state-dir={folder}",
            )
            attach(Host(ovs, options, stack.enter_context(launched(*options))))
        for number in range(given.restarts):
            with loaded(given.pause) as load:
                time.sleep(given.settle)
                seconds = restart(ovs, given.away)
                time.sleep(given.settle)
                lost = load.stop()
            found.append({"sent": load.sent, "lost": lost, "seconds": round(seconds, 2)})
            print(json.dumps({"way": way, "restart": number, **found[-1]}), flush=True)
    return found


def spread(values: list[float]) -> tuple[float, float]:
    """Return mean and standard deviation."""
    mean = sum(values) / len(values)
    return mean, (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5


def main() -> int:
    """Compare both ways; print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two packets of a flow")
    parser.add_argument("--away", type=float, default=0.0, help="seconds for which there is no ovsdb-server")
    parser.add_argument(
        "--settle", type=float, default=4.0, help="seconds of load before and after a restart"
    )
    parser.add_argument("--require", action="store_true")
    given = parser.parse_args()
    number: Callable[[dict[str, float]], float] = lambda item: item["lost"]  # noqa: E731
    results = {way: spread([number(item) for item in run(way, given)]) for way in WAYS}
    print(
        json.dumps(
            {way: {"lost": round(mean, 1), "deviation": round(by, 1)} for way, (mean, by) in results.items()}
        )
    )
    (normal, by_normal), (ours, by_ours) = (results[way] for way in WAYS)
    return 1 if given.require and ours > normal + by_normal + by_ours else 0


if __name__ == "__main__":
    sys.exit(main())
