"""Where the database is; TLS to a real ovsdb-server, with an authority made here."""

from __future__ import annotations

import argparse
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.inside.manager import launched, wait_for
from ovs.stream import Stream
from support.ovs.ovsdb_server import Server

from flowlane.cli import qos
from flowlane.errors import ConfigError, DatabaseError
from flowlane.hosttools.client import open_database, prepare
from flowlane.southbound.ovsdb.remote import TlsFiles, check_remote, host_and_port, read_targets


@pytest.mark.parametrize(
    "remote", ["unix:/run/db.sock", "tcp:127.0.0.1:6640", "ssl:db.example:6640", "tcp:[::1]:6640"]
)
def test_the_remotes_of_ovs_are_taken(remote: str) -> None:
    assert check_remote(remote) == remote


@pytest.mark.parametrize(
    "remote",
    [
        *("", "unix:", "tcp:", "tcp:host", "tcp::6640", "tcp:h:99999", "http://x", "ptcp:6640", "tcp:h:²"),
        *("tcp:my host:6640", "tcp:h\n:6640", "unix:/run/a\0b", "unix:/run/\x1b[2J"),
    ],
)
def test_other_remotes_are_refused(remote: str) -> None:
    with pytest.raises(ConfigError, match="ovsdb remote"):
        check_remote(remote)


def test_a_list_is_several_hosts_and_a_cluster_is_one_database() -> None:
    values = [
        "tcp:a:1,host2=unix:/b",
        "cluster:tcp:c:1,tcp:d:1",
        "dir:/etc/x,ptcp:6641:127.0.0.1",
        "n=cluster:tcp:e:1",
    ]
    targets, directories = read_targets(values, TlsFiles())
    assert [(target.name, target.remotes) for target in targets] == [
        ("tcp:a:1", ("tcp:a:1",)),
        ("host2", ("unix:/b",)),
        ("cluster:tcp:c:1,tcp:d:1", ("tcp:c:1", "tcp:d:1")),
        ("ptcp:6641:127.0.0.1", ("ptcp:6641:127.0.0.1",)),
        ("n", ("tcp:e:1",)),
    ]
    assert directories == ["/etc/x"]
    assert [target.is_passive for target in targets] == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("tcp:a:1,cluster:tcp:b:1", "repeat --ovsdb"),
        ("cluster:tcp:a:1,tcp:a:1", "same member twice"),
        ("cluster:ptcp:6640", "none of unix:FILE"),
        ("tcp:a:1,tcp:a:1", "names tcp:a:1 twice"),
        ("x=tcp:a:1,x=tcp:b:1", "names x twice"),
        ("/run/db.sock", "write unix:FILE"),
        ("ptcp:x", "not ptcp:"),
        ("ptcp:1:host.example", "not ptcp:"),
        ("pssl:6640", "needs a private key"),
        ("a,b", "cluster:A,B,C, dir:DIRECTORY"),
    ],
)
def test_what_was_meant_is_named(value: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_targets([value], TlsFiles())


@pytest.mark.parametrize(
    ("remote", "place"),
    [
        ("tcp:[::1]:6640", ("::1", 6640)),
        ("ssl:h:1", ("h", 1)),
        ("ptcp:", ("0.0.0.0", 6640)),
        ("ptcp:7", ("0.0.0.0", 7)),
        ("pssl:7:[::1]", ("::1", 7)),
        ("ptcp:0:127.0.0.1", ("127.0.0.1", 0)),
    ],
)
def test_host_and_port(remote: str, place: tuple[str, int]) -> None:
    assert host_and_port(remote) == place


def authority(directory: Path) -> Path:
    """A certificate authority, and a key and a certificate that it signed, for either end."""
    directory.mkdir()

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=directory)

    new = ("-newkey", "rsa:2048", "-nodes", "-subj")
    openssl("req", "-x509", *new, "/CN=authority", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *new, "/CN=end", "-keyout", "key.pem", "-out", "end.csr")
    sign = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", "cert.pem")
    openssl("x509", "-req", "-in", "end.csr", *sign)
    return directory


def files_of(directory: Path) -> TlsFiles:
    return TlsFiles(*(str(directory / name) for name in ("key.pem", "cert.pem", "ca.pem")))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture
