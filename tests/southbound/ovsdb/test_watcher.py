from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import eventlet
import pytest
from eventlet.green import socket

from flowlane.core.events import DescriptionRemoved, DeviceDescribed
from flowlane.core.model import QueueKind
from flowlane.errors import ConfigError
from flowlane.southbound.ovsdb.databases import Databases
from flowlane.southbound.ovsdb.remote import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.inside.private_ovs import PrivateOvs
    from support.ovs.ovsdb_server import Server

    from flowlane.core.events import Event
    from flowlane.southbound.ovsdb.watcher import WatcherStatus


def words(text: str) -> list[str]:
    return text.split()


class Watch:
    """A followed database and its events."""

    def __init__(self, remote: str) -> None:
        self.events: list[Event] = []
        self.databases = Databases([remote], TlsFiles(), self.events.append)
        self.databases.start()

    def stop(self) -> None:
        self.databases.stop()

    def status(self) -> WatcherStatus:
        return self.databases.statuses()[0].watcher

    def until(self, true: Callable[[], bool], seconds: float = 10.0) -> None:
        with eventlet.Timeout(seconds, AssertionError(f"not within {seconds} s; events: {self.events}")):
            while not true():
                eventlet.sleep(0.01)

    def state(self) -> str:
        return self.status().state

    def device(self, dpid: int) -> DeviceDescribed | None:
        """The last event of a device."""
        for event in reversed(self.events):
            if getattr(event, "dpid", None) == dpid:
                return event if isinstance(event, DeviceDescribed) else None
        return None


@pytest.fixture
def watch(server: Server) -> Iterator[Watch]:
    made = Watch(server.remote)
    made.until(lambda: made.state() == "synchronized")
    yield made
    made.stop()


def test_the_present_state_is_emitted_once(server: Server) -> None:
    server.bridge("br0", 0xAB, "vf0", "up0")
    watch = Watch(server.remote)
    watch.until(lambda: bool(watch.events))
    eventlet.sleep(0.2)
    assert len(watch.events) == 1
    device = watch.device(0xAB)
    assert device is not None
    assert {n: p.name for n, p in device.ports.items()} == {1: "vf0", 2: "up0", 0xFFFFFFFE: "br0"}
    watch.stop()
    assert watch.state() == "stopped"


def test_queues_that_come_and_go_are_emitted(server: Server, watch: Watch) -> None:
    server.bridge("br0", 0xAB, "up0")
    server.vsctl(
        *words("-- set port up0 qos=@q -- --id=@q create qos type=linux-htb queues:0=@a queues:1=@b"),
        *words("-- --id=@a create queue other_config:min-rate=1000 external_ids:flowlane-kind=physical"),
        *words("-- --id=@b create queue external_ids:flowlane-kind=software"),
    )

    def kinds() -> dict[int, QueueKind | None]:
        device = watch.device(0xAB)
        return (
            {}
            if device is None or 1 not in device.ports
            else {i: q.kind for i, q in device.ports[1].queues.items()}
        )

    watch.until(lambda: kinds() == {0: QueueKind.PHYSICAL, 1: QueueKind.SOFTWARE})
    server.vsctl("remove", "qos", "up0", "queues", "1")
    watch.until(lambda: kinds() == {0: QueueKind.PHYSICAL})
    server.vsctl("clear", "port", "up0", "qos")
    watch.until(lambda: kinds() == {})


def test_a_change_of_a_queue_row_is_emitted(server: Server, watch: Watch) -> None:
    server.bridge("br0", 0xAB, "up0")
    server.vsctl(
        *words(
            "-- set port up0 qos=@q -- --id=@q create qos type=linux-htb queues:0=@a -- --id=@a create queue dscp=1"
        ),
    )
    queue = server.vsctl("--bare", "--columns=_uuid", "list", "queue")
    server.vsctl("set", "queue", queue, "other_config:max-rate=5000000")
    watch.until(lambda: (d := watch.device(0xAB)) is not None and d.ports[1].queues[0].max_rate == 5_000_000)
    server.vsctl("set", "queue", queue, "other_config:max-rate=fast")
    watch.until(lambda: (d := watch.device(0xAB)) is not None and d.ports[1].queues[0].max_rate is None)
    assert [defect.where for defect in watch.status().defects] == ["queue 0 of port up0"]


