"""The launcher as a process: its habits, its end, and what it says when it cannot start."""

from __future__ import annotations

import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from lab.inside.manager import STOP_TIME, Launched, all_refused, launched, refused, wait_for
from support.openflow import messages
from support.openflow.raw_switch import RawSwitch

RYU_STYLE = str(Path(__file__).parent / "support" / "apps" / "ryu_style_app.py")
FRAME = bytes.fromhex("ffffffffffff 020000000009 0806") + bytes(46)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_at_once_with_a_switch_connected(tmp_path: Path, number: signal.Signals) -> None:
    pid_file = tmp_path / "pid"
    with launched(f"--pid-file={pid_file}") as manager, RawSwitch(manager.openflow_port) as peer:
        peer.handshake(1)
        assert pid_file.read_text() == f"{manager.process.pid}\n"
        code, seconds = manager.stop(number)
        assert (code, seconds < STOP_TIME) == (0, True)
        assert not pid_file.exists()
        assert "Traceback" not in manager.log


def test_stops_in_time_though_an_app_does_not(tmp_path: Path) -> None:
    stubborn = tmp_path / "stubborn.py"
    stubborn.write_text(
        "from os_ken.base import app_manager\n"
        "from os_ken.lib import hub\n"
        "class Stubborn(app_manager.OSKenApp):\n"
        "    def close(self):\n"
        "        hub.sleep(60)\n"
    )
    with launched(str(stubborn)) as manager:
        code, seconds = manager.stop()
        assert (code, seconds < STOP_TIME) == (0, True)


def test_runs_flowlane_when_no_app_is_named() -> None:
    with launched() as manager:
        assert manager.rest("/v1/status")["ready"]


def test_runs_other_apps_beside_flowlane(tmp_path: Path) -> None:
    """By file and by module name; both see the same switch, and Flowlane serves it."""
    config = tmp_path / "apps.conf"
    config.write_text("[ryu-style]\ngreeting = good morning\n")
    arguments = ("flowlane.app", RYU_STYLE, "os_ken.topology.switches", "--config-file", str(config))
    with launched(*arguments) as manager, RawSwitch(manager.openflow_port) as peer:
        peer.handshake(0x77)
        peer.refuse_requests()
        peer.send(messages.packet_in(messages.OF13, 2, FRAME))
        wait_for(lambda: "good morning: features of 77" in manager.log)
        wait_for(lambda: "packet-in of 02:00:00:00:00:09 on port 2" in manager.log)
        assert manager.rest("/v1/devices/0000000000000077")["connected"]
        assert peer.is_served()


def test_runs_another_app_without_flowlane() -> None:
    with launched(RYU_STYLE) as manager, RawSwitch(manager.openflow_port) as peer:
        peer.handshake(0x77)
        wait_for(lambda: "hello: features of 77" in manager.log)
        assert "REST on" not in manager.log


def test_options_may_stand_in_a_configuration_file(tmp_path: Path) -> None:
    config = tmp_path / "flowlane.conf"
    config.write_text(f"[DEFAULT]\npid_file = {tmp_path}/here\nverbose = true\n")
    with launched("--config-file", str(config)) as manager:
        assert (tmp_path / "here").exists()
        assert " DEBUG " in manager.log


def test_version() -> None:
    code, lines = refused("--version")
    assert code == 0
    assert lines == ["flowlane-manager 0.1.0"]


