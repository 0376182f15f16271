from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from lab.inside.manager import launched

from flowlane.cli.main import main
from flowlane.errors import ConfigError
from flowlane.northbound.http.server import MAX_CONNECTIONS
from flowlane.northbound.http.tls import RestTlsFiles, ServerTls


def client(keys: Path, *, certificate: bool) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(keys / "cert.pem"))
    made.check_hostname = False
    if certificate:
        made.load_cert_chain(keys / "cert.pem", keys / "key.pem")
    return made


def read(port: int, context: ssl.SSLContext) -> bytes:
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/healthz", timeout=10, context=context) as answer:
        body: bytes = answer.read()
        return body


def test_rest_over_tls(keys: Path) -> None:
    options = f"--rest-cert={keys}/cert.pem", f"--rest-key={keys}/key.pem"
    with launched(*options) as manager:
        assert "REST on https://127.0.0.1:" in manager.log
        assert b'"ok": true' in read(manager.rest_port, client(keys, certificate=False))
        with pytest.raises((urllib.error.URLError, OSError)):
            urllib.request.urlopen(f"http://127.0.0.1:{manager.rest_port}/healthz", timeout=10)
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            read(manager.rest_port, ssl.create_default_context())
        assert b"ok" in read(manager.rest_port, client(keys, certificate=False)), "it goes on after all that"
        assert "Traceback" not in manager.log


def test_slow_connections_do_not_keep_others_out(keys: Path) -> None:
    context = client(keys, certificate=False)
    with (
        launched(f"--rest-cert={keys}/cert.pem", f"--rest-key={keys}/key.pem") as manager,
        ExitStack() as stack,
    ):
        for number in range(MAX_CONNECTIONS + 50):
            link = stack.enter_context(socket.create_connection(("127.0.0.1", manager.rest_port), timeout=10))
            if number < 50:
                wrapped = stack.enter_context(context.wrap_socket(link))
                wrapped.sendall(b"GET /healthz HTTP/1.1\r\n")
        began = time.monotonic()
        assert b"ok" in read(manager.rest_port, context)
        assert time.monotonic() - began < 5
        assert "Traceback" not in manager.log


def test_the_command_line_over_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ctl",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    certificate = str(tmp_path / "cert.pem")
    with launched(f"--rest-cert={certificate}", f"--rest-key={tmp_path}/key.pem") as manager:
        port = manager.rest_port
        url = ["--url", f"https://127.0.0.1:{port}"]
        assert main(["status", *url, "--ca", certificate]) == 0
        assert "ready" in capsys.readouterr().out
        assert main(["status", *url]) == 3
        assert "give --ca with the CA of the controller's certificate" in capsys.readouterr().err
        assert main(["status", "--url", f"https://localhost:{port}", "--ca", certificate]) == 3
        assert "call the controller by a name that its certificate has" in capsys.readouterr().err
        assert main(["status", "--url", f"http://127.0.0.1:{port}"]) == 3
        assert "Traceback" not in manager.log


def test_clients_with_a_certificate_only(keys: Path) -> None:
    options = (
        f"--rest-cert={keys}/cert.pem",
        f"--rest-key={keys}/key.pem",
        f"--rest-client-ca={keys}/cert.pem",
    )
    with launched(*options) as manager:
        port = manager.rest_port
        assert b"ok" in read(port, client(keys, certificate=True))
        with pytest.raises((urllib.error.URLError, OSError)):
            read(port, client(keys, certificate=False))
        url = f"https://127.0.0.1:{port}/v1/policy"
        request = urllib.request.Request(url, b"version: 1\nclasses: {a: {}}\ndefault: a\n", method="PUT")
        request.add_header("Content-Type", "application/yaml")
        with urllib.request.urlopen(request, timeout=10, context=client(keys, certificate=True)):
            assert "replaced by flowlane from 127.0.0.1" in manager.log  # The certificate's common name.


def test_a_renewed_certificate_is_used(keys: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(keys / "cert.pem", certificate)
    shutil.copy(keys / "key.pem", key)
    tls = ServerTls(RestTlsFiles(str(certificate), str(key)))
    tls.renew()
    assert caplog.text == ""
    shutil.copy(keys / "cert.pem", tmp_path / "new.pem")
    (tmp_path / "new.pem").replace(certificate)
    tls.renew()
    assert "was read again" in caplog.text
    caplog.clear()
    certificate.write_text("half of it")
    tls.renew()
    tls.renew()
    assert caplog.text.count("stays in use") == 1
    shutil.copy(keys / "cert.pem", certificate)
    tls.renew()
    assert "was read again" in caplog.text


def test_files_that_cannot_be_used(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.pem: No such file"):
        ServerTls(RestTlsFiles(str(keys / "cert.pem"), str(tmp_path / "none.pem")))
    (tmp_path / "text.pem").write_text("text")
    with pytest.raises(ConfigError, match="TLS for REST: cannot use"):
        ServerTls(RestTlsFiles(str(tmp_path / "text.pem"), str(keys / "key.pem")))
