"""What belongs to an experiment in the lab and runs outside the guest: the controller, and the far end of the wire.

The emulated CPU then carries what the experiment is about: the VMs' stacks, the switch and the NIC.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
LOOPBACK = "127.0.0.1"

WITH_US = ("setpriv", "--pdeathsig", "TERM")
"""Has the kernel end a program with this one, however this one ends (setpriv(1))."""


START_S = 60.0


class OutsideError(Exception):
    """A program that the experiment needs does not run; the text is what it said."""


class Ports(NamedTuple):
    """TCP and UDP ports of 127.0.0.1."""

    openflow: int
    rest: int
    ovsdb: int
    echo: int
    heavy: int

    @property
    def url(self) -> str:
        """Where the controller's REST answers."""
        return f"http://{LOOPBACK}:{self.rest}"


def free_ports() -> Ports:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in Ports._fields]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return Ports(*(each.getsockname()[1] for each in sockets))


@contextlib.contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """Run a program for the length of a block, once it listens on a TCP port; what it says goes to ``log``.

    Raises:
        OutsideError: it has ended, or does not listen within START_S.
    """
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*WITH_US, *command], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
    try:
        deadline = time.monotonic() + START_S
        while not _listening(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise OutsideError(f"{command[0]} does not run:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait()


def _listening(port: int) -> bool:
    """Whether the port is taken; iperf3 would count a connection as a client."""
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


@contextlib.contextmanager
def far_end(ports: Ports, log: Path) -> Iterator[None]:
    """Answer the VMs: every UDP request is sent back, and iperf3 takes what is heavy."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((LOOPBACK, ports.echo))
        threading.Thread(target=_send_back, args=(server,), daemon=True).start()
        with running(["iperf3", "-s", "-B", LOOPBACK, "-p", str(ports.heavy)], ports.heavy, log):
            yield


def _send_back(server: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed: the block is over
        while True:
            data, sender = server.recvfrom(2048)
            server.sendto(data, sender)


@contextlib.contextmanager
def controller(ports: Ports, policy: Path, log: Path) -> Iterator[None]:
    """Run flowlane-manager, which drives the guest's switch."""
    command = [
        str(ROOT / ".venv/bin/flowlane-manager"), "--ofp-listen-host", LOOPBACK,
        "--ofp-tcp-listen-port", str(ports.openflow), "--wsapi-port", str(ports.rest),
        "--ovsdb", f"tcp:{LOOPBACK}:{ports.ovsdb}", "--policy", str(policy),
    ]  # fmt: skip
    with running(command, ports.rest, log):
        yield


def guest_command(ports: Ports, out: Path, options: Sequence[str], program: Sequence[str]) -> list[str]:
    """Return the command that boots a guest, with this machine as its far end, and runs a Python program in it."""
    known = {
        "CONTROLLER": f"tcp:10.0.2.2:{ports.openflow}",
        "REST": f"http://10.0.2.2:{ports.rest}",
        "ECHO": str(ports.echo),
        "HEAVY": str(ports.heavy),
    }
    environment = [word for name, value in known.items() for word in ("--env", f"BENCH_{name}={value}")]
    environment += ["--env", f"PYTHONPATH={ROOT}:{ROOT / 'app'}"]
    forward = ["--hostfwd", f"tcp:{LOOPBACK}:{ports.ovsdb}-:6640"]
    boot = [str(ROOT / "lab/boot"), "--far", "host", "--out", str(out), *forward, *environment, *options]
    return [*boot, "--", str(ROOT / ".venv/bin/python"), "-m", *program]


def run_in_guest(
    ports: Ports, out: Path, options: Sequence[str], program: Sequence[str]
) -> subprocess.CompletedProcess[bytes]:
    """Boot, run, and return when the guest is gone.

    Raises:
        subprocess.CalledProcessError: the program failed, or the lab did not start.
    """
    command = [*WITH_US, *guest_command(ports, out, options, program)]
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def run_inside_guest(out: Path, options: Sequence[str], program: Sequence[str]) -> None:
    """Boot a guest that is its own far end, run a Python program in it, and return when it is gone.

    Raises:
        subprocess.CalledProcessError: the program failed, or the lab did not start.
    """
    environment = ["--env", f"PYTHONPATH={ROOT}:{ROOT / 'app'}"]
    boot = [str(ROOT / "lab/boot"), "--out", str(out), *environment, *options]
    command = [*WITH_US, *boot, "--", str(ROOT / ".venv/bin/python"), "-m", *program]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