def test_defaults_are_those_of_ryu_manager() -> None:
    code, lines = refused("--help")
    text = " ".join(" ".join(lines).split())
    assert code == 0
    for option in (
        "--ofp-listen-host", "--ofp-tcp-listen-port", "--ofp-ssl-listen-port", "--ctl-privkey", "--ctl-cert",
        "--ca-certs", "--wsapi-host", "--wsapi-port", "--config-file", "--verbose", "--pid-file", "--log-file",
        "--use-syslog", "--app-lists", "--user-flags", "--observe-links",
    ):  # fmt: skip
        assert option in text
    assert "6653" in text
    assert "8080" in text


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    with listening() as taken:
        port = taken.getsockname()[1]
        options = (
            "--ofp-listen-host=127.0.0.1",
            f"--ofp-tcp-listen-port={port}",
            f"--pid-file={tmp_path}/pid",
        )
        code, lines = refused(*options, "--wsapi-port=0", "--ovsdb=none")
        assert code == 1
        assert lines == [
            f"flowlane-manager: cannot listen for switches on 127.0.0.1 port {port}: Address already in use"
        ]
        assert not (tmp_path / "pid").exists()
        code, lines = refused("--ofp-tcp-listen-port=0", f"--wsapi-port={port}", "--ovsdb=none")
        assert code == 1
        assert lines == [
            f"flowlane-manager: cannot listen for REST on 127.0.0.1 port {port}: Address already in use"
        ]


APPS = {
    "missing module": ("no.such.app", "cannot load app no.such.app: No module named 'no'"),
    "missing file": ("/no/such/app.py", "cannot load app /no/such/app.py: "),
    "no app": ("VALUE = 1\n", "the module has no os-ken app"),
    "bad import": ("import nothing_of_this_name\n", "No module named 'nothing_of_this_name'"),
    "bad syntax": ("def f(:\n", "/some_app.py: SyntaxError: invalid syntax (some_app.py, line 1)"),
    "raises at start": (
        "from os_ken.base import app_manager\n"
        "class Broken(app_manager.OSKenApp):\n"
        "    def __init__(self, *args, **kwargs):\n"
        "        raise ValueError('it is\\nbroken')\n",
        "ValueError: it is broken",
    ),
}


@pytest.fixture(scope="module")
def apps_refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list[str]]]:
    runs = []
    for text, _ in APPS.values():
        app = text
        if "\n" in text:
            path = tmp_path_factory.mktemp("app") / "some_app.py"
            path.write_text(text)
            app = str(path)
        runs.append(("--ofp-listen-host=127.0.0.1", "--ofp-tcp-listen-port=0", app))
    return dict(zip(APPS, all_refused(runs), strict=True))


@pytest.mark.parametrize("name", APPS)
def test_app_that_cannot_start_is_told_in_one_line(
    apps_refused: dict[str, tuple[int, list[str]]], name: str
) -> None:
    code, lines = apps_refused[name]
    assert code == 1
    assert len(lines) == 1, lines
    assert lines[0].startswith("flowlane-manager: ")
    assert APPS[name][1] in lines[0]


WRONG: list[tuple[list[str], int, str]] = [
    (["--no-such-option"], 2, "flowlane-manager: error: unrecognized arguments: --no-such-option"),
    (["--wsapi-port=x"], 1, "argument --wsapi_port: Invalid Integer(min=0, max=65535) value: x"),
    (["--config-file=/no/such/file"], 1, "flowlane-manager: "),
    (["--ovsdb=nonsense"], 1, "flowlane-manager: ovsdb remote 'nonsense' is none of "),
    (["--policy=/no/such/file"], 1, "flowlane-manager: policy file /no/such/file cannot be read: "),
    (["--start-table=x"], 1, "flowlane-manager: --start-table x: give N or DPID=N"),
    (["--start-table=zz=3"], 1, "flowlane-manager: --start-table zz=3: give N or DPID=N"),
    (["--start-table=250"], 1, "flowlane-manager: --start-table 250: give N or DPID=N"),
    (["--ipfix-listen=4739"], 1, "flowlane-manager: --ipfix-listen 4739: give ADDRESS:PORT"),
    (["--ipfix-listen=host:4739"], 1, "flowlane-manager: --ipfix-listen host:4739: give ADDRESS:PORT"),
    (["--pid-file=/no/such/directory/pid"], 1, "flowlane-manager: cannot write --pid-file "),
    (["--ofp-switch-address-list=nowhere"], 1, "flowlane-manager: --ofp-switch-address-list: "),
    (["--ctl-privkey=/no/key"], 1, "flowlane-manager: TLS needs both "),
    (["--ctl-privkey=/no/key", "--ctl-cert=/no/cert"], 1, "flowlane-manager: TLS: cannot use /no/key"),
    (["--log-file=/no/such/directory/log"], 1, "flowlane-manager: cannot write the log: "),
    (["--user-flags=/no/such/flags.py"], 1, "flowlane-manager: --user-flags /no/such/flags.py: "),
]  # fmt: skip
"""Options, exit code, and the beginning of the line."""


