"""Values that may be None in general, and are not in a test."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def required(value: T | None) -> T:
    """Return the value; fail the test when there is none."""
    assert value is not None
    return value
