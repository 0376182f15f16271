"""HTTP client of a controller's REST interface; what goes wrong becomes an error that people can read."""

from __future__ import annotations

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import requests
from requests import exceptions

from flowlane.cli.arguments import DEFAULT_URL, TOKEN_FILE_VARIABLE, TOKEN_VARIABLE
from flowlane.cli.merging import Part, merged
from flowlane.errors import ConfigError, FlowlaneError
from flowlane.escaping import escaped
from flowlane.stdio import print_error

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

PAGE = 1000
"""Items of a page: the most that the server gives."""

CONNECT_TIMEOUT = 3.0
"""Seconds to connect."""

READ_TIMEOUT = 30.0
"""Seconds between two parts of an answer."""

STREAM_TIMEOUT = 45.0
"""As READ_TIMEOUT, for events: the server sends a comment every 15 s."""


class UnreachableError(FlowlaneError):
    """No controller answers at the URL, or what answers is no Flowlane controller."""

    exit_code = 3


class RefusedError(FlowlaneError):
    """The controller answered with a problem document.

    ``status``: the HTTP status. ``members``: URLs of other controllers that may have what is not there.
    """

    def __init__(self, text: str, status: int, members: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.status, self.members = status, members


class Client(NamedTuple):
    """A controller's URL, and the HTTP session with it.

    ``asks_others``: what this controller has nothing of is asked of those that share its database.
    """

    url: str
    session: requests.Session
    asks_others: bool = True

    @property
    def place(self) -> str:
        """The controller's address for messages: ``127.0.0.1:8080``, or the URL where more than that matters."""
        parts = urlsplit(self.url)
        return self.url if parts.scheme != "http" or parts.path else parts.netloc.rpartition("@")[2]


class Answer(dict[str, Any]):
    """A JSON object of an answer; a field that is missing is an :class:`UnreachableError`, not a KeyError."""

    def __missing__(self, field: str) -> Any:
        raise UnreachableError(
            f"an answer of the controller has no field {field!r}: is --url a Flowlane controller of this version?"
        )


class ServerEvent(NamedTuple):
    """One server-sent event; ``data`` is its JSON object, empty where only an id was sent."""

    id: str
    kind: str
    data: Answer


def client_of(args: argparse.Namespace) -> Client:
    """Make a client of the options that :func:`flowlane.cli.arguments.add_url` adds.

    Raises:
        ConfigError: the file of the token, or of the CA, cannot be read.
    """
    if args.ca is not None and not Path(args.ca).is_file():
        raise ConfigError(f"--ca {args.ca}: there is no such file")
    return connect(args.url, _token(args), args.ca)


def _token(args: argparse.Namespace) -> str | None:
    """Return the token of the options, else that of the environment; None where there is none."""
    file = args.token_file
    if args.token is None and file is None:
        if token := os.environ.get(TOKEN_VARIABLE):
            return token
        file = os.environ.get(TOKEN_FILE_VARIABLE) or None
    if file is None:
        return str(args.token) if args.token is not None else None
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"file of the token {file} cannot be read: {reason}") from error


class _Session(requests.Session):
    """A session that sends its token to the controller that another one refers to, too: both have the same tokens."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Keep the token, unless it would then be sent without TLS."""
        before, after = urlsplit(response.url), urlsplit(prepared_request.url or "")
        if after.scheme not in (before.scheme, "https"):
            super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]


def connect(url: str, token: str | None = None, ca: str | None = None) -> Client:
    """Make a client. Proxies of the environment are not used: a controller is in the same network.

    Args:
        token: what the controller asks for; None: nothing.
        ca: file of the CA of its certificate; None: those of the system.

    Raises:
        ConfigError: the token has characters that no token has.
    """
    session = _Session()
    session.trust_env = False
    session.headers["Accept"] = "application/json"
    if token is not None:
        if not (token.isascii() and token.isprintable() and token) or " " in token:
            raise ConfigError("the token is none: one word of ASCII characters is expected")
        session.headers["Authorization"] = f"Bearer {token}"
    if ca is not None:
        session.verify = ca
    return Client(url.rstrip("/"), session)


