"""REST does what its OpenAPI document says, judged by what we did not write, against a controller with a real switch.

schemathesis makes requests of the document, valid and invalid ones, follows links, and checks each answer. A client is
generated of the document by openapi-python-client, and used.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openapi_python_client
import pytest
from lab.inside import tap_host
from lab.inside.manager import wait_for
from lab.inside.namespaces import network_of_its_own

pytestmark = pytest.mark.ovs

POLICY = """
version: 1
default: rest
classes: {rest: {}, slow: {limit: 1Mbit/s}}
rules:
  - {match: {dst-port: 5000}, class: slow}
"""
HOOKS = "tests.support.rest.schemathesis_hooks"
CONFIG = """
color = false
hooks = "{hooks}"
request-timeout = 10.0
[generation]
database = "none"
[phases.stateful.generation]
max-examples = 2
[checks.positive_data_acceptance]
# What is well-formed may still be refused: for a condition, for a name that is not there, for what its text says.
expected-statuses = ["2xx", 304, 404, 409, 412, 422]
[checks.negative_data_rejection]
expected-statuses = [400, 404, 405, 406, 409, 412, 415, 422]
"""
ACCEPT = "application/json, text/html;q=0.5, text/plain;q=0.5, application/yaml;q=0.5, */*;q=0.1"
"""JSON where there is a choice: a stream of events never ends."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tap_host.TapHost]:
    folder = tmp_path_factory.mktemp("contract")
    with network_of_its_own(), tap_host.running(folder, POLICY) as running:
        for src_port in range(2000, 2006):
            running.send(1, src_port, 80)
            running.send(1, src_port, 5000)
        wait_for(lambda: len(running.assignments()) == 12, 30)
        yield running


def test_a_client_that_is_generated_from_the_document(host: tap_host.TapHost, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{host.manager.rest_port}"
    package = tmp_path / "flowlane_client"
    command = [
        sys.executable,
        "-m",
        openapi_python_client.__name__,
        "generate",
        "--url",
        f"{url}/openapi.json",
    ]
    done = subprocess.run(
        [*command, "--meta", "none", "--output-path", str(package)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    used = subprocess.run(
        [sys.executable, "-c", USE, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert used.returncode == 0, used.stderr
    assert used.stdout.split() == ["2", "pinned-by-hand", "404", "412"]


USE = """
import sys
from flowlane_client import Client
from flowlane_client.api.default import assignments, devices, flow, put_hint, put_pin, queues, vms
from flowlane_client.models import HintInput, PinInput

client = Client(base_url=sys.argv[1])
(device,) = devices.sync(client=client).items
assert device.connected and device.since.tzinfo is not None
assert len(queues.sync(device.dpid, client=client).items) == 4
first = assignments.sync(client=client, limit=1).items[0]
pins = put_pin.sync(first.flow, client=client, body=PinInput(queue_id=2, lifetime=60.0))
print(pins.pins[0].queue_id)
shown = flow.sync(first.flow, client=client)
print(shown.assignments[0].reason)
missing = vms.sync_detailed(client=client, device="nowhere")
print(missing.status_code.value)
vm = vms.sync(client=client).items[0]
hint = HintInput(class_="slow")
put_hint.sync(vm.id, "mine", client=client, body=hint)
print(put_hint.sync_detailed(vm.id, "mine", client=client, body=hint, if_none_match="*").status_code.value)
"""


def test_schemathesis_finds_nothing(host: tap_host.TapHost, tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(hooks=HOOKS))
    url = f"http://127.0.0.1:{host.manager.rest_port}/openapi.json"
    words: dict[str, Any] = {
        "--checks": "all", "--max-examples": 1, "--seed": 1, "--workers": 1, "--header": f"Accept: {ACCEPT}",
    }  # fmt: skip
    options = [str(part) for pair in words.items() for part in pair]
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", url, *options]
    path = f"{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:] + host.manager.log[-1000:]
    assert "request ended with an unexpected exception" not in host.manager.log
