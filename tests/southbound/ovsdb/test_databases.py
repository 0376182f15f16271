"""Several databases: real servers beside others that are hung, wrong or gone, which cost their own host only."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

import eventlet
import pytest
from eventlet.green import socket
from support.engine.scenario import small_policy
from support.ovs.ovsdb_server import Server

from flowlane import readiness
from flowlane.core.engine import Engine
from flowlane.core.events import DescriptionRemoved, DeviceDescribed
from flowlane.errors import ConfigError, NotFoundError, RequestError
from flowlane.southbound.ovsdb import databases as module
from flowlane.southbound.ovsdb import jsonrpc, listener, watcher
from flowlane.southbound.ovsdb.databases import Databases, DatabaseStatus
from flowlane.southbound.ovsdb.remote import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowlane.core.events import Event


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AFTER", 0.05)
    monkeypatch.setattr(watcher, "BACKOFF", (0.05, 0.2))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "2").mkdir()
    made = Server(tmp_path / "2")
    made.start()
    yield made
    made.stop()


class Watch:
    def __init__(self, *values: str, connected: set[int] | None = None, forget_after: float = 600) -> None:
        self.events: list[Event] = []
        self.databases = Databases(
            values, TlsFiles(), self.events.append, lambda dpid: dpid in (connected or ()), forget_after
        )
        self.databases.start()

    def until(self, true: Callable[[], object], seconds: float = 20.0) -> None:
        with eventlet.Timeout(seconds, AssertionError(f"{self.events} {self.databases.statuses()}")):
            while not true():
                eventlet.sleep(0.01)

    def status(self, name: str) -> DatabaseStatus:
        return {status.name: status for status in self.databases.statuses()}[name]

    def state(self, name: str) -> str:
        return {status.name: status.watcher.state for status in self.databases.statuses()}.get(name, "")

    def until_noted(self, dpid: int, note: str) -> None:
        """Wait until a bridge is described with the external id ``n``."""
        self.until(
            lambda: any(
                isinstance(e, DeviceDescribed) and e.dpid == dpid and e.external_ids.get("n") == note
                for e in self.events
            )
        )

    def dpids(self) -> set[int]:
        known: set[int] = set()
        for event in self.events:
            assert isinstance(event, DeviceDescribed | DescriptionRemoved)
            (known.add if isinstance(event, DeviceDescribed) else known.discard)(event.dpid)
        return known


@pytest.fixture
def following() -> Iterator[list[Databases]]:
    made: list[Databases] = []
    yield made
    for databases in made:
        databases.stop()


def hung_unix(path: Path) -> socket.socket:
    """A unix socket whose backlog is full: connect(2) would block for ever."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(0)
    for _ in range(3):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        client.fd.connect_ex(str(path))
        CLIENTS.append(client)
    return sock


CLIENTS: list[socket.socket] = []