def call(client: Client, method: str, path: str, **options: Any) -> requests.Response:
    """Send one request; where the controller has nothing of it, to the others that share its database.

    Raises:
        UnreachableError: no controller answers.
        RefusedError: the answer is a problem document.
    """
    try:
        return _call_one(client, method, path, **options)
    except RefusedError as error:
        for url in error.members if client.asks_others else ():
            with suppress(UnreachableError):
                try:
                    return _call_one(_other(client, url), method, path, **options)
                except RefusedError as other:
                    if other.status != requests.codes.not_found:
                        raise
        raise


def _other(client: Client, url: str) -> Client:
    """Make a client of another controller; the token is not sent without TLS where it was sent with TLS before."""
    if urlsplit(url).scheme in (urlsplit(client.url).scheme, "https"):
        return Client(url, client.session, asks_others=False)
    return connect(url)._replace(asks_others=False)


def _call_one(client: Client, method: str, path: str, **options: Any) -> requests.Response:
    options.setdefault("timeout", (CONNECT_TIMEOUT, READ_TIMEOUT))
    try:
        response = client.session.request(method, client.url + path, **options)
    except (exceptions.RequestException, ValueError) as error:
        raise UnreachableError(_why_unreachable(client, error)) from error
    if not response.ok:
        raise _refusal(client, response)
    return response


def send(client: Client, method: str, path: str, **options: Any) -> Answer:
    """Send one request that is answered with a JSON object.

    Raises:
        UnreachableError, RefusedError: see :func:`call`.
    """
    response = call(client, method, path, **options)
    try:
        answer = response.json(object_hook=Answer)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, Answer):
        raise UnreachableError(_not_a_controller(client, response))
    return answer


def get(client: Client, path: str, query: Mapping[str, Any] | None = None) -> Answer:
    """Get a JSON object."""
    return send(client, "GET", path, params=dict(query or {}))


def get_all(client: Client, path: str) -> list[Answer]:
    """Get a JSON object of each controller that has it: each has its part of what is on several devices."""
    first = get(client, path)
    answers = [first]
    for member in first.get("members", []):
        try:
            if member["url"]:
                answers.append(get(_other(client, member["url"]), path))
        except (UnreachableError, RefusedError) as error:
            if not isinstance(error, RefusedError) or error.status != requests.codes.not_found:
                print_error(f"what controller {member['name']} leads is missing here: {error}")
    return answers


def pages(client: Client, path: str, query: Mapping[str, Any], at_most: int | None) -> Answer:
    """Get a list over as many pages as it takes; ``next`` is null unless there is more than ``at_most``.

    Of several controllers each has a part of it.
    """
    answer = _pages_of_one(client, path, query, at_most)
    others = answer.pop("members", [])
    if not others:
        return answer
    answers, read = [answer], []
    for member in others:
        try:
            if not member["url"]:
                raise UnreachableError("it has no --rest-url")
            answers.append(_pages_of_one(_other(client, member["url"]), path, query, at_most))
            read.append(member)
        except RefusedError as error:
            # It may not know the device, or the VM, that the query names.
            if error.status != requests.codes.not_found:
                raise
            read.append(member)
        except UnreachableError as error:
            print_error(f"what controller {member['name']} leads is missing or out of date here: {error}")
    elsewhere = {device for member in read for device in member["devices"]}
    parts = [Part(answer["items"], elsewhere)]
    parts += [Part(other["items"], _elsewhere_of(other)) for other in answers[1:]]
    items = merged(parts, query.get("sort"))
    cursors = [other["next"] for other in answers if other["next"] is not None]
    is_cut = at_most is not None and len(items) > at_most
    return Answer(items=items[:at_most], next=cursors[0] if cursors else path if is_cut else None)


