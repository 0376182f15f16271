from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.rest.server import running


@pytest.fixture(scope="module")
def controller_url() -> Iterator[str]:
    """Serve the controller of support/engine/controller.py; each module changes its own."""
    with running() as server:
        yield server.url
