"""JSON-RPC 1.0 with a database server (RFC 7047 section 4), with bounds on what a server may cost.

A message that is too large, malformed or unexpected ends the session (:class:`~flowlane.errors.ProtocolError`). What a
session costs in processor time is a token bucket: a database that sends changes without end is read more slowly.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from flowlane import hub
from flowlane.errors import DatabaseError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowlane.southbound.ovsdb.stream import Stream

MAX_MESSAGE = 8 << 20
"""Bytes of a message: the first copy of a host with some 8,000 ports. Reading one takes about 0.1 s."""

MAX_QUEUED = 10_000
"""Notifications that may arrive before the reply to a request."""

SILENCE = 10.0
"""Seconds without any byte after which a server that owes a reply is given up."""

PROBE_AFTER = 6.0
"""Seconds without any byte after which the server is asked for an echo (RFC 7047 section 4.1.11).

Over TCP ovsdb-server asks for one itself every 5 s, so that this is needed only where it is gone or hung; over a unix
socket it does not (jsonrpc-server.c, ``ovsdb_jsonrpc_default_options``)."""

ECHO_WITHIN = 3.0
"""Seconds without a reply to such a request after which the server counts as silent."""

GIVEN_UP_AFTER = 25.0
"""Seconds without any byte after which the session ends: a server that is busy for a while keeps it."""

NO_REPLY = "connected, but the database does not reply"
"""What is wrong with a silent server, in words."""

MESSAGE_WITHIN = 30.0
"""Seconds in which a message has to be complete, and a request answered."""

BURST, SHARE = 0.5, 0.05
"""Seconds of processor time that a database may use at once, and its share of one processor afterwards."""

_MAX_PAUSE = 2.0


_TURNS = hub.Turns()
"""One database in each round of the event loop, so that many with news at once keep nobody else waiting."""


_DECODER = json.JSONDecoder()
_SPACES = re.compile(r"\s*")


class RefusedError(DatabaseError):
    """The server answers a request with an error."""


class Share:
    """The processor time of one database, as a token bucket of seconds."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, spent: Callable[[], float] = time.thread_time
    ) -> None:
        self._clock, self._spent = clock, spent
        self._tokens, self._at, self._from = BURST, clock(), spent()

    def begin(self) -> None:
        """Begin to work: what is spent from now on is charged."""
        self._from = self._spent()

    def end(self) -> float:
        """End the work, and return for how many seconds the database has to wait."""
        now = self._clock()
        self._tokens = min(BURST, self._tokens + (now - self._at) * SHARE) - (self._spent() - self._from)
        self._at = now
        return min(_MAX_PAUSE, -self._tokens / SHARE) if self._tokens < 0 else 0.0


class Messages:
    """Reads JSON objects out of a stream of bytes, in which nothing separates them."""

    _NO_OBJECT = re.compile(rb"\s*([^{\s].{0,7})", re.DOTALL)
    _TOKEN = re.compile(rb'"|[{}]')
    _STRING_END = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._braces = 0
        """Opening braces less closing ones, those in strings included: 0 when all is complete, nearly always."""
        self._tried = 0
        """Bytes in the buffer when it was parsed in vain: the next time it is parsed with twice as many."""
        self._position = self._depth = 0
        self._in_string = False

    @property
    def pending(self) -> int:
        """Bytes of the message that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Add bytes, and return the messages that are complete.

        Raises:
            ProtocolError: a message is no JSON object, or too large.
        """
        self._buffer += data
        self._braces += data.count(b"{") - data.count(b"}")
        if not self._depth and (other := self._NO_OBJECT.match(self._buffer)):
            raise ProtocolError(f"a message begins with {bytes(other[1])!r}, not with an object")
        is_likely = self._braces == 0 and data[-1:] in b"}\n" and len(self._buffer) >= 2 * self._tried
        messages = self._parse() if is_likely else None
        if messages is None:
            messages = []
            while (end := self._scan()) is not None:
                messages.append(read_object(bytes(self._buffer[:end])))
                self._drop(end)
        if len(self._buffer) > MAX_MESSAGE:
            raise ProtocolError(f"a message is larger than {MAX_MESSAGE >> 20} MiB")
        return messages

    def _parse(self) -> list[dict[str, Any]] | None:
        """Read the buffer as complete messages; return None, and change nothing, when it is not that."""
        try:
            text = self._buffer.decode()
            messages, position = [], _after_spaces(text, 0)
            while position < len(text):
                message, position = _DECODER.raw_decode(text, position)
                messages.append(_as_object(message))
                position = _after_spaces(text, position)
        except (ValueError, RecursionError):
            self._tried = len(self._buffer)
            return None
        self._drop(len(self._buffer))
        return messages

    def _drop(self, end: int) -> None:
        del self._buffer[:end]
        self._position = self._depth = self._tried = 0
        self._in_string = False
        self._braces = self._buffer.count(b"{") - self._buffer.count(b"}")

    def _scan(self) -> int | None:
        """Go on through the buffer; return the end of the first text, None when it is not there yet."""
        buffer, position = self._buffer, self._position
        while True:
            if self._in_string:
                match = self._STRING_END.match(buffer, position)
                position = match.end() if match else position
                if position >= len(buffer) or buffer[position : position + 1] != b'"':
                    break  # the end of the buffer, or an escape that is cut
                position, self._in_string = position + 1, False
            found = self._TOKEN.search(buffer, position)
            if found is None:
                position = len(buffer)
                break
            position = found.end()
            match found[0]:
                case b'"':
                    self._in_string = True
                case b"{":
                    self._depth += 1
                case _:
                    self._depth -= 1
                    if self._depth <= 0:
                        return position
        self._position = position
        return None