def secure(tmp_path: Path, keys: Path) -> Iterator[str]:
    """The remote of a server that serves TLS only to those whom the authority has signed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    private_key, certificate, ca_certificate = files_of(keys)
    options = [f"--private-key={private_key}", f"--certificate={certificate}", f"--ca-cert={ca_certificate}"]
    made = Server(tmp_path, f"--remote=pssl:{port}:127.0.0.1", *options)
    made.start()
    made.bridge("br-tls", 0xAB, "p1")
    yield f"ssl:127.0.0.1:{port}"
    made.stop()


@pytest.fixture(autouse=True)
def _library() -> Iterator[None]:
    """The library's files are the process's; put them back."""
    before = Stream._SSL_private_key_file, Stream._SSL_certificate_file, Stream._SSL_ca_cert_file
    yield
    Stream.ssl_set_private_key_file(before[0])
    Stream.ssl_set_certificate_file(before[1])
    Stream.ssl_set_ca_cert_file(before[2])


def test_the_database_is_read_over_tls(secure: str, keys: Path) -> None:
    with open_database(prepare(secure, files_of(keys))) as database:
        assert [row.name for row in database.snapshot().bridges.values()] == ["br-tls"]


def test_a_stranger_of_another_authority_is_not_believed(secure: str, tmp_path: Path) -> None:
    other = files_of(authority(tmp_path / "theirs"))
    with pytest.raises(DatabaseError), open_database(prepare(secure, other), timeout=1.0):
        pass


def test_the_manager_follows_a_database_over_tls(secure: str, keys: Path) -> None:
    private_key, certificate, ca_certificate = files_of(keys)
    tls = [f"--ctl-privkey={private_key}", f"--ctl-cert={certificate}", f"--ca-certs={ca_certificate}"]
    with launched(f"--ovsdb={secure}", *tls, "--ofp-ssl-listen-port=0") as manager:
        wait_for(lambda: bool({one["name"]: one["ok"] for one in checks(manager)}["ovsdb"]), 20, manager.log)


def test_hosts_connect_to_the_manager_over_tls(keys: Path, tmp_path: Path) -> None:
    private_key, certificate, ca_certificate = files_of(keys)
    tls = [f"--ctl-privkey={private_key}", f"--ctl-cert={certificate}", f"--ca-certs={ca_certificate}"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = [f"--private-key={private_key}", f"--certificate={certificate}", f"--ca-cert={ca_certificate}"]
    stranger = files_of(authority(tmp_path / "theirs"))
    other = [f"--private-key={stranger[0]}", f"--certificate={stranger[1]}", f"--ca-cert={stranger[2]}"]
    servers = []
    for name, files in (("ours", own), ("stranger", other)):
        (tmp_path / name).mkdir()
        servers.append(Server(tmp_path / name, f"--remote=ssl:127.0.0.1:{port}", *files))
    with launched(f"--ovsdb=pssl:{port}:127.0.0.1", *tls, "--ofp-ssl-listen-port=0") as manager:
        for made in servers:
            made.start()
            made.vsctl("set", "Open_vSwitch", ".", f"external_ids:system-id={made.folder.name}")

        def known() -> dict[str, str]:
            items = manager.rest("/v1/databases")["items"]
            return {item["name"]: item["state"] for item in items}

        wait_for(lambda: known().get(f"ours@pssl:{port}:127.0.0.1") == "synchronized", 20, manager.log)
        wait_for(lambda: "TLS" in manager.log, 20)
        assert set(known()) == {f"pssl:{port}:127.0.0.1", f"ours@pssl:{port}:127.0.0.1"}
    for made in servers:
        made.stop()


def checks(manager: object) -> list[dict[str, object]]:
    return manager.rest("/v1/status")["checks"]  # type: ignore[attr-defined,no-any-return]


def test_a_command_takes_the_options_of_ovs_vsctl(
    secure: str, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    qos.add_arguments(parser)
    private_key, certificate, ca_certificate = files_of(keys)
    tls = [
        "--private-key",
        str(private_key),
        "--certificate",
        str(certificate),
        "--ca-cert",
        str(ca_certificate),
    ]
    assert qos.run(parser.parse_args(["show", "p1", "--db", secure, *tls])) == 0
    assert "p1" in capsys.readouterr().out
    assert qos.run(parser.parse_args(["show", "p1", "--db", secure])) == 1
    assert "needs a private key, a certificate and a CA certificate" in capsys.readouterr().err


def test_files_that_cannot_be_used_are_reported_before_anything_is_tried(keys: Path, tmp_path: Path) -> None:
    missing = files_of(keys)._replace(certificate=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"none\.pem"):
        prepare("ssl:127.0.0.1:6640", missing)
    swapped = files_of(keys)._replace(private_key=str(keys / "ca.key"))
    with pytest.raises(ConfigError, match="cannot use"):
        prepare("ssl:127.0.0.1:6640", swapped)
    assert prepare("unix:/run/db.sock", TlsFiles()) == "unix:/run/db.sock"
