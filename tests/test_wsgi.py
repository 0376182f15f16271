"""The WSGI server's own part; requests over a real socket are in tests/northbound/test_server.py and test_tls.py."""

from __future__ import annotations

import errno
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from flowlane import hub, wsgi


class Listening:
    """A listening socket that has a problem each time, and then a connection."""

    family = socket.AF_INET

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)

    def accept(self) -> tuple[Any, tuple[str, int]]:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, ("10.0.0.5", 1234)

    def fileno(self) -> int:
        return 5

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 1

    def close(self) -> None:
        """Do nothing."""


def no_need() -> None:
    """Make no room: there is some."""


def test_a_connection_that_is_not_accepted_does_not_end_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """eventlet's server ends by ENOTCONN and the like, and raises what else accept(2) says."""
    monkeypatch.setattr(hub, "sleep", lambda _seconds: None)
    one, other = socket.socketpair()
    problems = [OSError(number, "problem") for number in (errno.EMFILE, errno.ENOTCONN, errno.ECONNABORTED)]
    acceptor = wsgi._Acceptor(Listening(*problems, one), None, logging.getLogger("test"), no_need)  # type: ignore[arg-type]
    assert acceptor.accept() == (one, ("10.0.0.5", 1234))
    assert caplog.text.count("a connection was not accepted") == 1
    one.close()
    other.close()


def test_a_client_that_is_gone_before_tls_begins_is_passed_over(keys: Path) -> None:
    context = wsgi.tls_context(str(keys / "cert.pem"), str(keys / "key.pem"))
    with hub.listen("127.0.0.1", 0, 5) as listening:
        acceptor = wsgi._Acceptor(listening, context, logging.getLogger("test"), no_need)
        gone = socket.create_connection(listening.getsockname())
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close(2) resets it
        gone.close()
        with socket.create_connection(listening.getsockname()) as client:
            accepted, address = acceptor.accept()
            while address != client.getsockname():
                accepted.close()
                accepted, address = acceptor.accept()
            accepted.close()


def test_names_of_certificates() -> None:
    subject = ((("countryName", "XX"),), (("commonName", "ctl"),))
    assert wsgi._common_name({"subject": subject}) == "ctl"
    assert wsgi._common_name({}) == wsgi._common_name(None) == ""


def test_the_connection_that_waits_longest_makes_room() -> None:
    free, ended = 0, list[str]()
    waiting = wsgi._Waiting(lambda: free)
    for name in ("answered", "first", "second"):
        waiting.add(name, lambda name=name: ended.append(name))  # type: ignore[misc]
    waiting.discard("answered")
    waiting.make_room()
    assert ended == ["first"]
    free = 1
    waiting.make_room()
    assert ended == ["first"]


def test_where_all_are_answered_the_first_that_waits_again_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = list[str]()
    waiting = wsgi._Waiting(lambda: 0)
    monkeypatch.setattr(hub, "sleep", lambda _seconds: waiting.add("idle", lambda: ended.append("idle")))
    waiting.make_room()
    assert ended == ["idle"]
