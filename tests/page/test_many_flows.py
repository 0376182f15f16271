"""The page with 100,000 flows, on a controller that asks for a token."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.page.browser import View, chromium, tab

from flowlane import tokens
from flowlane.tokens import Token

pytestmark = pytest.mark.page

TESTS = Path(__file__).parents[1]
FLOWS = 100_000
ENOUGH = 5.0
"""Seconds in which a search is answered and shown, on a machine that others use as well."""


class Served(NamedTuple):
    url: str
    secrets: dict[str, str]
    """Scope -> token."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    file = tmp_path_factory.mktemp("state") / "tokens.json"
    secrets = {scope: tokens.new_secret() for scope in ("read", "operate")}
    tokens.save(
        file, [Token(scope, tokens.hash_of(secret), (scope,), 1.0) for scope, secret in secrets.items()]
    )
    with subprocess.Popen(
        [sys.executable, "-m", "support.page.serve_many", str(file), str(FLOWS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS,
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            yield Served(process.stdout.readline().strip(), secrets)
        finally:
            process.kill()


@pytest.fixture
def view(served: Served) -> Iterator[View]:
    with chromium() as browser, tab(browser, served.url) as made:
        yield made


def sign_in(view: View, secret: str) -> None:
    view.page.get_by_role("textbox", name="Token").fill(secret)
    view.page.get_by_role("button", name="Use it").click()
    view.page.get_by_role("form", name="Token").wait_for(state="hidden")


def test_a_token_is_asked_for_and_kept_for_the_tab(view: View, served: Served) -> None:
    view.go("#/lanes", "Lanes")
    view.page.get_by_text("The controller asks for a token").wait_for()
    view.page.get_by_role("textbox", name="Token").fill("flowlane_wrong")
    view.page.get_by_role("button", name="Use it").click()
    view.page.get_by_text("the token does not count").wait_for()
    sign_in(view, served.secrets["read"])
    view.page.locator("a.lane").first.wait_for()
    view.page.reload()
    view.page.locator("a.lane").first.wait_for()
    storage = "JSON.stringify([localStorage, document.cookie])"
    assert served.secrets["read"] not in view.page.evaluate(storage)
    assert served.secrets["read"] not in view.page.url
    # Events need it too; what the token may not do is said.
    view.go("#/events", "Events")
    view.page.get_by_role("status").filter(has_text="live").wait_for()
    view.go("#/lanes?lane=0000000000000001/9/1")
    view.page.get_by_role("button", name="Cordon").click()
    view.page.get_by_text("token read may not do this").wait_for()
    view.page.get_by_role("button", name="sign out").click()
    view.page.get_by_text("The controller asks for a token").wait_for()
    assert view.page.evaluate("sessionStorage.length") == 0


def test_a_hundred_thousand_flows_are_searched_sorted_and_paged(view: View, served: Served) -> None:
    view.go("#/flows", "Flows")
    sign_in(view, served.secrets["read"])

    def first_bytes() -> str:
        return str(
            view.page.evaluate("document.querySelector('table.flows tbody tr')?.cells[6].innerText ?? ''")
        )

    view.wait(lambda: view.page.locator("tbody tr").count() == 100, "there is no page of flows")
    assert first_bytes() == "700 B"  # the one of 95 Mbit/s
    began = time.monotonic()
    view.page.get_by_role("button", name="Bytes").click()
    view.wait(lambda: first_bytes() == "100 kB", "the largest is not the first")
    assert time.monotonic() - began < ENOUGH
    view.page.get_by_role("link", name="next page").click()
    view.wait(lambda: first_bytes() == "99.9 kB", "there is no next page")
    search = view.page.get_by_label("Search flows")
    search.fill("10.0.0.77 5001")
    began = time.monotonic()
    search.press("Enter")
    view.wait(
        lambda: view.page.locator("table.flows[aria-busy=false] tbody tr").count() == 100, "nothing was found"
    )
    assert all(":5001" in text and "10.0.0.77:" in text for text in view.texts("tbody td:first-child"))
    assert time.monotonic() - began < ENOUGH