def test_a_change_of_a_vm_identity_is_emitted(server: Server, watch: Watch) -> None:
    server.bridge("br0", 0xAB, "vf0")
    server.vsctl("set", "interface", "vf0", "external_ids:vm-uuid=u1")
    watch.until(
        lambda: (d := watch.device(0xAB)) is not None and d.ports[1].external_ids == {"vm-uuid": "u1"}
    )


def test_other_changes_are_not_emitted(server: Server, watch: Watch) -> None:
    server.bridge("br0", 0xAB, "vf0")
    watch.until(lambda: watch.device(0xAB) is not None)
    eventlet.sleep(0.1)
    count = len(watch.events)
    server.vsctl("set", "interface", "vf0", "other_config:x=y", "--", "set", "port", "vf0", "lacp=active")
    server.vsctl("set", "bridge", "br0", "mcast_snooping_enable=true")
    eventlet.sleep(0.3)
    assert len(watch.events) == count


def test_a_deleted_bridge_is_forgotten(server: Server, watch: Watch) -> None:
    server.bridge("br0", 0xAB)
    server.bridge("br1", 0xCD)
    watch.until(lambda: watch.status().bridges == 2)
    server.vsctl("del-br", "br0")
    watch.until(lambda: DescriptionRemoved(0xAB) in watch.events)
    assert watch.device(0xCD) is not None
    assert watch.status().bridges == 1


def test_after_a_restart_of_the_server_only_changes_are_emitted(server: Server, watch: Watch) -> None:
    server.bridge("br0", 0xAB, "vf0")
    server.bridge("br1", 0xCD, "vf1")
    watch.until(lambda: watch.status().bridges == 2)
    count = len(watch.events)
    server.stop()
    watch.until(lambda: watch.state() == "connecting")
    assert watch.status().bridges == 2
    server.start()
    watch.until(lambda: watch.state() == "synchronized")
    eventlet.sleep(0.2)
    assert len(watch.events) == count, "the datapath id is ephemeral: no device may be removed because of it"
    server.vsctl("set", "bridge", "br0", 'datapath_id="00000000000000ab"', "external_ids:flowlane-role=nic")
    watch.until(lambda: len(watch.events) == count + 1)
    assert (d := watch.device(0xAB)) is not None
    assert d.role == "nic"


def test_watching_starts_before_the_database_does(tmp_path: Path) -> None:
    watch = Watch(f"unix:{tmp_path}/none.sock")
    eventlet.sleep(0.2)
    assert watch.state() == "connecting"
    assert watch.status().age is None
    watch.stop()


def test_others_run_while_it_waits_and_no_cpu_is_burnt(watch: Watch) -> None:
    import time  # noqa: PLC0415

    before = time.process_time()
    eventlet.sleep(1.0)
    assert time.process_time() - before < 0.2


def test_a_consumer_that_raises_does_not_end_the_watch(server: Server) -> None:
    seen: list[str] = []

    def take(event: Event) -> None:
        seen.append(event.name if isinstance(event, DeviceDescribed) else "gone")
        raise RuntimeError("a bug in the engine")

    databases = Databases([server.remote], TlsFiles(), take)
    databases.start()
    server.bridge("br0", 1)
    server.bridge("br1", 2)
    with eventlet.Timeout(10):
        while len(seen) < 2:
            eventlet.sleep(0.01)
    assert databases.statuses()[0].watcher.state == "synchronized"
    databases.stop()