class Peer:
    """A database server at the other end of a stream; one green thread uses it.

    Args:
        share: the processor time that it may cost; None: the usual one.
        probe_after: seconds without any byte after which it is asked for an echo; None: :data:`PROBE_AFTER`.

    Attributes:
        received: when the last byte arrived, on the monotonic clock.
        silence_changed: called when the server becomes silent (True), and when it sends again (False).
    """

    def __init__(
        self, stream: Stream, share: Share | None = None, *, probe_after: float | None = None
    ) -> None:
        self.received = time.monotonic()
        self.silence_changed: Callable[[bool], None] = lambda _is_silent: None
        self._is_silent = False
        self._probe_after = PROBE_AFTER if probe_after is None else probe_after
        self._stream = stream
        self._share = Share() if share is None else share
        self._messages = Messages()
        self._partial_since: float | None = None
        self._notifications: deque[tuple[str, Any]] = deque()
        self._replies: dict[int, Any] = {}
        self._next_id = 0
        self._waits_for: int | None = None

    @property
    def address(self) -> str:
        """The address of the other end, for people."""
        return self._stream.peer

    def shut_down(self) -> None:
        """End the connection for the green thread that waits for it; another one may do so."""
        self._stream.shut_down()

    def call(self, method: str, parameters: list[Any], within: float = MESSAGE_WITHIN) -> Any:
        """Send a request and wait for its result; notifications that come before it are kept.

        Args:
            within: seconds in which the reply has to come.

        Raises:
            RefusedError: the server answers with an error.
            DatabaseError: the server does not answer in time.
            ProtocolError: what it sends is malformed.
            OSError: the connection is broken.
        """
        self._next_id += 1
        self._waits_for = number = self._next_id
        self._send({"method": method, "params": parameters, "id": number})
        deadline = time.monotonic() + within
        while number not in self._replies:
            if (left := deadline - time.monotonic()) <= 0 or not self._read(min(SILENCE, left)):
                raise DatabaseError(NO_REPLY)
        message = self._replies.pop(number)
        self._waits_for = None
        if message.get("error") is not None:
            raise RefusedError(f"the database refuses {method}: {_short(message['error'])}")
        return message.get("result")

    def notifications(self) -> list[tuple[str, Any]]:
        """Wait for notifications, and return all that have arrived: (method, parameters) each.

        Raises:
            DatabaseError: the server is gone, or does not answer a probe.
            ProtocolError: what it sends is malformed.
            OSError: the connection is broken.
        """
        while not self._notifications:
            if not self._read(self._probe_after):
                self.probe()
                if not self._read(ECHO_WITHIN):
                    self._note_silence(True)
                    if not self._read(max(0.0, GIVEN_UP_AFTER - self._probe_after - ECHO_WITHIN)):
                        raise DatabaseError(f"the database has not replied for {GIVEN_UP_AFTER:g} s")
        taken = list(self._notifications)
        self._notifications.clear()
        return taken

    def probe(self) -> None:
        """Ask for an echo, whose reply changes :attr:`received`; another green thread may do so too."""
        self._send({"method": "echo", "params": [], "id": "echo"})

    def give_way(self) -> None:
        """Let other green threads run; wait for as long as this database has used too much processor time."""
        hub.sleep(self._share.end())
        _TURNS.wait()
        self._share.begin()

    def _read(self, seconds: float) -> bool:
        """Wait for bytes and handle the messages that they complete; return False when none came in time."""
        if pause := self._share.end():
            hub.sleep(pause)
        try:
            data = self._stream.receive(seconds)
        except TimeoutError:
            return False
        self.received = time.monotonic()
        self._note_silence(False)
        _TURNS.wait()
        self._share.begin()
        if not data:
            raise DatabaseError("the database closed the connection")
        for message in self._messages.feed(data):
            self._handle(message)
            self._partial_since = None
        self._check_partial()
        return True

    def _note_silence(self, is_silent: bool) -> None:
        if is_silent != self._is_silent:
            self._is_silent = is_silent
            self.silence_changed(is_silent)

    def _check_partial(self) -> None:
        if not self._messages.pending:
            self._partial_since = None
        elif self._partial_since is None:
            self._partial_since = self.received
        elif self.received - self._partial_since > MESSAGE_WITHIN:
            raise ProtocolError(f"a message is not complete after {MESSAGE_WITHIN:g} s")

    def _handle(self, message: dict[str, Any]) -> None:
        method, number = message.get("method"), message.get("id")
        if method is None:
            self._take_reply(number, message)
        elif method == "echo" and number is not None:
            self._send({"result": message.get("params", []), "error": None, "id": number})
        elif isinstance(method, str) and number is None:
            if len(self._notifications) >= MAX_QUEUED:
                raise ProtocolError(f"more than {MAX_QUEUED} notifications before a reply")
            self._notifications.append((method, message.get("params")))
        else:
            raise ProtocolError(f"an unexpected message: {_short(message)}")

    def _take_reply(self, number: object, message: dict[str, Any]) -> None:
        if isinstance(number, int) and number == self._waits_for:
            self._replies[number] = message
        elif number != "echo":
            raise ProtocolError(f"a reply to no request: id {_short(number)}")

    def _send(self, message: dict[str, Any]) -> None:
        self._stream.send(json.dumps(message).encode(), SILENCE)


def read_object(text: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ProtocolError: it is none.
    """
    try:
        return _as_object(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a message is not JSON: {_short(error)}") from None


def _after_spaces(text: str, position: int) -> int:
    match = _SPACES.match(text, position)
    return match.end() if match else position


def _as_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError("a message is not an object")
    return value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:120]}..."
