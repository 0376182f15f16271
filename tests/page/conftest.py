"""What tests of the page share: the network and the browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from lab.inside.namespaces import network_of_its_own
from support.page.browser import View, chromium, tab
from support.page.network import Network, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A live controller with three bridges, queues and traffic, in a network of its own."""
    with network_of_its_own(), running(tmp_path_factory.mktemp("network")) as made:
        yield made


@pytest.fixture(scope="module")
def browser(network: Network) -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def view(browser: Browser, network: Network) -> Iterator[View]:
    """The page in a new tab of a desktop's width."""
    with tab(browser, network.url) as made:
        yield made