NONSENSE = {
    "no JSON": b"\x00\xff{]]]" * 100,
    "no message": b'{"method": 5}',
    "a reply to nothing": b'{"id": 99, "result": {}, "error": null}',
    "an update of nothing": b'{"method": "update3", "id": null, "params": [1, 2, {"Bridge": 7}]}',
    "nothing": b"",
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_malformed_messages_leave_the_last_known_state(server: Server, watch: Watch, nonsense: bytes) -> None:
    server.bridge("br0", 0xAB, "vf0")
    watch.until(lambda: watch.status().bridges == 1)
    count = len(watch.events)
    server.stop()
    calls: list[int] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(server.socket))
    listener.listen()

    def talk() -> None:
        while True:
            connection, _ = listener.accept()
            calls.append(1)
            with connection:
                connection.sendall(nonsense)
                eventlet.sleep(0.2)

    speaker = eventlet.spawn(talk)
    watch.until(lambda: bool(calls))
    eventlet.sleep(0.1)
    assert watch.state() in ("connecting", "waiting")
    assert watch.status().bridges == 1
    speaker.kill()
    listener.close()
    server.socket.unlink()
    server.start()
    watch.until(lambda: watch.state() == "synchronized")
    assert len(watch.events) == count


class Forger:
    """Passes an ovsdb-server's traffic on, and empties every table of the answer to a monitor request."""

    def __init__(self, server: Server, path: Path) -> None:
        self.server, self.replies = server, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.open = [self.listener]
        self.thread = eventlet.spawn(self.serve)

    def stop(self) -> None:
        self.thread.kill()
        for each in self.open:
            each.close()

    def serve(self) -> None:
        while True:
            client, _ = self.listener.accept()
            upstream = socket.socket(socket.AF_UNIX)
            self.open += [client, upstream]
            upstream.connect(str(self.server.socket))
            eventlet.spawn(self.copy, client, upstream)
            eventlet.spawn(self.forge, upstream, client)

    def receive(self, source: socket.socket) -> bytes:
        try:
            data: bytes = source.recv(65536)
        except (OSError, EOFError):
            return b""
        return data

    def copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError, EOFError):
            while data := source.recv(65536):
                sink.sendall(data)

    def forge(self, source: socket.socket, sink: socket.socket) -> None:
        text = ""
        decoder = json.JSONDecoder()
        while data := self.receive(source):
            text += data.decode()
            while text:
                try:
                    message, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:]
                result = message.get("result")
                if isinstance(result, dict) and "Bridge" in result:
                    self.replies += 1
                    for table in ("Bridge", "Port", "Interface"):
                        result.pop(table)
                try:
                    sink.sendall(json.dumps(message).encode())
                except OSError:
                    return


def test_a_database_that_contradicts_itself_is_not_believed(server: Server, tmp_path: Path) -> None:
    server.bridge("br0", 0xAB, "vf0")
    forger = Forger(server, tmp_path / "forged.sock")
    watch = Watch(f"unix:{tmp_path}/forged.sock")
    watch.until(lambda: forger.replies >= 2)
    status = watch.status()
    assert watch.events == []
    assert status.state != "synchronized"
    assert "inconsistent" in status.problem
    watch.stop()
    forger.stop()


def test_a_bad_remote_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="ovsdb remote"):
        Databases(["http://x"], TlsFiles(), lambda event: None)


def test_bridges_ports_and_queues_of_a_real_switch_are_emitted(ovs: PrivateOvs) -> None:
    ovs.add_bridge("br9", ("vf0", "up0"), dpid=0x99, external_ids={"flowlane-role": "nic"})
    watch = Watch(ovs.database)
    watch.until(lambda: (d := watch.device(0x99)) is not None and len(d.ports) == 3)
    ovs.set_queues("up0", {0: {"min-rate": "1000"}, 2: {}}, max_rate=5000)
    watch.until(lambda: (d := watch.device(0x99)) is not None and list(d.ports[2].queues) == [0, 2])
    device = watch.device(0x99)
    assert device is not None
    assert (device.role, device.datapath_type, device.ports[2].qos_max_rate) == ("nic", "dummy", 5000)
    assert device.ports[2].mac != 0
    ovs.vsctl("del-port", "br9", "vf0")
    watch.until(lambda: (d := watch.device(0x99)) is not None and 1 not in d.ports)
    ovs.vsctl("del-br", "br9")
    watch.until(lambda: DescriptionRemoved(0x99) in watch.events)
    watch.stop()
