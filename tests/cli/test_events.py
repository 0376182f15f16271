from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest
import requests
import yaml
from support.rest.server import running

from flowlane.cli import events
from flowlane.cli import main as cli
from flowlane.northbound.query import EVENT_KINDS


def suggest(url: str, times: int) -> None:
    """Make something happen: hints that come."""
    for _ in range(times):
        time.sleep(0.3)
        requests.put(
            f"{url}/v1/vms/web/hints", json={"hints": [{"class": "heavy"}]}, timeout=5
        ).raise_for_status()


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_events_are_printed_as_they_come(
    controller_url: str, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    writer = threading.Thread(target=suggest, args=(controller_url, 2))
    writer.start()
    code = cli.main(["events", "--url", controller_url, "--kind", "hint", "--count", "2", *options])
    writer.join()
    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert len(lines) == 2
    if options:
        assert json.loads(lines[0])["data"]["vm"] == "uuid-web"
    else:
        assert "hint" in lines[0]
        assert "suggests heavy" in lines[0]


def test_the_help_names_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["events", "--help"])
    assert ",".join(EVENT_KINDS) in "".join(capsys.readouterr().out.split())


def test_no_controller(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["events", "--url", "http://127.0.0.1:1"]) == 3
    assert "controller at 127.0.0.1:1 does not answer" in capsys.readouterr().err


def hinted(url: str, times: int) -> None:
    for _ in range(times):
        requests.put(
            f"{url}/v1/vms/web/hints", json={"hints": [{"class": "heavy"}]}, timeout=5
        ).raise_for_status()


def test_what_is_kept_is_printed_and_the_command_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with running() as server:
        hinted(server.url, 2)
        for options in (
            ["--last", "1"],
            ["--last", "1", "--since", "5min"],
            ["--since", "1h", "--count", "1"],
        ):
            assert cli.main(["events", "--url", server.url, "--kind", "hint", *options]) == 0
            (line,) = capsys.readouterr().out.splitlines()
            assert "web suggests heavy: given (the VM suggests it)" in line
        for form in ("json", "yaml", "name"):
            options = ["--url", server.url, "--kind", "hint", "--last", "2", "-o", form]
            assert cli.main(["events", *options]) == 0
            printed = capsys.readouterr().out
            if form == "name":
                assert len(set(printed.split())) == 2
            else:
                items = (
                    list(yaml.safe_load_all(printed))
                    if form == "yaml"
                    else map(json.loads, printed.splitlines())
                )
                assert [item["data"]["vm"] for item in items] == ["uuid-web", "uuid-web"]
        assert cli.main(["events", "--url", server.url, "--since", "yesterday"]) == 1
        assert "'yesterday' is not a value of 'since'" in capsys.readouterr().err


def test_it_goes_on_after_a_restart_of_the_controller(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "RETRY", 0.1)
    printed = ["", ""]

    def has_printed(stream: int, text: str, times: int = 1) -> bool:
        printed[:] = [old + new for old, new in zip(printed, capsys.readouterr(), strict=True)]
        return printed[stream].count(text) >= times

    with running() as server:
        url = server.url
        hinted(url, 1)
        options = ["events", "--url", url, "--kind", "hint", "--last", "5", "--follow", "--count", "3"]
        command = threading.Thread(target=cli.main, args=(options,))
        command.start()
        wait_for(lambda: has_printed(0, "given"))
    wait_for(lambda: has_printed(1, "trying again"))
    port = url.rpartition(":")[2]
    with running(f"port={port}") as server:
        assert server.url == url
        wait_for(lambda: has_printed(1, f"controller at 127.0.0.1:{port} answers again"))
        hinted(url, 1)
        wait_for(lambda: has_printed(0, "given", 2))
        command.join(20)
    assert "are lost" in printed[0], "it had more events than the new controller has"
    assert not command.is_alive()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
