"""What the comparisons share: one Open vSwitch and one controller for each worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.ovs.twins import Stage, stage


@pytest.fixture(scope="session")
def on() -> Iterator[Stage]:
    """An Open vSwitch and a controller with the built-in policy; each test adds bridges of its own."""
    with stage() as running:
        yield running
