from __future__ import annotations

import json
import threading
import time

import pytest
import requests

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
