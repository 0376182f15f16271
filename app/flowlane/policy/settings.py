"""Builders of the policy's settings, from ``balance`` to ``port-security``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowlane.closest import did_you_mean
from flowlane.core.allocate.strategies import STRATEGIES
from flowlane.core.classify.matching import items
from flowlane.core.device.vms import parse_mac
from flowlane.core.policy import Balance, ExtraAddresses, Pins, PortSecurity
from flowlane.policy.context import Context
from flowlane.policy.document import Path, shown
from flowlane.policy.match import read_vms
from flowlane.units import parse_duration

GROUP_BIT = 1 << 40
"""The bit of a MAC address that makes it one of a group (IEEE 802)."""

DEFAULT_COPY_RATE = 1000
"""Packets/s that a device may copy to the controller."""

OFF = "off"
DEFAULT_LEARN_AFTER = 8
DEFAULT_TRACK_ABOVE = 200
"""Packets of a flow after which a device that tracks connections makes its learned entry."""

DEFAULT_VM_FLOWS = 50_000


def build_balance(context: Context) -> Balance:
    """Build the balance settings, which include the strategy."""
    entry = {} if ("balance",) in context.invalid else context.section("balance")
    plain = Balance()
    return Balance(
        strategy=_strategy(context, entry),
        imbalance=_percent(entry, "imbalance", plain.imbalance),
        moves_per_second=_moves(context, entry, plain.moves_per_second),
        window=_duration(context, entry, "window", plain.window, 0.0),
        interval=_duration(context, entry, "interval", plain.interval, 0.1),
    )


def _strategy(context: Context, entry: dict[str, Any]) -> str:
    name: str = entry.get("strategy", "combined")
    if name not in STRATEGIES:
        context.report(
            ("balance", "strategy"), f"there is no strategy {shown(name)}", did_you_mean(name, STRATEGIES)
        )
    return name


def _percent(entry: dict[str, Any], key: str, default: float) -> float:
    return float(entry[key].strip().rstrip("%")) / 100 if key in entry else default


def _moves(context: Context, entry: dict[str, Any], default: float) -> float:
    part = _percent(entry, "moves-per-second", default)
    if part > 1:
        context.report(
            ("balance", "moves-per-second"),
            f"{entry['moves-per-second']} is more than all flows",
            "at most 100%",
        )
    return part


def _duration(context: Context, entry: dict[str, Any], key: str, default: float, least: float) -> float:
    if key not in entry:
        return default
    seconds = parse_duration(entry[key])
    if not least <= seconds <= 3600:
        context.report(("balance", key), f"{entry[key]} is out of range", f"from {least:g}s to 1h")
    return seconds


def build_pins(context: Context) -> Pins:
    """Build the pin settings. An idle timeout of OpenFlow has 16 bits, in seconds (1.3.5, 7.3.4.1)."""
    if ("pins",) in context.invalid:
        return Pins()
    entry = context.section("pins")
    plain = Pins()
    idle = parse_duration(entry["idle-timeout"]) if "idle-timeout" in entry else float(plain.idle_timeout)
    if idle != int(idle) or not 1 <= idle <= 65535:
        path: Path = ("pins", "idle-timeout")
        context.report(path, f"{entry['idle-timeout']} is out of range", "whole seconds, from 1s to 65535s")
    return Pins(entry.get("which", plain.which), int(entry.get("budget", plain.budget)), int(idle))


def build_learn_after(context: Context) -> int:
    """Read the number of a flow's packets before the device keeps an entry for it."""
    data = context.document.data
    given = data.get("learn-after", DEFAULT_LEARN_AFTER) if isinstance(data, dict) else DEFAULT_LEARN_AFTER
    return int(given) if isinstance(given, int | float) else DEFAULT_LEARN_AFTER


def build_track_above(context: Context) -> int:
    """Read from how many new flows per second on the device counts the first packets of a port's flows."""
    data = context.document.data
    given = data.get("track-above", DEFAULT_TRACK_ABOVE) if isinstance(data, dict) else DEFAULT_TRACK_ABOVE
    return int(given) if isinstance(given, int | float) else DEFAULT_TRACK_ABOVE


def build_sampling(context: Context) -> int:
    """Read the setting of sampling of all devices."""
    data = context.document.data
    return read_sampling(data.get("sampling", OFF) if isinstance(data, dict) else OFF)


def read_sampling(given: object) -> int:
    """Read one packet in how many is sampled, from ``1/N``; 0 for none."""
    _, _, number = str(given).partition("/")
    return int(number) if number.isdigit() else 0


def build_port_security(context: Context) -> PortSecurity:
    """Read what becomes of frames with other source addresses than their VM's."""
    data = context.document.data
    given = data.get("port-security") if isinstance(data, dict) else None
    return next((mode for mode in PortSecurity if mode == given), PortSecurity.REPORT)


def build_extra_addresses(context: Context) -> tuple[ExtraAddresses, ...]:
    """Build the entries of extra addresses that keep to the schema; a group address sends nothing."""
    return tuple(
        ExtraAddresses(read_vms(context, (*path, "vm"), entry["vm"]), tuple(_macs(context, path, entry)))
        for path, entry in context.entries("extra-addresses")
    )


def _macs(context: Context, path: Path, entry: dict[str, Any]) -> Iterator[int]:
    for place, text in items(entry["mac"]):
        mac = parse_mac(str(text))
        where = (*path, "mac") if place is None else (*path, "mac", place)
        if mac is None or mac & GROUP_BIT:
            context.report(
                where, f"{shown(text)} is a group address, which is no source address", "remove it"
            )
        else:
            yield mac


def build_copy_rate(context: Context) -> int:
    """Read the rate at which a device may copy packets to the controller, in packets/s."""
    data = context.document.data
    given = data.get("copy-rate", DEFAULT_COPY_RATE) if isinstance(data, dict) else DEFAULT_COPY_RATE
    return int(given) if isinstance(given, int | float) else DEFAULT_COPY_RATE


def build_vm_flows(context: Context) -> int:
    """Read how many flows of one VM a device may know; 0: no limit."""
    data = context.document.data
    given = data.get("vm-flows", DEFAULT_VM_FLOWS) if isinstance(data, dict) else DEFAULT_VM_FLOWS
    return int(given) if isinstance(given, int | float) else DEFAULT_VM_FLOWS
