"""The launcher's promises, each kept or broken by a real guest."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.hosts.guests import guests_of

pytestmark = pytest.mark.lab

BOOT = Path(__file__).parents[2] / "lab" / "boot"
PATIENCE_S = 400
"""For a guest on a busy machine without KVM, three attempts included."""


def lab(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(BOOT), "--layout", "bare", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


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


def test_a_guest_that_does_not_come_up_is_tried_again_and_told() -> None:
    """The command has not run, so that trying again repeats nothing."""
    done = lab("--boot-timeout", "1", "--", "true")
    assert done.returncode == 125
    assert "attempt 3 of 3" in done.stderr


def test_more_memory_than_there_is() -> None:
    done = lab("--memory", "65536", "--", "true")
    assert (done.returncode, "--memory" in done.stderr) == (125, True), done.stderr


def test_no_qemu_and_no_archive_to_get_it_from(tmp_path: Path) -> None:
    """Nothing in the cache, and no archive answers: said in one line of its own, and nothing is left half done."""
    nowhere = {"FLOWLANE_CACHE": str(tmp_path), "FLOWLANE_LAB_MIRROR": "http://127.0.0.1:9/debian"}
    done = subprocess.run(
        [BOOT, "--", "true"], env={**os.environ, **nowhere}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 125
    assert "fetching QEMU" in done.stderr
    assert "apt-get -qq update failed" in done.stderr
    assert "FLOWLANE_LAB_MIRROR names another mirror" in done.stderr
    assert not list(tmp_path.glob("lab/software-????????????"))


LOOP = """
for n in 1 2 3 4 5 6; do
    read begin rest </proc/uptime
    i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); done
    read end rest </proc/uptime
    echo $begin $end
    [ $n != 3 ] || touch $LAB_OUT/half
done
"""


def test_a_clock_that_counts_instructions_does_not_pass_faster_on_a_busy_machine(tmp_path: Path) -> None:
    """The machine is idle, as far as this test knows, for the first three loops, and has much to do for the others."""
    words = ["--layout", "bare", "--accel", "icount", "--boot-timeout", "300", "--out", str(tmp_path)]
    others: list[subprocess.Popen[bytes]] = []
    with subprocess.Popen(
        [str(BOOT), *words, "--", "sh", "-c", LOOP], stdout=subprocess.PIPE, text=True
    ) as launcher:
        try:
            assert wait_until((tmp_path / "half").exists, PATIENCE_S)
            busy = ["sh", "-c", "while :; do :; done"]
            others += [subprocess.Popen(busy) for _ in range(os.cpu_count() or 1)]
            printed, _ = launcher.communicate(timeout=PATIENCE_S)
        finally:
            launcher.terminate()
            for other in others:
                other.kill()
                other.wait()
    times = [float(end) - float(begin) for begin, end in map(str.split, printed.splitlines())]
    assert len(times) == 6
    assert max(times) < 1.25 * min(times), times


FACTS = """
nproc; ip netns list | grep -c ^vm
cd /sys/class/net/pf0; ls -d queues/tx-* | wc -l; cat device/sriov_numvfs
awk '/MemTotal/ { print int($2 / 1024) < 1100 }' /proc/meminfo; ls -d /sys/class/net/sr0 2>/dev/null | wc -l
ovs-vsctl --bare --columns=other_config list qos
ovs-vsctl --bare --columns=other_config list queue | grep . | sort | uniq -c
ip netns exec vm1 ethtool -i eth0 | head -n 1
"""
"""CPUs, VMs, the uplink's transmit queues and VFs, memory below 1100 MiB, VF NICs, the port's and the queues' rates."""


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (
            "--layout veth --vms 7 --queues 2 --rate 20Mbit/s --min-rate 3Mbit/s --cpus 3 --memory 1024",
            "3 7 2 0 1 0 max-rate=20000000 2 max-rate=20000000 min-rate=3000000 driver: veth",
        ),
        (
            "--layout sriov --nics two --vms 2 --queues 3 --rate 30Mbit/s --cpus 2",
            "2 2 3 0 0 1 max-rate=30000000 3 max-rate=30000000 min-rate=3000000 driver: igbvf",
        ),
        (
            "--layout sriov --nics one --vms 3 --queues 4 --rate 40Mbit/s",
            "1 3 1 3 0 0 max-rate=40000000 1 max-rate=40000000 min-rate=4000000 driver: igbvf",
        ),
    ],
    ids=["veth", "two NICs", "one NIC"],
)
def test_options_are_what_the_guest_has(words: str, facts: str) -> None:
    done = lab(*words.split(), "--", "sh", "-c", FACTS)
    assert (done.returncode, done.stdout.split()) == (0, facts.split()), done.stderr
