"""What goes wrong between the command line and a controller: subject, what is wrong, where, what to do."""

from __future__ import annotations

import gc
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flowlane.cli import client as http
from flowlane.cli import main as cli

COMMANDS = [
    ["status"],
    ["status", "--json"],
    ["devices"],
    ["queues"],
    ["vms"],
    ["flows"],
    ["flows", "--json"],
    ["assignments"],
    ["explain", "ab" * 20],
    ["explain", "10.0.0.1-10.0.0.2"],
    ["events", "--count", "1"],
    ["hint", "show", "vm"],
    ["hint", "set", "vm", "--class", "c"],
    ["hint", "clear", "vm"],
    ["policy", "show"],
    ["policy", "show", "--json"],
    ["policy", "check", "POLICY"],
    ["policy", "replace", "POLICY"],
    ["check", "POLICY"],
]
"""Every command that asks a controller."""


Run = Callable[[list[str], str], tuple[int, str]]
"""A command and a URL -> its exit code and what it wrote to standard error."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\n")

    def call(words: list[str], url: str) -> tuple[int, str]:
        words = [str(policy) if word == "POLICY" else word for word in words]
        code = cli.main([*words, "--url", url])
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(r"flowlane( check)?: [^\n]*\n", err), err
        return code, err

    return call


def response(body: str, status: str = "200 OK", kind: str = "text/html", more: str = "") -> bytes:
    text = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}"
    return text.encode()


def read_request(link: socket.socket) -> bytes:
    """Read a request with its body: closing a connection with unread bytes would reset it. Return its head."""
    data = link.recv(65536)
    if b" HTTP/1" not in data:
        return b""  # such as the first message of TLS
    while b"\r\n\r\n" not in data and (more := link.recv(65536)):
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    while len(body) < (int(found[1]) if found else 0) and (more := link.recv(65536)):
        body += more
    return head


@contextmanager
def answering(answer: bytes, heads: list[bytes] | None = None) -> Iterator[str]:
    """A server that answers every request with the same bytes, and closes; ``heads`` gets those of the requests."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(
            target=answer_all, args=(listener, answer, [] if heads is None else heads), daemon=True
        )
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def answer_all(listener: socket.socket, answer: bytes, heads: list[bytes]) -> None:
    while True:
        try:
            link, _ = listener.accept()
        except OSError:
            return
        with link:
            heads.append(read_request(link))
            link.sendall(answer)


def closed_port() -> str:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{closed.getsockname()[1]}"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_sends_the_token(run: Run, words: list[str]) -> None:
    heads: list[bytes] = []
    refusal = json.dumps({"detail": "a token is needed"})
    with answering(response(refusal, "401 Unauthorized", "application/problem+json"), heads) as url:
        cli.main([word.replace("POLICY", __file__) for word in words] + ["--url", url, "--token", "s3cret"])
    assert [b"Authorization: Bearer s3cret" in head for head in heads] == [True] * len(heads)
    assert heads or words[0] == "check"


def test_no_command_connects_without_its_options() -> None:
    folder = Path(http.__file__).parent
    callers = [
        path.name for path in folder.glob("*.py") if re.search(r"(?<![\w.])connect\(", path.read_text())
    ]
    assert callers == ["client.py"]


@pytest.mark.parametrize("given", ["--token", "--token-file", "FLOWLANE_TOKEN", "FLOWLANE_TOKEN_FILE"])
def test_where_the_token_comes_from(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, heads = tmp_path / "token", list[bytes]()
    file.write_text("s3cret\n")
    value = str(file) if "FILE" in given.upper() else "s3cret"
    if not given.startswith("-"):
        monkeypatch.setenv(given, value)
    with answering(response("{}", "401 Unauthorized", "application/problem+json"), heads) as url:
        cli.main(["status", "--url", url, *([given, value] if given.startswith("-") else [])])
    assert b"Authorization: Bearer s3cret" in heads[0]
    assert "s3cret" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--token-file", "/none"], "file of the token /none cannot be read: No such file"),
        (["--token", "two words"], "one word of ASCII characters"),
        (["--token", ""], "one word of ASCII characters"),
        (["--ca", "/none"], "--ca /none: there is no such file"),
    ],
)
def test_credentials_that_cannot_be_used(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", "--url", f"http://{closed_port()}", *words]) == 1
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_controller_runs(run: Run, words: list[str]) -> None:
    place = closed_port()
    code, err = run(words, f"http://{place}")
    assert code == (2 if words[0] == "check" else 3)
    message = (
        f"controller at {place} does not answer (Connection refused); start flowlane-manager or give --url\n"
    )
    assert err.endswith(message)
    assert run(words, place) == (code, err), "HOST:PORT is enough"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    "answer",
    [
        response("<html>It works!</html>"),
        response("<html>Sorry</html>", "404 Not Found"),
        response("<html>Sorry</html>", "502 Bad Gateway"),
        response("[]", "404 Not Found", "application/json"),
        response('{"error": "x"}', "500 Oops", "application/json"),
        response('"text"', kind="application/json"),
        response("[1, 2]", kind="application/json"),
        response('{"items"', kind="application/json"),
        response("[" * 100_000, kind="application/json"),
    ],
    ids=["html", "404", "502", "list-404", "json-500", "string", "list", "half", "deep"],
)
def test_another_server_answers(run: Run, words: list[str], answer: bytes) -> None:
    gc.collect()  # What other tests have left is not to be freed, with its warnings, where the stack is used up.
    with answering(answer) as url:
        code, err = run(words, url)
    assert code == (2 if words[0] == "check" else 3)
    assert f"server at {url.removeprefix('http://')} is no Flowlane controller: it answered /v1/" in err
    assert err.endswith("; give the controller's --url\n")


