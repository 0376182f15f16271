"""Conditional requests (RFC 9110, 13) and compressed answers (RFC 9110, 8.4) of REST.

Every answer with a body has a strong validator, ``ETag``, made of its bytes, so that it changes with what is shown. A
request that would change something may give one back in ``If-Match``: then nothing is changed that the client has not
seen. The validator of a compressed answer ends with ``-gzip``, for its bytes are others; both are accepted.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import TYPE_CHECKING

from flowlane import hub
from flowlane.core.pacing import no_pause
from flowlane.northbound.http.problems import ProblemError, bad_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from webob import Request, Response

SMALLEST = 1024
"""Bytes of a body from which on it is compressed: a smaller one fits in a packet."""

LEVEL, GZIP = 1, 16 + zlib.MAX_WBITS
"""The quickest level of zlib, which makes a fifth of JSON, and its window for the format of gzip (RFC 1952)."""

CHUNK = 32 << 10
"""Bytes that are compressed before others are served: some 0.3 ms."""

HASHED = 256 << 10
"""Bytes of which the validator is made before others are served: some 0.3 ms."""

SUFFIX = "-gzip"
VALIDATORS = r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$'
"""Form of ``If-Match`` and ``If-None-Match``: a list of validators (RFC 9110, 8.8.3), or ``*``."""

_COMPRESSED = ("application/json", "application/problem+json", "application/yaml", "text/")


def finish(request: Request, response: Response) -> Response:
    """Add the validator to an answer, leave out what the client has already, compress the rest."""
    if not isinstance(response.app_iter, list) or not response.content_type:
        return response  # A stream, or no body at all.
    suffix = ""
    if response.content_type.startswith(_COMPRESSED):
        _add_vary(response, "Accept-Encoding")
        suffix = SUFFIX if len(response.body) >= SMALLEST and accepts_gzip(request) else ""
    if request.method in ("GET", "HEAD") and response.status_int == 200:
        etag = validator(response, hub.TimeSlice().check)
        response.etag = etag + suffix
        if response.headers.get("Cache-Control") == "no-store":
            response.headers["Cache-Control"] = "no-cache"
        if is_among(etag, request.headers.get("If-None-Match", "")):
            return _not_modified(response)
    if suffix:
        response.body = b"".join(_compressed(response.body))
        response.headers["Content-Encoding"] = "gzip"
    return response


def validator(response: Response, pace: Callable[[], object] = no_pause) -> str:
    """Return the validator of an answer, without a suffix: its handler's own, or one of its bytes.

    Args:
        pace: called now and then (see :mod:`flowlane.core.pacing`): that of a few MB takes milliseconds.
    """
    if response.etag:
        return str(response.etag)
    made, body = hashlib.blake2b(digest_size=16), memoryview(response.body)
    for begin in range(0, len(body), HASHED):
        made.update(body[begin : begin + HASHED])
        pace()
    return made.hexdigest()


def is_among(etag: str, header: str) -> bool:
    """Return whether a validator is one of those of a header, compressed or not; ``*`` has every one."""
    return header.strip() == "*" or etag in {_plain(text) for text in header.split(",")}


def _plain(text: str) -> str:
    """Return a validator of a header without quotes, without the mark of a weak one, without the suffix."""
    return text.strip().removeprefix("W/").strip('"').removesuffix(SUFFIX)


def asks(request: Request) -> bool:
    """Return whether a request has a condition on what is there now.

    Raises:
        ProblemError: 400: a condition is malformed.
    """
    names = [name for name in ("If-Match", "If-None-Match") if name in request.headers]
    for name in names:
        if not re.fullmatch(VALIDATORS, request.headers[name].strip()):
            raise bad_field(name, f'{request.headers[name]!r} is no list of validators, such as "abc", nor *')
    return bool(names)


def check(request: Request, current: Callable[[], str | None]) -> None:
    """Refuse a change whose ``If-Match`` or ``If-None-Match`` does not hold (RFC 9110, 13.2.2).

    Args:
        current: returns the validator of what is there now; None: nothing is.

    Raises:
        ProblemError: 412.
    """
    wanted, unwanted = request.headers.get("If-Match"), request.headers.get("If-None-Match")
    etag = current()
    if wanted is not None:
        strong = ",".join(text for text in wanted.split(",") if not text.strip().startswith("W/"))
        if etag is None or not strong or not is_among(etag, strong):
            what = "is not there" if etag is None else "has changed"
            raise ProblemError(412, f"what is to be changed {what}; read it again", "If-Match")
    elif unwanted is not None and etag is not None and is_among(etag, unwanted):
        raise ProblemError(412, "what is to be made is there already", "If-None-Match")


def accepts_gzip(request: Request) -> bool:
    """Return whether a client takes gzip: it names it, or everything, and not with a weight of 0."""
    weights: dict[str, float] = {}
    for part in request.headers.get("Accept-Encoding", "").split(","):
        name, _, parameters = part.partition(";")
        text = parameters.strip().lower().removeprefix("q=")
        try:
            weights[name.strip().lower()] = float(text) if text else 1.0
        except ValueError:
            continue
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _not_modified(response: Response) -> Response:
    response.status_int = 304
    response.body = b""
    for name in ("Content-Type", "Content-Length"):
        response.headers.pop(name, None)
    return response


def _compressed(body: bytes) -> Iterator[bytes]:
    """Compress a body a chunk at a time; others are served in between."""
    encoder, time_slice = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP), hub.TimeSlice()
    for begin in range(0, len(body), CHUNK):
        yield encoder.compress(body[begin : begin + CHUNK])
        time_slice.check()
    yield encoder.flush()


def _add_vary(response: Response, name: str) -> None:
    names = [text.strip() for text in response.headers.get("Vary", "").split(",") if text.strip()]
    response.headers["Vary"] = ", ".join(dict.fromkeys((*names, name)))
