"""A private Open vSwitch for tests: real ovsdb-server and ovs-vswitchd in a temporary directory, no root.

Bridges are made of dummy network devices, so the whole OpenFlow side is real and no packet leaves the
process. ``ovs-appctl ofproto/trace`` shows what would happen to a packet, :meth:`PrivateOvs.receive` injects
it.

A dummy port accepts QoS and Queue rows and ``set_queue`` with any id, but reports only queue 0, whatever its
rows, and queue 0 even without rows (OVS lib/netdev-dummy.c has queue functions of its own). Tests that need a
switch to *report* several queues use ``PrivateOvs(system=True)``, which needs root: its ports are tap devices
of the userspace datapath, whose queues are those of their QoS row.

This module is not called ``ovs`` because the tests' directory is on the path, and ``ovs`` is the Python
package of Open vSwitch.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

TOOLS = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
ALL_VERSIONS = "OpenFlow13,OpenFlow14,OpenFlow15"
_NOT_CONNECTED = "(Broken pipe)"
TIMEOUT = 20.0
"""Seconds that a daemon may take to start, or a tool to run."""


class OvsError(AssertionError):
    """A tool of Open vSwitch failed, or is missing; the test fails with its output."""


def require_tools() -> None:
    """Raise OvsError when Open vSwitch is not installed."""
    missing = [tool for tool in TOOLS if _tool(tool) is None]
    if missing or not SCHEMA.exists():
        raise OvsError(f"install openvswitch-switch: {', '.join(missing) or SCHEMA} not found")


def _tool(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin")


class PrivateOvs:
    """One running Open vSwitch. Use :func:`running` or the ``ovs`` fixture; they stop it too."""

    def __init__(self, directory: Path, *, system: bool = False, tunnels: bool = False) -> None:
        self.directory = directory
        self.tunnels = tunnels
        self.system = system
        self.datapath = "netdev" if system else "dummy"
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._collected: list[str] | None = None
        """What :meth:`together` has collected; None outside of it."""
        self._env = {
            **os.environ,
            "OVS_RUNDIR": str(directory),
            "OVS_LOGDIR": str(directory),
            "OVS_DBDIR": str(directory),
        }

    @property
    def database(self) -> str:
        """The database's remote, for ovs-vsctl and the OVS IDL."""
        return f"unix:{self.directory}/db.sock"

    @property
    def process(self) -> int:
        """The id of ovs-vswitchd's process, by which its network namespace is known."""
        return self._daemons[-1].pid

    def start(self) -> None:
        """Start both daemons and wait for their sockets."""
        require_tools()
        self._run("ovsdb-tool", "create", f"{self.directory}/conf.db", str(SCHEMA))
        self._start_database()
        self.vsctl("--no-wait", "init")
        self._start_vswitchd()

    def restart_vswitchd(self) -> None:
        """End ovs-vswitchd and start it again: entries, groups and meters are lost, the database is not."""
        daemon = self._daemons.pop()
        daemon.terminate()
        daemon.wait(TIMEOUT)
        (self.directory / "vswitchd.ctl").unlink(missing_ok=True)
        self._start_vswitchd()
        self.vsctl(
            "set", "Open_vSwitch", ".", "external_ids:restarts=1"
        )  # Waits until it has read the database.

    @contextmanager
    def without_database(self) -> Iterator[Path]:
        """Run the block without ovsdb-server, whose file may be changed in it (``ovsdb-tool transact``)."""
        database = self._daemons.pop(0)
        database.terminate()
        database.wait(TIMEOUT)
        for name in ("db.sock", "ovsdb.ctl"):
            (self.directory / name).unlink(missing_ok=True)
        yield self.directory / "conf.db"
        self._start_database()
        # The process of ovs-vswitchd is the last one.
        self._daemons.insert(0, self._daemons.pop())

    def _start_database(self) -> None:
        self._spawn(
            "ovsdb-server",
            f"{self.directory}/conf.db",
            f"--remote=punix:{self.directory}/db.sock",
            f"--unixctl={self.directory}/ovsdb.ctl",
        )
        self._wait_for(self.directory / "db.sock")

    def _start_vswitchd(self) -> None:
        dummy = "--enable-dummy" if self.tunnels else "--enable-dummy=override"
        devices = () if self.system else (dummy, "--disable-system", "--disable-system-route")
        self._spawn(
            "ovs-vswitchd",
            f"unix:{self.directory}/db.sock",
            f"--unixctl={self.directory}/vswitchd.ctl",
            *devices,
        )
        self._wait_for(self.directory / "vswitchd.ctl")

    def stop(self) -> None:
        """End both daemons, and delete the devices that they made."""
        if self.system and all(daemon.poll() is None for daemon in self._daemons):
            for bridge in self.vsctl("list-br").split():
                self.vsctl("del-br", bridge)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl, which waits until ovs-vswitchd has applied the change."""
        if self._collected is not None and not any(word.startswith("--id=") for word in arguments):
            self._collected += ("--", *arguments)
            return ""
        self._apply()
        return self._run("ovs-vsctl", f"--db={self.database}", f"--timeout={TIMEOUT:.0f}", *arguments)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Collect the calls of :meth:`vsctl` in the block, which return nothing, for one transaction.

        It is made before another tool is run, and at the end of the block.
        """
        self._collected = []
        try:
            yield
            self._apply()
        finally:
            self._collected = None

    def _apply(self) -> None:
        if collected := self._collected:
            self._collected = []
            self._run("ovs-vsctl", f"--db={self.database}", f"--timeout={TIMEOUT:.0f}", *collected)

    def ofctl(self, command: str, bridge: str, *arguments: str, version: str = ALL_VERSIONS) -> str:
        """Run ovs-ofctl on a bridge of this instance, over OpenFlow on its management socket."""
        self._apply()
        words = ("ovs-ofctl", "-O", version, command, f"unix:{self.management(bridge)}", *arguments)
        try:
            return self._run(*words)
        except OvsError as error:
            # The bridge closes the connections to its management socket when its controllers change.
            if _NOT_CONNECTED not in str(error):
                raise
            return self._run(*words)

    def appctl(self, *arguments: str) -> str:
        """Run ovs-appctl against ovs-vswitchd."""
        self._apply()
        return self._run("ovs-appctl", "-t", f"{self.directory}/vswitchd.ctl", *arguments)

    def database_control(self, *arguments: str) -> str:
        """Run ovs-appctl against ovsdb-server."""
        return self._run("ovs-appctl", "-t", f"{self.directory}/ovsdb.ctl", *arguments)

    @property
    def control_socket(self) -> Path:
        """Path of ovs-vswitchd's control socket."""
        return self.directory / "vswitchd.ctl"

    def control(self, command: str, *arguments: str) -> str:
        """Run a command of ovs-vswitchd as ovs-appctl does, without starting a program: JSON-RPC on its socket.

        It is answered in less than 1 ms, by the thread that also forwards what dummy ports receive.
        """
        self._apply()
        request = {"id": 0, "method": command, "params": arguments}
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect(str(self.control_socket))
            sock.sendall(json.dumps(request).encode())
            received, reply = b"", None
            while reply is None:
                if not (chunk := sock.recv(1 << 16)):
                    raise OvsError(f"{command}: ovs-vswitchd closed the connection")
                received += chunk
                with suppress(ValueError):
                    reply = json.loads(received)
        if reply["error"] is not None:
            raise OvsError(f"{command} {' '.join(arguments)}\n{reply['error']}")
        return str(reply["result"])

    def trace(self, bridge: str, packet: str, frame: bytes = b"") -> str:
        """Return the output of ofproto/trace for a packet (``in_port=1,tcp,nw_src=...``).

        Args:
            frame: the packet's bytes; ``packet`` is then its ingress port only.
        """
        return self.appctl("ofproto/trace", bridge, packet, *((frame.hex(),) if frame else ()))

    def receive(self, port: str, packet: str, length: int | None = None) -> None:
        """Let a dummy port receive a packet: hex bytes, or a flow in the datapath's language.

        Args:
            length: bytes of a packet given as a flow; the rest of it is zeros.
        """
        self.appctl("netdev-dummy/receive", port, packet, *(() if length is None else ("--len", str(length))))

    def management(self, bridge: str) -> str:
        """Return the path of a bridge's OpenFlow management socket."""
        return f"{self.directory}/{bridge}.mgmt"

    def add_bridge(
        self,
        name: str = "br0",
        ports: Iterable[str] = ("p1", "p2", "p3", "p4"),
        *,
        dpid: int | None = None,
        controller: str | None = None,
        versions: str = ALL_VERSIONS,
        external_ids: Mapping[str, str] | None = None,
    ) -> None:
        """Add a bridge in secure fail mode; its ports get the OpenFlow numbers 1, 2, 3 ... in order.

        Args:
            dpid: its datapath id.
            controller: its target, such as ``tcp:127.0.0.1:6653``.
        """
        command = [
            "add-br",
            name,
            "--",
            "set",
            "Bridge",
            name,
            f"datapath_type={self.datapath}",
            "fail_mode=secure",
        ]
        command.append(f"protocols={versions}")
        command += [f"external_ids:{key}={value}" for key, value in (external_ids or {}).items()]
        if dpid is not None:
            command.append(f"other_config:datapath-id={dpid:016x}")
        if controller is not None:
            command += ["--", "set-controller", name, controller]
        for number, port in enumerate(ports, start=1):
            command += self._add_port(name, port, number)
        self.vsctl(*command)

    def add_port(self, bridge: str, port: str, number: int) -> None:
        """Add one port with the given OpenFlow number."""
        self.vsctl(*self._add_port(bridge, port, number)[1:])

    def _add_port(self, bridge: str, port: str, number: int) -> list[str]:
        kind = "internal" if self.system else "dummy"
        add = ["--", "add-port", bridge, port]
        return [*add, "--", "set", "Interface", port, f"type={kind}", f"ofport_request={number}"]

    def set_queues(
        self,
        port: str,
        queues: Mapping[int, Mapping[str, str]],
        *,
        kind: str = "linux-htb",
        max_rate: int = 10**9,
        software: Collection[int] = (),
    ) -> None:
        """Give a port a QoS row with these queues: queue id -> its other_config (rates in bit/s).

        Args:
            software: ids of the queues that are software queues.
        """
        rows = [f"queues:{number}=@q{number}" for number in queues]
        command = ["set", "Port", port, "qos=@qos", "--", "--id=@qos", "create", "QoS", f"type={kind}"]
        command += [f"other-config:max-rate={max_rate}", *rows]
        for number, settings in queues.items():
            command += ["--", f"--id=@q{number}", "create", "Queue", f"external_ids:number={number}"]
            command += [f"other-config:{key}={value}" for key, value in settings.items()]
            command += ["external_ids:flowlane-kind=software"] if number in software else []
        self.vsctl(*command)

    def _run(self, tool: str, *arguments: str) -> str:
        done = subprocess.run(
            [_tool(tool) or tool, *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=2 * TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise OvsError(f"{tool} {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _spawn(self, daemon: str, *arguments: str) -> None:
        log = self.directory / f"{daemon}.log"
        with log.open("wb") as output:
            command = [_tool(daemon) or daemon, *arguments, f"--pidfile={self.directory}/{daemon}.pid"]
            self._daemons.append(
                subprocess.Popen(
                    command, env=self._env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            )

    def _wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not _accepts(path):
            if time.monotonic() > deadline or self._daemons[-1].poll() is not None:
                logs = "\n".join(log.read_text(errors="replace") for log in self.directory.glob("*.log"))
                raise OvsError(f"{path} did not appear\n{logs}")
            time.sleep(0.01)


def _accepts(path: Path) -> bool:
    """Whether a daemon accepts connections to its socket: the file is there a moment before (bind(2), listen(2))."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


@contextmanager
def running(*, system: bool = False, tunnels: bool = False) -> Iterator[PrivateOvs]:
    """Run an Open vSwitch; it is stopped and its directory removed at the end.

    The directory has a short name: a unix socket's path holds 107 characters at most.

    Args:
        tunnels: whether tunnel ports are those of Open vSwitch; otherwise they are dummy devices, as all others are.
    """
    directory = Path(tempfile.mkdtemp(prefix="fl-ovs-"))
    switch = PrivateOvs(directory, system=system, tunnels=tunnels)
    try:
        switch.start()
        yield switch
    finally:
        switch.stop()
        shutil.rmtree(directory, ignore_errors=True)