def _elsewhere_of(answer: Answer) -> set[str]:
    return {device for member in answer.get("members", []) for device in member["devices"]}


def _pages_of_one(client: Client, path: str, query: Mapping[str, Any], at_most: int | None) -> Answer:
    """Get the part of a list that one controller has, with the field ``members`` of its last page, if it has one."""
    items: list[Answer] = []
    cursor: str | None = None
    while True:
        limit = PAGE if at_most is None else min(PAGE, at_most - len(items))
        page = get(client, path, {**query, "limit": limit, **({"cursor": cursor} if cursor else {})})
        if not isinstance(page["items"], list) or not all(isinstance(item, Answer) for item in page["items"]):
            raise UnreachableError(
                f"server at {client.place} answered {path} with something else than a list"
            )
        items += page["items"]
        cursor = page["next"]
        if cursor is None or (at_most is not None and len(items) >= at_most):
            return Answer(items=items, next=cursor, members=page.get("members", []))


def stream_pages(
    client: Client, path: str, query: Mapping[str, Any], at_most: int | None
) -> Iterator[tuple[list[Answer], str | None]]:
    """Get a list a page at a time: (items, cursor of what is left); the next page is requested meanwhile.

    The list of several controllers comes as one page.
    Only items themselves are :class:`Answer`; what is in them is not, which takes a tenth of the time.
    """
    with ThreadPoolExecutor(1) as pool:
        left, cursor = at_most, None
        coming = pool.submit(_page, client, path, query, left, cursor)
        while True:
            items, cursor, is_partial = coming.result()
            if is_partial:
                answer = pages(client, path, query, at_most)
                yield answer["items"], answer["next"]
                return
            left = None if left is None else left - len(items)
            is_over = cursor is None or left == 0
            if not is_over:
                coming = pool.submit(_page, client, path, query, left, cursor)
            yield items, cursor
            if is_over:
                return


def _page(
    client: Client, path: str, query: Mapping[str, Any], left: int | None, cursor: str | None
) -> tuple[list[Answer], str | None, bool]:
    """Get a page: its items, the cursor of the next one, whether other controllers have more."""
    limit = PAGE if left is None else min(PAGE, left)
    params = {**query, "limit": limit, **({"cursor": cursor} if cursor else {})}
    # Over the network of a controller compressing takes longer than it saves.
    response = call(client, "GET", path, params=params, headers={"Accept-Encoding": "identity"})
    try:
        page = Answer(json.loads(response.content))
    except (ValueError, TypeError, RecursionError):
        raise UnreachableError(_not_a_controller(client, response)) from None
    items = page["items"]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnreachableError(f"server at {client.place} answered {path} with something else than a list")
    return [Answer(item) for item in items], page["next"], bool(page.get("members"))


