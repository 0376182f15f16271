"""Talks to a running controller's REST, and turns what goes wrong into one line for people."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import requests

from flowlane.errors import FlowlaneError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE = "FLOWLANE_URL"
PAGE = 1000
"""Items asked for at a time: what the server gives at most."""

TIMEOUT = (3.0, 30.0)
"""Seconds to connect, and between two parts of an answer."""

STREAM_TIMEOUT = (3.0, 45.0)
"""As TIMEOUT, for events: the server sends a sign of life every 15 s."""


class UnreachableError(FlowlaneError):
    """No controller answers at the URL."""

    exit_code = 3


class RefusedError(FlowlaneError):
    """The controller answered with a problem document; ``status`` is the HTTP status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Client(NamedTuple):
    """Where the controller is, and the connection to it."""

    url: str
    session: requests.Session


class ServerEvent(NamedTuple):
    """One server-sent event; ``data`` is JSON."""

    id: str
    kind: str
    data: dict[str, Any]


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add ``--url``."""
    url = os.environ.get(URL_VARIABLE) or DEFAULT_URL
    parser.add_argument(
        "--url", default=url, help=f"the controller (default ${URL_VARIABLE}, else {DEFAULT_URL})"
    )


def connect(url: str) -> Client:
    """Make a client. Proxies of the environment are not used: a controller is near."""
    session = requests.Session()
    session.trust_env = False
    session.headers["Accept"] = "application/json"
    return Client(url.rstrip("/"), session)


def call(client: Client, method: str, path: str, **options: Any) -> requests.Response:
    """One request.

    Raises:
        UnreachableError: nobody answers.
        RefusedError: the answer is a problem.
    """
    options.setdefault("timeout", TIMEOUT)
    try:
        response = client.session.request(method, client.url + path, **options)
    except requests.exceptions.RequestException as error:
        raise UnreachableError(f"no controller answers at {client.url}: {_cause(error)}") from error
    if not response.ok:
        raise RefusedError(_problem_text(response), response.status_code)
    return response


def get(client: Client, path: str, query: Mapping[str, Any] | None = None) -> Any:
    """Get a JSON object."""
    return _json(call(client, "GET", path, params=dict(query or {})))


def pages(client: Client, path: str, query: Mapping[str, Any], at_most: int | None) -> dict[str, Any]:
    """Get a list over as many pages as it takes; ``next`` tells whether there is more than ``at_most``."""
    items: list[Any] = []
    cursor: str | None = None
    while True:
        limit = PAGE if at_most is None else min(PAGE, at_most - len(items))
        part = get(client, path, {**query, "limit": limit, **({"cursor": cursor} if cursor else {})})
        items += part["items"]
        cursor = part["next"]
        if cursor is None or (at_most is not None and len(items) >= at_most):
            return {"items": items, "next": cursor}


def events(client: Client, query: Mapping[str, Any], last_id: str) -> Iterator[ServerEvent]:
    """Follow the events from one on, until the connection ends."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
    options = {"params": dict(query), "headers": headers, "stream": True, "timeout": STREAM_TIMEOUT}
    with call(client, "GET", "/v1/events", **options) as response:
        fields: dict[str, str] = {}
        try:
            for line in response.iter_lines(chunk_size=None, decode_unicode=False):
                name, _, value = line.decode().partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    yield ServerEvent(
                        fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"])
                    )
                    fields = {}
        except requests.exceptions.RequestException as error:
            raise UnreachableError(
                f"the stream of events from {client.url} broke: {_cause(error)}"
            ) from error


def _json(response: requests.Response) -> Any:
    try:
        return response.json()
    except requests.exceptions.JSONDecodeError as error:
        raise RefusedError(f"{response.url} does not speak Flowlane's REST", response.status_code) from error


def _cause(error: requests.exceptions.RequestException) -> str:
    """The innermost reason: requests and urllib3 wrap it several times."""
    inner: BaseException = error
    while (following := inner.__cause__ or inner.__context__) is not None:
        inner = following
    return getattr(inner, "strerror", None) or str(inner)


def _problem_text(response: requests.Response) -> str:
    try:
        problem = response.json()
        lines = [f"{problem['title']}: {problem['detail']}"]
        lines += [f"  {_place_text(place)}" for place in problem.get("errors", [])]
    except (ValueError, KeyError, TypeError):
        return f"{response.url} answered {response.status_code} {response.reason}"
    return "\n".join(lines)


def _place_text(place: Mapping[str, Any]) -> str:
    line = f"line {place['line']}: " if place["line"] else ""
    remedy = f" ({place['remedy']})" if place["remedy"] else ""
    return f"{line}{place['path']}: {place['detail']}{remedy}"
