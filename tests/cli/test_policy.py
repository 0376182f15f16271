"""``flowlane policy``: what is printed, and what reaches the controller."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flowlane import policy as policies
from flowlane.cli import policy
from flowlane.cli.client import RefusedError

CHANGE = {
    "applied": True,
    "classes_added": ["gold"],
    "classes_removed": [],
    "classes_changed": ["bulk"],
    "rules_added": [],
    "rules_removed": ["rule 1"],
    "rules_changed": [],
    "settings_changed": ["port-security"],
}
PROBLEM = {
    "title": "Unprocessable Entity",
    "detail": "the policy is refused: 1 problem",
    "errors": [
        {"line": 2, "path": "clases", "detail": "unknown key 'clases'", "remedy": "did you mean classes?"}
    ],
}


class RecordingServer(HTTPServer):
    """Keeps method, path, content type and body of each request."""

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.requests: list[tuple[str, str, str | None, bytes]] = []


class Controller(BaseHTTPRequestHandler):
    server: RecordingServer

    """Answers as /v1/policy does, and remembers what came."""

    def do_GET(self) -> None:
        yaml = self.headers["Accept"] == "application/yaml"
        if yaml:
            self.answer(200, b"version: 1\n", "application/yaml; charset=utf-8")
        else:
            self.answer(200, b'{"text": "version: 1"}')

    def do_PUT(self) -> None:
        self.take(applied=True)

    def do_POST(self) -> None:
        self.take(applied=False)

    def take(self, applied: bool) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.command, self.path, self.headers["Content-Type"], body))
        if b"clases" in body:
            self.answer(422, json.dumps(PROBLEM).encode())
        else:
            flows = {} if applied else {"flows": {"total": 26, "reclassified": 4, "moved": 2}}
            self.answer(200, json.dumps({**CHANGE, **flows, "applied": applied}).encode())

    def answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def controller() -> Iterator[RecordingServer]:
    server = RecordingServer(("127.0.0.1", 0), Controller)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(*words: Path | str, server: RecordingServer | None = None) -> int | None:
    parser = argparse.ArgumentParser()
    policy.add_arguments(parser)
    url = ["--url", f"http://127.0.0.1:{server.server_port}"] if server else []
    return policy.run(parser.parse_args([*map(str, words), *url]))


def test_the_built_in_policy_is_printed_so_that_it_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "--built-in") == 0
    assert policies.load(capsys.readouterr().out) == policies.default()


def test_the_policy_in_force(controller: RecordingServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", server=controller) == 0
    assert capsys.readouterr().out == "version: 1\n"
    assert run("show", "--json", server=controller) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "version: 1"}


@pytest.mark.parametrize(
    ("action", "request_line", "last"),
    [
        ("replace", ("PUT", "/v1/policy"), ["the policy is in force"]),
        (
            "check",
            ("POST", "/v1/policy/check"),
            [
                "of 26 flows 4 would be of another class, 2 on another queue",
                "nothing was changed: this was a check",
            ],
        ),
    ],
)
def test_a_policy_is_sent_as_it_is(
    controller: RecordingServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    action: str,
    request_line: tuple[str, str],
    last: list[str],
) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"version: 1 # \xc3\xa9\r\n")
    assert run(action, path, server=controller) == 0
    assert controller.requests == [(*request_line, "application/yaml", path.read_bytes())]
    assert capsys.readouterr().out.splitlines() == [
        "+ class gold",
        "~ class bulk",
        "- rule rule 1",
        "~ setting port-security",
        *last,
    ]


def test_a_refused_policy_names_line_and_key(controller: RecordingServer, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nclases: {}\n")
    with pytest.raises(
        RefusedError, match=r"line 2: clases: unknown key 'clases' \(did you mean classes\?\)"
    ):
        run("replace", path, server=controller)


def test_the_schema_and_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Flowlane policy"
    assert run("reference") == 0
    assert "| `keep-vm-together` |" in capsys.readouterr().out