@pytest.fixture(scope="module")
def options_refused() -> list[tuple[int, list[str]]]:
    runs = []
    for options, _, _ in WRONG:
        given = ["--ofp-listen-host=127.0.0.1", "--ofp-tcp-listen-port=0", "--wsapi-port=0"]
        if not any(option.startswith("--ovsdb") for option in options):
            given.append("--ovsdb=none")
        runs.append((*given, *options))
    return all_refused(runs)


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[" ".join(options) for options, _, _ in WRONG])
def test_wrong_option_is_told_in_one_line(options_refused: list[tuple[int, list[str]]], number: int) -> None:
    code, lines = options_refused[number]
    lines = [line for line in lines if not line.startswith("usage: ")]
    assert code == WRONG[number][1]
    assert len(lines) == 1, lines
    assert lines[0].startswith(WRONG[number][2])


def test_wrong_policy_is_told_with_its_line(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nclases: {}\n")
    code, lines = refused("--ofp-tcp-listen-port=0", "--wsapi-port=0", "--ovsdb=none", f"--policy={policy}")
    assert code == 1
    assert lines
    assert lines[0].startswith(f"flowlane-manager: {policy}:2: ")


def tls(keys: Path, *, certificate: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(keys / "cert.pem")
    if certificate:
        context.load_cert_chain(keys / "cert.pem", keys / "key.pem")
    return context


def test_switches_connect_over_tls_and_need_a_certificate(keys: Path) -> None:
    options = [f"--ctl-privkey={keys}/key.pem", f"--ctl-cert={keys}/cert.pem", f"--ca-certs={keys}/cert.pem"]
    with launched(*options, "--ofp-ssl-listen-port=0") as manager:
        with (
            pytest.raises((ssl.SSLError, ConnectionError, EOFError)),
            RawSwitch(tls_port(manager)) as stranger,
        ):
            stranger.sock = tls(keys, certificate=False).wrap_socket(stranger.sock)
            stranger.handshake(2)
        with RawSwitch(tls_port(manager)) as peer:
            peer.sock = tls(keys).wrap_socket(peer.sock)
            peer.handshake(1)
            peer.refuse_requests()
            assert peer.is_served()
        assert [device["dpid"] for device in manager.rest("/v1/devices")["items"]] == ["0000000000000001"]


def test_who_may_be_a_switch_is_said_where_everybody_may(keys: Path) -> None:
    files = [f"--ctl-privkey={keys}/key.pem", f"--ctl-cert={keys}/cert.pem"]
    with launched("--ofp-listen-host=0.0.0.0") as manager:
        assert f"everybody who reaches 0.0.0.0 port {manager.openflow_port} may be a switch" in manager.log
    with launched("--ofp-listen-host=127.0.0.1", *files, "--ofp-ssl-listen-port=0") as manager:
        assert "may be a switch" not in manager.log


def test_bindings_need_certificates_that_are_checked() -> None:
    code, lines = refused(
        "--ofp-listen-host=127.0.0.1", "--ofp-tcp-listen-port=0", "--switch-certificate=1=a"
    )
    assert code == 1
    assert "--switch-certificate needs certificates of switches" in lines[-1]


def tls_port(manager: Launched) -> int:
    """The later of the ports that are listened on: TLS stands beside TCP, whose port was named."""
    lines: list[Any] = [line for line in manager.log.splitlines() if "listening for switches" in line]
    return int(lines[-1].split()[-1])
