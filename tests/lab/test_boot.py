"""The launcher's promises, each kept or broken by a real guest."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

BOOT = Path(__file__).parents[2] / "lab" / "boot"
PATIENCE_S = 400
"""For a guest on a busy machine without KVM, three attempts included."""


def lab(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(BOOT), "--layout", "bare", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def guests_of(launcher: int) -> list[int]:
    """QEMU processes started by ``launcher``; also when it is dead and they were left behind."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, status = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        if b"qemu-system" in command and f"LAB_TEST_MARK={launcher}".encode() in status:
            found.append(int(folder.name))
    return found


def wait_until(condition: object, seconds: float) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_output_status_folder_and_files(tmp_path: Path) -> None:
    """One boot, because boots cost seconds: streams apart, status, working folder, and no write reaches the host."""
    here, out = tmp_path / "here", tmp_path / "out"
    here.mkdir()
    (here / "given").write_text("from the host")
    script = (
        'echo "$WORD"; cat given; echo; pwd; uname -n; echo to-stderr >&2; '
        "echo x >given; echo y >/etc/flowlane-lab; echo z >$LAB_OUT/kept; exit 7"
    )
    done = lab("--out", str(out), "--env", "WORD=a b", "--", "sh", "-c", script, cwd=here)
    assert done.stdout.splitlines() == ["a b", "from the host", str(here), "lab"]
    assert (done.returncode, done.stderr) == (7, "to-stderr\n")
    assert (here / "given").read_text() == "from the host"
    assert not Path("/etc/flowlane-lab").exists()
    assert (out / "kept").read_text() == "z\n"
    assert sorted(path.name for path in here.iterdir()) == ["given"]


def test_time_out_is_124() -> None:
    done = lab("--timeout", "2", "--", "sleep", "1000")
    assert done.returncode == 124
    assert "not done after 2 s" in done.stderr


def test_a_guest_that_goes_away_is_125() -> None:
    done = lab("--", "busybox", "poweroff", "-f")
    assert done.returncode == 125
    assert "lost while the command ran" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_no_guest_outlives_its_launcher(how: signal.Signals) -> None:
    mark = os.getpid() * 100 + how
    environment = {**os.environ, "LAB_TEST_MARK": str(mark)}
    launcher = subprocess.Popen([BOOT, "--layout", "bare", "--", "sleep", "1000"], env=environment)
    try:
        assert wait_until(lambda: guests_of(mark), 60)
        launcher.send_signal(how)
        launcher.wait(10)
        assert wait_until(lambda: not guests_of(mark), 10)
    finally:
        launcher.kill()


def test_an_error_of_set_up_is_told_and_the_boot_tried_again() -> None:
    """More memory than there is: QEMU cannot even start, so the command has not run and may be tried again."""
    done = lab("--memory", "65536", "--cpus", "1", "--boot-timeout", "1", "--", "true")
    assert done.returncode == 125
    assert "attempt 3 of 3" in done.stderr
