"""What a sample costs the switch and the controller, in CPU time.

Usage: ``unshare --net python -m bench.detection.sampling_cost [--packets 200000] [--turns 4] [--one-in 4]``; needs
root and Open vSwitch. The same packets pass a private Open vSwitch (userspace datapath) without and with sampling, in
turns; the difference of the processes' CPU times over the number of samples is what a sample costs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

from bench.detection.__main__ import QUEUE_RATE, QUEUES, SAMPLED_POLICY, SIZE
from lab.inside import samples, tap_host
from lab.inside.manager import wait_for

FLOWS = 200
BURST, PAUSE = 20, 0.002
"""Packets that are sent together, and seconds between two bursts: no more than switch and controller can take."""


def cpu(pid: int) -> float:
    """CPU time of a process, in seconds (proc(5), stat: utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processes(host: tap_host.TapHost) -> tuple[int, int]:
    """The switch's and the controller's process."""
    pidfile = host.ovs.directory / "ovs-vswitchd.pid"
    return int(pidfile.read_text()), host.manager.process.pid


def wait_until_sampling(host: tap_host.TapHost, on: bool) -> None:
    """Wait until the device samples, or does not."""
    wait_for(lambda: (host.device()["sampling"] is not None) == on, 10, host.manager.log)


def spend(host: tap_host.TapHost, packets: int) -> tuple[float, float]:
    """Send packets of flows that are known; return the CPU time that switch and controller took for them."""
    frames = [tap_host.frame(1, 2000 + number, 80, bytes(SIZE)) for number in range(FLOWS)]
    for data in frames:
        host.send_frame(1, data)
    time.sleep(2.0)
    before = [cpu(pid) for pid in processes(host)]
    for number in range(packets):
        host.send_frame(1, frames[number % FLOWS])
        if not number % BURST:
            time.sleep(PAUSE)
    time.sleep(1.0)
    switch, controller = (cpu(pid) - was for pid, was in zip(processes(host), before, strict=True))
    return switch, controller


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=200_000)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--one-in", type=int, default=4)
    given = parser.parse_args()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    without, sampling = (SAMPLED_POLICY.format(sampling=text) for text in ("off", f"1/{given.one_in}"))
    with (
        tempfile.TemporaryDirectory() as folder,
        tap_host.running(
            Path(folder), without, samples.LISTEN, queues=QUEUES, rate=QUEUES * QUEUE_RATE
        ) as host,
    ):
        samples.export(host.ovs, tap_host.BRIDGE, samples.port_of(host.manager))
        spent = {policy: [0.0, 0.0] for policy in (without, sampling)}
        for turn in range(2 * given.turns):
            policy = (without, sampling)[turn % 2]
            host.put_policy(policy)
            wait_until_sampling(host, turn % 2 == 1)
            for place, seconds in enumerate(spend(host, given.packets // given.turns)):
                spent[policy][place] += seconds
        taken = host.device()["sampling"]["samples"]
    print(f"{taken} samples of {given.packets} packets (1 in {given.one_in})\n")
    print("| process | without (s) | with sampling (s) | a sample (µs) |\n|---|---|---|---|")
    for name, before, after in zip(("ovs-vswitchd", "flowlane-manager"), *spent.values(), strict=True):
        print(f"| {name} | {before:.2f} | {after:.2f} | {(after - before) / taken * 1e6:.0f} |")


if __name__ == "__main__":
    main()
