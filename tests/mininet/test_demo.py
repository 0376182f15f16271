"""``./run demo``, as a user types it: it ends well, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.hosts.network import ROOT, eventually

pytestmark = pytest.mark.usefixtures("no_other_demo")
RUN = str(ROOT / "run")


def processes_of_stage() -> list[str]:
    """Programs that a demo starts and that are still there; the tests' own Open vSwitch is no child of one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"{ROOT}/.run/demo" in words or "scripts.demo" in words:
                found.append(words)
    return found


@pytest.fixture(autouse=True)
def only_inside() -> None:
    if "FLOWLANE_PRIVATE" not in os.environ:
        pytest.fail("run these with ./run test mininet")


def start() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [RUN, "demo", "--seconds", "60"],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "==> traffic" in line:
            return process
    pytest.fail(f"the demo did not come to its traffic; status {process.wait()}")


def test_it_ends_with_the_table_of_assignments() -> None:
    done = subprocess.run(
        [RUN, "demo", "--seconds", "20"], cwd="/", check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    title = re.search(r"GET /v1/assignments: (\d+) flows", done.stdout)
    assert title, done.stdout
    assert int(title[1]) >= 40
    for word in ("small", "heavy", "voice", "backup", "Where to look next"):
        assert word in done.stdout
    for words in (
        "bond0 (balance-slb): pf0, pf1",
        "VLAN 100: pf0vf0, pf0vf1",
        "VLAN 200: pf0vf4",
        "10.0.2.100:873",
    ):
        assert words in done.stdout, done.stdout
    queues = set(re.findall(r"^(\S+:\d)  vm\d", done.stdout, re.MULTILINE))
    assert queues <= {f"bond0:{number}" for number in range(4)}, "one uplink, whose members have its queues"
    for limited in ("voice", "backup"):
        places = set(re.findall(rf"^(\S+:\d)  vm\d.* {limited} ", done.stdout, re.MULTILINE))
        assert len(places) == 1, f"{limited} has max-queues: 1, and is on {places}\n{done.stdout}"
    eventually("nothing is left", lambda: not processes_of_stage(), 3)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_it_leaves_nothing(how: signal.Signals) -> None:
    process = start()
    time.sleep(2)
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does it
    else:
        process.send_signal(how)
    process.communicate(timeout=20)
    assert process.returncode != 0
    eventually("nothing is left", lambda: not processes_of_stage(), 5)
