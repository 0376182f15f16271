"""``./run demo --lab``, as a user types it: the small flows are better off in the end, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

RUN = str(Path(__file__).parents[2] / "run")
PATIENCE_S = 400
"""For a guest on a busy machine without KVM."""


def processes_of(mark: str) -> list[str]:
    """Command lines of what carries ``mark`` in its environment, as all do that the demo has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"LAB_TEST_MARK={mark}".encode() in environment.split(b"\0"):
            found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found


def nothing_is_left(mark: str) -> bool:
    deadline = time.monotonic() + 30
    while processes_of(mark) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not processes_of(mark)


def start(mark: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [RUN, "demo", "--lab", *words],
        cwd="/",
        env={**os.environ, "LAB_TEST_MARK": mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_small_flows_are_better_off_when_heavy_ones_have_queues_of_their_own() -> None:
    mark = f"demo-{os.getpid()}"
    demo = start(mark, "--seconds", "12")
    try:
        said, _ = demo.communicate(timeout=PATIENCE_S)
    finally:
        demo.kill()
    assert demo.returncode == 0, said
    middle = {
        name: float(ms)
        for name, ms in re.findall(r"^  (without others|one queue|flowlane) +p50 +([\d.]+) ms", said, re.M)
    }
    assert middle["flowlane"] < middle["one queue"], said
    # Two heavy flows, a queue each, and the small ones in another: judged by the kernel's scheduler.
    counted = re.search(r"counted by the kernel: (.*)", said)
    assert counted, said
    used = [int(count) for count in re.findall(r"queue \d+: (\d+)", counted[1])]
    assert sum(count > 0 for count in used) >= 3, said
    assert nothing_is_left(mark), processes_of(mark)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_ended_early_it_leaves_nothing(how: signal.Signals) -> None:
    mark = f"demo-{os.getpid()}-{how}"
    demo = start(mark)
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "boots" in line:
                break
        time.sleep(5)
        assert any("qemu-system" in words for words in processes_of(mark))
        demo.send_signal(how)
        demo.wait(20)
        assert nothing_is_left(mark), processes_of(mark)
    finally:
        demo.kill()
        demo.communicate()
