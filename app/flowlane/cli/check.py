"""``flowlane check POLICY``: mistakes in a policy, and the part of it that each device would get."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from flowlane.cli.arguments import add_credentials, controller_url
from flowlane.cli.client import Answer, client_of, pages
from flowlane.cli.policy_file import HELP, read_policy
from flowlane.core.device.rules import DeviceView, derive, rules_for
from flowlane.core.policy import Policy
from flowlane.errors import ConfigError, FlowlaneError, PolicyError
from flowlane.escaping import escaped_lines
from flowlane.policy.devices import devices_of, read_devices
from flowlane.policy.lint import notes
from flowlane.stdio import print_error
from flowlane.units import counted

EPILOG = """\
Exit status: 0 the policy is valid, 1 it is refused, 2 a file or the controller cannot be read.
Devices are described in JSON or YAML, such as
  [{"name": "br-nic", "role": "nic", "queues": {"physical": 4}, "capabilities": {"max_meters": 100}}]
or as a running controller lists them (GET /v1/devices).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("policy", metavar="POLICY", help=HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--devices", metavar="FILE", help="file that describes devices: show what each would get"
    )
    source.add_argument(
        "--url",
        type=controller_url,
        help="read the devices from a running controller, such as http://127.0.0.1:8080",
    )
    add_credentials(parser)


def run(args: argparse.Namespace) -> int:
    """Carry out the command; return its exit status."""
    try:
        devices = _devices(args)
        policy = read_policy(args.policy)
    except PolicyError as error:
        _print_problems(error, args.json)
        return 1
    except (OSError, FlowlaneError) as error:
        print_error(f"flowlane check: {error}")
        return 2
    outcome = _outcome(policy, args.policy, devices)
    print(json.dumps(outcome, indent=2) if args.json else escaped_lines(_text(outcome)))
    return 0


def _devices(args: argparse.Namespace) -> tuple[DeviceView, ...]:
    if args.devices:
        try:
            text = Path(args.devices).read_text("utf-8")
        except UnicodeDecodeError:
            raise ConfigError(f"{args.devices}: not UTF-8") from None
        return read_devices(text, args.devices)
    return _devices_of_controller(args) if args.url else ()


def _devices_of_controller(args: argparse.Namespace) -> tuple[DeviceView, ...]:
    devices: list[Answer] = pages(client_of(args), "/v1/devices", {}, None)["items"]
    return devices_of(devices, args.url)


def _print_problems(error: PolicyError, as_json: bool) -> None:
    if as_json:
        problems = [problem._asdict() for problem in error.problems]
        print(json.dumps({"policy": error.source, "good": False, "problems": problems}, indent=2))
    else:
        print(escaped_lines(str(error)))
        print_error(f"{error.source}: refused: {counted(len(error.problems), 'problem')}")


def _outcome(policy: Policy, source: str, devices: tuple[DeviceView, ...]) -> dict[str, Any]:
    """Describe a valid policy as a JSON-ready object."""
    return {
        "policy": source,
        "good": True,
        "classes": [item.name for item in policy.classes],
        "default": policy.classes[0].name,
        "rules": len(policy.rules),
        "rate_conditions": len(policy.gates),
        "shares": len(policy.shares),
        "trust": len(policy.trust),
        "strategy": policy.balance.strategy,
        "notes": [{"line": line, "text": text} for line, text in notes(policy)],
        "devices": [_device_outcome(policy, device) for device in devices],
    }


def _device_outcome(policy: Policy, device: DeviceView) -> dict[str, Any]:
    derived, left_out = derive(policy, device)
    return {
        "name": device.name,
        "dpid": f"{device.dpid:016x}",
        "role": device.role.value,
        "physical_queues": device.physical_queues,
        "software_queues": device.software_queues,
        "gets": gets(policy, derived, device),
        "classes": [item.name for item in derived.classes if _kept(item.index, policy, device)],
        "rules": len(derived.rules),
        "left_out": [item._asdict() for item in left_out],
    }


def _kept(index: int, policy: Policy, device: DeviceView) -> bool:
    entries = rules_for(policy, device.dpid, device.name, device.role)
    return index == 0 or all(entry.only is None or index in entry.only for entry in entries)


def gets(policy: Policy, derived: Policy, device: DeviceView) -> str:
    """Return in one word what a device gets [0061]: the ``same`` rules, ``altered`` ones, or a ``subset``."""
    if derived is policy:
        return "same"
    entries = rules_for(policy, device.dpid, device.name, device.role)
    return "subset" if any(entry.only is not None for entry in entries) else "altered"


def _text(outcome: dict[str, Any]) -> str:
    counts = (
        counted(len(outcome["classes"]), "class", "classes"),
        counted(outcome["rules"], "rule"),
        counted(outcome["rate_conditions"], "rate condition"),
        counted(outcome["shares"], "share"),
        counted(outcome["trust"], "trust entry", "trust entries"),
    )
    lines = [
        f"{outcome['policy']}: good: {', '.join(counts)}; strategy {outcome['strategy']}",
        f"flows that no rule matches get class {outcome['default']}",
        *(f"{_place(outcome['policy'], note['line'])}: note: {note['text']}" for note in outcome["notes"]),
    ]
    for device in outcome["devices"]:
        lines += _device_lines(device)
    return "\n".join(lines)


def _place(source: str, line: int) -> str:
    return f"{source}:{line}" if line else source


def _device_lines(device: dict[str, Any]) -> list[str]:
    queues = f"{device['physical_queues']} physical and {device['software_queues']} software queues on a port"
    head = f"device {device['name']} ({device['role']}, {queues}) gets the rules: {device['gets']}"
    classes = f"  {counted(device['rules'], 'rule')}; classes {', '.join(device['classes'])}"
    left_out = [
        f"  left out: {item['what']}: {item['why']} ({item['remedy']})" for item in device["left_out"]
    ]
    return [head, classes, *left_out]