@pytest.mark.parametrize("words", [["queues", "--port", "x"], ["queues", "--port", "x", "--json"]])
def test_a_port_is_refused_also_where_no_device_is(run: Run, words: list[str]) -> None:
    with answering(response('{"items": [], "next": null}', kind="application/json")) as url:
        assert run(words, url) == (1, "flowlane: there is no port 'x'; none is defined\n")


@pytest.mark.parametrize(
    ("words", "body", "what"),
    [
        (["status"], "{}", "has no field 'ready'"),
        (["status", "--json"], "{}", "has no field 'ready'"),
        (["status"], '{"ready": true}', "has no field 'devices'"),
        *(([name], "{}", "has no field 'items'") for name in ("devices", "queues", "vms", "flows")),
        *(([name], '{"items": 5, "next": null}', "something else than a list") for name in ("flows", "vms")),
        *(
            ([name], '{"items": [5], "next": null}', "something else than a list")
            for name in ("flows", "vms")
        ),
        (["flows"], '{"items": []}', "has no field 'next'"),
        (["vms"], '{"items": [{}], "next": null}', "has no field 'name'"),
        (["queues"], '{"items": [{"name": "x"}], "next": null}', "has no field 'dpid'"),
        (["explain", "ab" * 20], "{}", "has no field 'id'"),
        (["hint", "show", "vm"], '{"vm": "vm"}', "has no field 'hints'"),
        (["policy", "check", "POLICY"], "{}", "has no field 'classes_added'"),
        (["check", "POLICY"], "{}", "has no field 'items'"),
    ],
)
def test_an_answer_without_the_fields(run: Run, words: list[str], body: str, what: str) -> None:
    """As another program's JSON has it, or another version's."""
    with answering(response(body, kind="application/json")) as url:
        code, err = run(words, url)
    assert code == (2 if words[0] == "check" else 3)
    assert what in err


def test_what_is_not_http(run: Run) -> None:
    with answering(b"\x00\x01\x02\r\n\r\n") as url:
        assert re.search("server at 127.0.0.1:[0-9]+ does not answer in HTTP", run(["flows"], url)[1])
    with answering(b"") as url:
        assert "does not answer" in run(["flows"], url)[1]
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{") as url:
        assert "does not answer in HTTP" in run(["flows"], url)[1]


def test_a_host_without_an_address(run: Run) -> None:
    code, err = run(["status"], "http://host.invalid:1")
    assert code == 3
    assert re.search(
        r"host 'host.invalid' of the controller's URL has no address \(.+\); give --url http://", err
    )


def test_tls_to_a_plain_server(run: Run) -> None:
    with answering(response("x")) as url:
        place = url.replace("http", "https")
        code, err = run(["status"], place)
    assert code == 3
    assert f"TLS with {place} failed (" in err
    assert err.endswith("serves plain HTTP unless it has --rest-cert: give --url http://...\n")


def test_a_server_that_does_not_answer_in_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "READ_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        code, err = run(["status"], f"http://{place}")
    assert (code, err) == (
        3,
        f"flowlane: controller at {place} did not answer within 0.2 s; look into its log\n",
    )


def test_no_connection_in_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose queue is full answers no SYN."""
    monkeypatch.setattr(http, "CONNECT_TIMEOUT", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        place = f"127.0.0.1:{full.getsockname()[1]}"
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        code, err = run(["status"], f"http://{place}")
        for sock in waiting:
            sock.close()
    assert code == 3
    assert (
        f"controller at {place} does not answer (no connection within 0.2 s); start flowlane-manager" in err
    )


def test_the_stream_of_events_breaks_off(run: Run) -> None:
    for broken in (b"data: {\n\n", b"data: \xff\n\n", b"data: []\n\n"):
        body = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + broken
        with answering(body) as url:
            assert "broke off" in run(["events", "--count", "1"], url)[1]


def test_a_problem_is_worded_by_the_controller(run: Run) -> None:
    problem = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "there is no VM 'x'"}
    with answering(response(json.dumps(problem), "404 Not Found", "application/problem+json")) as url:
        assert run(["flows"], url) == (1, "flowlane: there is no VM 'x'\n")
        problem |= {"type": "tag:x", "title": "Refused"}
    with answering(response(json.dumps(problem), "404 Not Found", "application/problem+json")) as url:
        assert run(["flows"], url) == (1, "flowlane: Refused: there is no VM 'x'\n")


@pytest.mark.parametrize(
    "url",
    ["", " ", "ftp://127.0.0.1", "http://", "http://:8080", "http://a:99999", "http://a:b", "http://[::1", "a b",
     "http://127.0.0.1:0", "http://a..b", "http://" + "a" * 64 + ".b", "http://a?x=1", "http://a#x", "//a", "\x1b[2J"],
)  # fmt: skip
def test_what_is_not_a_url(capsys: pytest.CaptureFixture[str], url: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", f"--url={url}"])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert f"argument --url: {url[:60]!r}"[:-1] in err
    assert "' is not the URL of a controller, such as http://127.0.0.1:8080" in err


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://10.0.0.1:8080/", "10.0.0.1:8080"),
        ("http://me:secret@[::1]:80", "[::1]:80"),
        ("https://host", "https://host"),
        ("http://host/behind/a/proxy", "http://host/behind/a/proxy"),
    ],
)
def test_how_messages_name_the_controller(url: str, place: str) -> None:
    assert http.connect(url).place == place
