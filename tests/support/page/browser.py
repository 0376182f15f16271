"""Headless Chromium for tests of the page: it reports what went wrong in the page, and which answers the page had."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Dialog, Page, Response, sync_playwright

CHROMIUM = "/usr/bin/chromium"
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
"""Root needs the first one; the last ones keep it from looking for hosts on the internet."""

SECONDS = 20.0
"""Time in which the page shows what it is to show."""

_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


@dataclass
class View:
    """The page in a tab."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of the console, exceptions, dialogs."""
    answers: dict[str, Response] = field(default_factory=dict)
    """Path with query -> the last answer that the page had."""

    def go(self, address: str = "", heading: str = "") -> None:
        """Open the page anew at an address such as ``#/flows``."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/{address}")
        if heading:
            self.page.get_by_role("heading", name=heading, exact=True, level=1).wait_for()

    def answer(self, path: str) -> Any:
        """Return the last answer that the page had for a path (with its query), once it had one."""
        self.wait(lambda: path in self.answers, f"no answer for {path}, but for {sorted(self.answers)}")
        return self.answers[path].json()

    def agrees(self, path: str, shown: Callable[[], object], expected: Callable[[Any], object]) -> object:
        """Wait until what is shown is what the page's last answer for a path says; return it."""
        seen: list[object] = []

        def holds() -> bool:
            answer = self.answer(path)
            seen[:] = [shown(), expected(answer)]
            return seen[0] == seen[1]

        try:
            self.wait(holds, "it does not show what REST says")
        except AssertionError as error:
            raise AssertionError(f"shown:\n{seen[0]}\nREST:\n{seen[1]}") from error
        return seen[0]

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, what
            self.page.wait_for_timeout(100)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of elements, with each run of blanks as one."""
        return [" ".join(text.split()) for text in self.page.locator(selector).all_text_contents()]

    def fault(self) -> list[str]:
        """Return what went wrong: complaints, and violations of the Content Security Policy."""
        return [*self.complaints, *self.page.evaluate("window.violations")]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser with an empty profile."""
    with sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=list(OPTIONS), chromium_sandbox=False
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def tab(
    browser: Browser, url: str, *, width: int = 1280, height: int = 900, dark: bool = False
) -> Iterator[View]:
    """Open a tab; nothing may have gone wrong in it at the end, but for answers 404 and 401 that a test asks for."""
    scheme: Literal["dark", "light"] = "dark" if dark else "light"
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB", timezone_id="UTC"
    )
    context.add_init_script(_WATCH)
    context.set_default_timeout(SECONDS * 1000)
    view = View(context.new_page(), url)
    view.page.on("console", lambda message: _complain(view, message.type, message.text))
    view.page.on("pageerror", lambda error: view.complaints.append(f"exception: {error}"))
    view.page.on("dialog", lambda dialog: _dismiss(view, dialog))
    view.page.on("response", lambda response: view.answers.update({_path(response.url): response}))
    try:
        yield view
        assert view.fault() == []
    finally:
        context.close()


def _path(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _dismiss(view: View, dialog: Dialog) -> None:
    view.complaints.append(f"dialog: {dialog.message}")
    dialog.dismiss()


def _complain(view: View, kind: str, text: str) -> None:
    """Keep errors and warnings; that an answer was an error is said by the answer, and tests look at it."""
    if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
        view.complaints.append(f"{kind}: {text}")


def escaped(text: str) -> str:
    """A name as the page writes it: as Python does, without quotes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def rate(bits: float) -> str:
    """A rate as the page writes it: three digits and a unit."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if bits >= size * 0.9995:
            return f"{json.dumps(_three_digits(bits / size))} {unit}bit/s"
    return f"{round(bits)} bit/s"


def _three_digits(value: float) -> float | int:
    rounded = float(f"{value:.3g}")
    return int(rounded) if rounded == int(rounded) else rounded
