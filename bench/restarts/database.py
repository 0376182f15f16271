"""Restart ovsdb-server under load, with Flowlane and without, and count the packets that are lost.

Without a connection to its database ovs-vswitchd does none of its work: its main thread, which forwards on the
userspace datapath, waits for the lock of the database (``bridge_run()`` in vswitchd/bridge.c). What the ports' queues
(500 packets, tun) do not hold until then is lost, whoever has programmed the bridge.

Three ways take turns: NORMAL alone, whose entries in the datapath are few; NORMAL behind an entry that looks at the
ports of each packet, so that each new flow is an upcall of that thread, as with Flowlane; and Flowlane.
``--realtime`` has switch, controller and senders run before all else on the machine.

Run as root: ``python -m bench.restarts.database --restarts 10``. With ``--require`` the exit code is 1 where more is
lost with Flowlane than under NORMAL with an upcall for each flow, by more than a tenth and what the restarts of one way
differ among themselves.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.restarts.scene import BRIDGE, POLICY, VMS, Host, attach, loaded, make_bridge, quiet_network
from lab.inside import private_ovs
from lab.inside.experiment import first_on_the_machine
from lab.inside.manager import launched
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs

NORMAL, BY_FLOW, FLOWLANE = "NORMAL", "NORMAL by flow", "Flowlane"
WAYS = (NORMAL, BY_FLOW, FLOWLANE)

LOOK_AT_PORTS = "move:NXM_OF_UDP_SRC[]->NXM_NX_REG0[0..15],move:NXM_OF_UDP_DST[]->NXM_NX_REG0[16..31]"
"""Has no effect but that an entry of the datapath is good for one pair of ports only."""


TOLERATED = 1.1
"""Times what is lost under NORMAL with an upcall for each flow that may be lost with Flowlane."""


class Restart(NamedTuple):
    """What a restart has cost: packets sent and lost, those of them that were sent when it was over, its seconds."""

    sent: int
    lost: int
    lost_after: int
    seconds: float


def restart(ovs: PrivateOvs, away: float) -> tuple[float, float]:
    """Restart ovsdb-server; return when that began, and when ovs-vswitchd had taken in a change again."""
    began = time.monotonic()
    with ovs.without_database():
        time.sleep(away)
    ovs.vsctl("set", "Bridge", BRIDGE, "external_ids:bench=1")
    ovs.vsctl("remove", "Bridge", BRIDGE, "external_ids", "bench")
    return began, time.monotonic()


@contextmanager
def prepared(way: str, realtime: bool) -> Iterator[PrivateOvs]:
    """A switch that forwards in one of the ways."""
    with ExitStack() as stack:
        stack.enter_context(network_of_its_own())
        quiet_network()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ovs = stack.enter_context(private_ovs.running(system=True))
        make_bridge(ovs)
        processes = [ovs.process]
        if way == FLOWLANE:
            (folder / "policy.yaml").write_text(POLICY)
            options = (
                f"--ovsdb={ovs.database}",
                f"--policy={folder / 'policy.yaml'}",
                f"--state-dir={folder}",
            )
            manager = stack.enter_context(launched(*options))
            attach(Host(ovs, options, manager))
            processes.append(manager.process.pid)
        else:
            ovs.ofctl("add-flow", BRIDGE, "actions=NORMAL")
        if way == BY_FLOW:
            ovs.ofctl("add-flow", BRIDGE, f"priority=65535,udp actions={LOOK_AT_PORTS},NORMAL")
        stack.enter_context(first_on_the_machine(processes, realtime))
        yield ovs


def run(way: str, given: argparse.Namespace) -> list[Restart]:
    """Restart the database again and again; return what each has lost."""
    found = []
    with prepared(way, given.realtime) as ovs:
        for _ in range(given.restarts):
            with loaded(given.pause, VMS / given.new_flows) as load:
                time.sleep(given.settle)
                began, back = restart(ovs, given.away)
                time.sleep(given.settle)
                lost = load.stop()
            after = sum(at > back for at in load.lost_at())
            found.append(Restart(load.sent, lost, after, round(back - began, 2)))
            print(json.dumps({"way": way, **found[-1]._asdict()}), flush=True)
    return found


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the median, and the median of how far the values are from it.

    A database that is not there at the first try is tried again after 2 s and 4 s: then all ways lose what comes
    meanwhile, and a mean would say how often that was.
    """
    middle = statistics.median(values)
    return middle, statistics.median(abs(value - middle) for value in values)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the ways; print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way")
    parser.add_argument("--restarts", type=int, default=2, help="restarts in a turn")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two packets of a flow")
    parser.add_argument("--new-flows", type=float, default=40.0, help="flows that begin in a second")
    parser.add_argument("--away", type=float, default=0.0, help="seconds for which there is no ovsdb-server")
    parser.add_argument(
        "--settle", type=float, default=4.0, help="seconds of load before and after a restart"
    )
    parser.add_argument("--realtime", action="store_true", help="for machines that have other work")
    parser.add_argument("--require", action="store_true")
    given = parser.parse_args(arguments)
    found: dict[str, list[Restart]] = {way: [] for way in WAYS}
    for _ in range(given.rounds):
        for way in WAYS:
            found[way] += run(way, given)
    lost = {way: spread([item.lost for item in items]) for way, items in found.items()}
    text = {
        way: {
            "lost": lost[way][0],
            "deviation": lost[way][1],
            "least": min(item.lost for item in items),
            "most": max(item.lost for item in items),
            "after": max(item.lost_after for item in items),
        }
        for way, items in found.items()
    }
    print(json.dumps(text))
    (by_flow, by_by_flow), (ours, by_ours) = lost[BY_FLOW], lost[FLOWLANE]
    return 1 if given.require and ours > TOLERATED * by_flow + by_by_flow + by_ours else 0


if __name__ == "__main__":
    sys.exit(main())