def events(client: Client, query: Mapping[str, Any], last_id: str) -> Iterator[ServerEvent]:
    """Follow the events from the one after ``last_id`` on, until the connection ends."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
    timeout = (CONNECT_TIMEOUT, STREAM_TIMEOUT)
    options = {"params": dict(query), "headers": headers, "stream": True, "timeout": timeout}
    with call(client, "GET", "/v1/events", **options) as response:
        if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            raise UnreachableError(_not_a_controller(client, response))
        try:
            yield from _read_events(response)
        except (exceptions.RequestException, ValueError) as error:
            raise UnreachableError(
                f"stream of events from {client.place} broke off ({_cause(error)})"
            ) from error


def _read_events(response: requests.Response) -> Iterator[ServerEvent]:
    fields: dict[str, str] = {}
    for line in response.iter_lines(chunk_size=None, decode_unicode=False):
        name, _, value = line.decode().partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields or "id" in fields:
            data = json.loads(fields.get("data", "{}"), object_hook=Answer)
            if not isinstance(data, Answer):
                raise ValueError("the data of an event is no JSON object")
            yield ServerEvent(fields.get("id", ""), fields.get("event", ""), data)
            fields = {}


def delete(client: Client, path: str) -> None:
    """Delete what is at a path.

    Raises:
        UnreachableError, RefusedError: see :func:`call`.
    """
    response = call(client, "DELETE", path)
    if response.status_code != requests.codes.no_content:
        raise UnreachableError(_not_a_controller(client, response))


def get_text(client: Client, path: str, media_type: str) -> str:
    """Get a text of a media type.

    Raises:
        UnreachableError, RefusedError: see :func:`call`.
    """
    response = call(client, "GET", path, headers={"Accept": media_type})
    if not response.headers.get("Content-Type", "").startswith(media_type):
        raise UnreachableError(_not_a_controller(client, response))
    return response.content.decode("utf-8", "replace")


def _why_unreachable(client: Client, error: Exception) -> str:
    """Word an error of requests: what is wrong, where, and what to do."""
    place, cause = client.place, _cause(error)
    remedy = "start flowlane-manager or give --url"
    if isinstance(error, exceptions.ConnectTimeout):
        return f"controller at {place} does not answer (no connection within {CONNECT_TIMEOUT:g} s); {remedy}"
    if isinstance(error, exceptions.Timeout):
        return f"controller at {place} did not answer within {READ_TIMEOUT:g} s; look into its log"
    if isinstance(error, exceptions.SSLError):
        return f"TLS with {place} failed ({cause}); {_tls_remedy(cause)}"
    if isinstance(_innermost(error), socket.gaierror):
        host = urlsplit(client.url).hostname
        return f"host {host!r} of the controller's URL has no address ({cause}); give --url {DEFAULT_URL}"
    if isinstance(_innermost(error), OSError):
        return f"controller at {place} does not answer ({cause}); {remedy}"
    return f"server at {place} does not answer in HTTP ({cause}); give the controller's --url"


def _tls_remedy(cause: str) -> str:
    if "mismatch" in cause:
        return "call the controller by a name that its certificate has (--url)"
    if "certificate verify failed" in cause or "CERTIFICATE_VERIFY_FAILED" in cause:
        return "give --ca with the CA of the controller's certificate"
    return "the controller serves plain HTTP unless it has --rest-cert: give --url http://..."


def _innermost(error: BaseException) -> BaseException:
    """Return the first cause: requests and urllib3 wrap it several times."""
    while (following := error.__cause__ or error.__context__) is not None:
        error = following
    return error


def _cause(error: Exception) -> str:
    inner = _innermost(error)
    text = str(getattr(inner, "strerror", None) or inner).strip()
    return escaped(text) or type(inner).__name__


def _not_a_controller(client: Client, response: requests.Response) -> str:
    kind = response.headers.get("Content-Type", "no Content-Type").partition(";")[0]
    return (
        f"server at {client.place} is no Flowlane controller: it answered {response.request.path_url} with "
        f"{response.status_code} {response.reason} and {kind!r}; give the controller's --url"
    )


def _refusal(client: Client, response: requests.Response) -> FlowlaneError:
    """Word a problem document (RFC 9457); its title only where it says more than the HTTP status."""
    try:
        problem = response.json()
        title = "" if problem.get("type", "about:blank") == "about:blank" else f"{problem['title']}: "
        lines = [escaped(f"{title}{problem['detail']}")]
        lines += [f"  {escaped(_place_text(place))}" for place in problem.get("errors", [])]
        members = [member["url"] for member in problem.get("members", []) if member["url"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return UnreachableError(_not_a_controller(client, response))
    if response.status_code == requests.codes.unauthorized:
        lines.append(
            f"  give --token-file, ${TOKEN_FILE_VARIABLE} or ${TOKEN_VARIABLE}; flowlane token add makes one"
        )
    return RefusedError("\n".join(lines), response.status_code, members)


def _place_text(place: Mapping[str, Any]) -> str:
    line = f"line {place['line']}: " if place["line"] else ""
    remedy = f" ({place['remedy']})" if place["remedy"] else ""
    return f"{line}{place['path']}: {place['detail']}{remedy}"
