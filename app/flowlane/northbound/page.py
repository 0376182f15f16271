"""The page: its document and the files that it loads.

They are built from ``app/page`` into ``static`` (:doc:`decision 0040 </decisions/0040-the-page>`), so that a host needs
no Node.js to run Flowlane.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from flowlane.northbound.http.problems import ProblemError, respond

if TYPE_CHECKING:
    from webob import Response

    from flowlane.northbound.http.routing import Call

HTML = "text/html"
MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "txt": "text/plain"}
"""Suffix of a file that the page loads -> its media type."""

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Content Security Policy (W3C, level 3): scripts and styles come from files of this server only, and no text becomes
markup (Trusted Types)."""

HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}
"""A copy may be kept, and is asked for again each time, so that page and controller are of one version."""


def page(call: Call) -> Response:  # noqa: ARG001
    """Answer with the page."""
    return _answer("index.html", HTML)


def asset(call: Call) -> Response:
    """Answer with a file that the page loads."""
    name = call.path["asset"]
    if name not in assets():
        raise ProblemError(404, f"the page loads no file {name!r}", "asset")
    return _answer(f"page/{name}", MEDIA_TYPES[name.rpartition(".")[2]])


@cache
def assets() -> frozenset[str]:
    """Return the names of the files that the page loads."""
    folder = files("flowlane.northbound").joinpath("static/page")
    return frozenset(file.name for file in folder.iterdir() if file.name.rpartition(".")[2] in MEDIA_TYPES)


@cache
def _read(path: str) -> bytes:
    return files("flowlane.northbound").joinpath("static", *path.split("/")).read_bytes()


def _answer(path: str, media_type: str) -> Response:
    charset = "" if media_type == MEDIA_TYPES["svg"] else "; charset=utf-8"
    return respond(_read(path), f"{media_type}{charset}", headers=HEADERS)
