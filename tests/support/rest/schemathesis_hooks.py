"""Hooks of schemathesis: valid requests are made valid where its generators cannot do it.

A cursor is opaque: one that no answer gave is none. And the coverage phase writes nothing but letters and digits into
headers, whatever their pattern is (``ensure_valid_headers_schema`` in schemathesis 4.32).
"""

from __future__ import annotations

import re
from typing import Any

import schemathesis

_given: set[str] = set()
"""Cursors of answers."""


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Take out of a request that is to be valid what is not by the document, and cursors that were made up."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.query and case.query.get("cursor") not in _given:
        case.query.pop("cursor", None)
    for item in case.operation.definition.raw.get("parameters", ()):
        value = (case.headers or {}).get(item["name"]) if item["in"] == "header" else None
        if value is not None and not re.fullmatch(item["schema"].get("pattern", ".*"), value):
            case.headers.pop(item["name"])


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Note the cursor that an answer gives."""
    if "json" in response.headers.get("content-type", [""])[0]:
        body = response.json()
        following = body.get("next") if isinstance(body, dict) else None
        if following is not None:
            _given.add(following)