def serve(answer: Callable[[socket.socket], object]) -> int:
    """A TCP server that answers each connection in its own way; its port."""
    sock = eventlet.listen(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            eventlet.spawn(answer, sock.accept()[0])

    eventlet.spawn(accept)
    return int(sock.getsockname()[1])


def flood(sock: socket.socket) -> None:
    """Echo requests without end: what they cost is bounded."""
    message = b'{"method":"echo","params":[],"id":"x"}' * 500
    try:
        eventlet.spawn(lambda: [None for _ in iter(lambda: sock.recv(1 << 16), b"")])
        while True:
            sock.sendall(message)
    except OSError:
        pass


def test_sick_databases_cost_their_own_host_only(server: Server, other: Server, tmp_path: Path) -> None:
    server.bridge("br0", 0xA, "vf0")
    other.bridge("br0", 0xB, "vf0")
    full = hung_unix(tmp_path / "full.sock")
    silent = serve(lambda sock: eventlet.sleep(100))
    drip = serve(lambda sock: [(sock.sendall(b'{"a"'), eventlet.sleep(0.1)) for _ in range(100)])
    sick = {
        "full": f"unix:{tmp_path}/full.sock",
        "silent": f"tcp:127.0.0.1:{silent}",
        "drip": f"tcp:127.0.0.1:{drip}",
        "gone": "tcp:127.0.0.1:1",
        "none": f"unix:{tmp_path}/none.sock",
        "flood": f"tcp:127.0.0.1:{serve(flood)}",
    }
    watch = Watch(
        ",".join(f"{k}={v}" for k, v in sick.items()), f"one={server.remote}", f"two={other.remote}"
    )
    watch.until(lambda: watch.dpids() == {0xA, 0xB})
    longest, last, cpu = 0.0, time.monotonic(), time.process_time()
    for number in range(5):
        server.vsctl("set", "bridge", "br0", f"external_ids:n={number}")
        watch.until_noted(0xA, str(number))
        last = time.monotonic()
        for _ in range(20):
            eventlet.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert time.process_time() - cpu < 5.0
    assert longest < 1.0, "nobody blocks the process"
    watch.until(lambda: all(watch.status(name).watcher.problem for name in ("gone", "none", "full")))
    assert all(watch.state(name) != "synchronized" for name in sick)
    assert "refused" in watch.status("gone").watcher.problem
    assert "No such file" in watch.status("none").watcher.problem
    watch.databases.stop()
    full.close()


def test_two_databases_that_describe_one_device(server: Server, other: Server) -> None:
    server.bridge("br0", 0xA)
    other.bridge("br9", 0xA)
    other.bridge("br1", 0xB)
    watch = Watch(f"one={server.remote}")
    watch.until(lambda: watch.dpids() == {0xA})
    watch.databases.announce("two", other.remote)
    watch.until(lambda: watch.dpids() == {0xA, 0xB})
    assert watch.status("two").conflicts == ((0xA, "one"),)
    assert watch.status("one").dpids == (0xA,)
    assert [e.name for e in watch.events if isinstance(e, DeviceDescribed) and e.dpid == 0xA] == ["br0"]
    server.vsctl("del-br", "br0")
    watch.until(lambda: watch.status("two").dpids == (0xA, 0xB))
    watch.databases.stop()


def test_databases_are_announced_and_withdrawn(server: Server, other: Server) -> None:
    server.bridge("br0", 0xA)
    other.bridge("br0", 0xB)
    watch = Watch(f"fixed={server.remote}")
    assert watch.databases.announce("host", server.remote)
    assert not watch.databases.announce("host", server.remote), "idempotent"
    assert watch.databases.announce("host", other.remote)
    watch.until(lambda: watch.dpids() == {0xA, 0xB})
    with pytest.raises(RequestError, match="comes from option"):
        watch.databases.announce("fixed", other.remote)
    with pytest.raises(RequestError, match="comes from option"):
        watch.databases.withdraw("fixed")
    with pytest.raises(NotFoundError):
        watch.databases.withdraw("nobody")
    for text in ("ptcp:", "dir:/etc/flowlane"):
        with pytest.raises(ConfigError, match="are a matter of --ovsdb"):
            watch.databases.announce("hosts", text)
    watch.databases.withdraw("host")
    assert watch.dpids() == {0xA}
    watch.databases.stop()


def test_files_of_a_directory_take_effect_at_once(server: Server, tmp_path: Path) -> None:
    server.bridge("br0", 0xA)
    place = tmp_path / "hosts"
    place.mkdir()
    watch = Watch(f"dir:{place}")
    (place / "host1").write_text(server.remote)
    (place / "wrong").write_text("nonsense")
    watch.until(lambda: watch.dpids() == {0xA})
    assert watch.status("host1").source == str(place)
    watch.until(lambda: watch.state("wrong") == "refused")
    assert "none of unix:FILE" in watch.status("wrong").watcher.problem
    (place / "host1").write_text("half a targ")
    watch.until(lambda: watch.state(f"{place}/host1") == "refused")
    assert watch.state("host1") == "synchronized", "what was followed goes on"
    (place / "host1").unlink()
    watch.until(lambda: watch.dpids() == set())
    assert watch.state("host1") == ""
    watch.databases.stop()


def test_a_host_that_is_gone_for_long_is_forgotten_unless_its_device_is_connected(server: Server) -> None:
    server.bridge("br0", 0xA)
    server.bridge("br1", 0xB)
    connected = {0xB}
    watch = Watch(server.remote, connected=connected, forget_after=0.3)
    watch.until(lambda: watch.dpids() == {0xA, 0xB})
    server.stop()
    watch.until(lambda: watch.dpids() == {0xB})
    connected.clear()
    watch.until(lambda: watch.dpids() == set())
    server.start()
    watch.until(lambda: watch.state(server.remote) == "synchronized")
    watch.databases.stop()


def connect(server: Server, port: int) -> None:
    """Have a host connect to us, as ``ovs-vsctl set-manager`` does."""
    command = ["ovs-appctl", "-t", f"{server.folder}/ctl", "ovsdb-server/add-remote", f"tcp:127.0.0.1:{port}"]
    subprocess.run(command, check=True, timeout=10, capture_output=True)


def test_hosts_connect_to_us(server: Server, other: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_REPLY_WITHIN", 1.0)
    server.bridge("br0", 0xA)
    server.vsctl(
        "set", "Open_vSwitch", ".", "external_ids:system-id=host-a", "external_ids:hostname=a.example"
    )
    other.bridge("br0", 0xB)
    watch = Watch("hosts=ptcp:0:127.0.0.1", forget_after=0.3)
    port = watch.databases.port("hosts")
    connect(server, port)
    connect(other, port)
    watch.until(lambda: watch.dpids() == {0xA, 0xB})
    assert watch.state("hosts") == "listening"
    status = watch.status("host-a@hosts")
    assert (status.watcher.hostname, status.source, status.dpids) == ("a.example", "ptcp:0:127.0.0.1", (0xA,))
    assert watch.state("127.0.0.1@hosts") == "synchronized", "without a system-id its address is its name"
    other.vsctl("set", "Open_vSwitch", ".", "external_ids:system-id=host-a")
    other.stop()
    other.start()
    other.vsctl("set", "bridge", "br0", 'datapath_id="000000000000000b"')  # an ephemeral column
    connect(other, port)
    watch.until(lambda: "still replies" in watch.status("hosts").watcher.problem)
    assert watch.status("host-a@hosts").dpids == (0xA,), "the first one stays"
    watch.until(lambda: watch.dpids() == {0xA} and watch.state("127.0.0.1@hosts") == "")
    server.stop()
    watch.until(lambda: watch.dpids() == {0xB}, 30)
    watch.databases.stop()


def test_a_server_that_hangs_later_is_given_up_and_found_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonrpc, "PROBE_AFTER", 0.5)
    monkeypatch.setattr(jsonrpc, "ECHO_WITHIN", 0.2)
    monkeypatch.setattr(jsonrpc, "GIVEN_UP_AFTER", 1.0)
    server.bridge("br0", 0xA)
    watch = Watch(server.remote)
    watch.until(lambda: watch.dpids() == {0xA})
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        watch.until(lambda: "has not replied" in watch.status(server.remote).watcher.problem)
        assert watch.state(server.remote) in ("connecting", "waiting")
        assert watch.dpids() == {0xA}
    finally:
        server.process.send_signal(signal.SIGCONT)
    watch.until(lambda: watch.state(server.remote) == "synchronized")
    assert len(watch.events) == 1
    watch.databases.stop()


def test_a_server_that_is_busy_for_a_while_is_silent_meanwhile_and_keeps_its_session(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonrpc, "PROBE_AFTER", 0.3)
    monkeypatch.setattr(jsonrpc, "ECHO_WITHIN", 0.3)
    server.bridge("br0", 0xA)
    watch = Watch(server.remote)
    watch.until(lambda: watch.dpids() == {0xA})
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        watch.until(lambda: watch.state(server.remote) == "silent")
        status = watch.status(server.remote)
        (problem,) = (
            check.problem
            for check in readiness.checks(Engine(small_policy()).state, [status])
            if check.name == "ovsdb"
        )
        assert problem == status.watcher.problem == "connected, but the database does not reply"
        assert status.watcher.age is not None
        assert status.watcher.age > 0.5, "its copy is as old as its last byte"
    finally:
        server.process.send_signal(signal.SIGCONT)
    watch.until(lambda: watch.state(server.remote) == "synchronized")
    server.bridge("br1", 0xB)
    watch.until(lambda: watch.dpids() == {0xA, 0xB})
    status = watch.status(server.remote)
    assert (status.watcher.problem, status.watcher.sessions) == ("", 1)
    watch.databases.stop()


def test_a_port_in_use_is_an_error_at_start() -> None:
    sock = eventlet.listen(("127.0.0.1", 0))
    databases = Databases([f"ptcp:{sock.getsockname()[1]}:127.0.0.1"], TlsFiles(), print)
    with pytest.raises(ConfigError, match="cannot listen for databases on ptcp:"):
        databases.start()


def test_members_of_a_cluster_are_one_database(server: Server, tmp_path: Path) -> None:
    server.bridge("br0", 0xA)
    watch = Watch(f"c=cluster:unix:{tmp_path}/away.sock,{server.remote}")
    watch.until(lambda: watch.state("c") == "synchronized")
    assert len(watch.databases.statuses()) == 1
    assert watch.dpids() == {0xA}
    watch.databases.stop()


def test_which_databases_may_yet_describe_a_device(
    server: Server, tmp_path: Path, following: list[Databases], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was not read since the start may, for ever where one described the device earlier."""
    read, away = Watch(server.remote), Watch(server.remote, f"unix:{tmp_path}/none")
    following += [read.databases, away.databases]
    read.until(lambda: not read.databases.may_describe(True))
    away.until(lambda: away.state(server.remote) == "synchronized")
    assert away.databases.may_describe(True)
    assert away.databases.may_describe(False)
    monkeypatch.setattr(module, "PATIENCE", -1.0)
    assert away.databases.may_describe(True)
    assert not away.databases.may_describe(False)
    assert not Databases((), TlsFiles(), lambda _event: None).may_describe(False)
