"""Kill the controller at random moments under load, again and again, and list what that has changed.

Flows come and go on a real Open vSwitch (userspace datapath), with limits, a hint, a pin by hand and a
cordoned queue. Before each ``kill -9`` and some seconds after the next start the switch's tables, groups
and meters are read, and the assignments of the flows that go on; packets are counted where they enter and leave.
``--control`` shows what the load changes by itself.

Run as root: ``python -m bench.restarts --kills 50``. ``--away 60`` leaves the controller away for so long each time.
With ``--require`` the exit code is 1 where anything has changed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.restarts.scene import (
    POLICY,
    Host,
    attach,
    differences,
    loaded,
    make_bridge,
    order,
    quiet_network,
    settled,
    snapshot,
)
from lab.inside import private_ovs
from lab.inside.manager import launched, wait_for
from lab.inside.namespaces import network_of_its_own

KINDS = ("entries", "groups", "meters", "places")


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, start, compare; print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--settle", type=float, default=10.0, help="seconds without a change before the first one"
    )
    parser.add_argument(
        "--away", type=float, default=0.0, help="seconds until the controller is started again"
    )
    parser.add_argument("--after", type=float, default=7.0, help="seconds from connection to comparison")
    parser.add_argument("--control", action="store_true", help="kill nothing: what the load itself changes")
    parser.add_argument(
        "--require", action="store_true", help="exit code 1 where anything was changed or lost"
    )
    given = parser.parse_args(arguments)
    with ExitStack() as stack:
        stack.enter_context(network_of_its_own())
        quiet_network()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "state").mkdir()
        ovs = stack.enter_context(private_ovs.running(system=True))
        (folder / "policy.yaml").write_text(POLICY)
        state, policy = f"--state-dir={folder / 'state'}", f"--policy={folder / 'policy.yaml'}"
        options = (f"--ovsdb={ovs.database}", policy, state)
        running = Host(ovs, options, stack.enter_context(launched(*options)))
        make_bridge(ovs)
        attach(running)
        load = stack.enter_context(loaded())
        order(running)
        settled(running, given.settle)
        traces = []
        moments = random.Random(given.seed)
        for number in range(given.kills):
            time.sleep(moments.uniform(0.5, 3.0))
            before = snapshot(running)
            if not given.control:
                running.manager.process.kill()
                running.manager.process.wait()
                time.sleep(given.away)
                running.manager = stack.enter_context(launched(*running.options))
                wait_for(running.is_connected, 60, "the switch does not connect again")
            time.sleep(given.after)
            found = differences(before, snapshot(running))
            if found:
                traces.append(found)
                print(json.dumps({"kill": number, **found}, indent=1)[:6000], flush=True)
        lost = load.stop()
        summary = {
            "kills": 0 if given.control else given.kills,
            "with a trace": len(traces),
            **{what: sum(what in trace for trace in traces) for what in KINDS},
            "packets": load.sent,
            "lost": lost,
        }
        print(json.dumps(summary))
    return 1 if given.require and (traces or lost) else 0


if __name__ == "__main__":
    sys.exit(main())
