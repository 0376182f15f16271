"""``flowlane role``: give a device a role by hand, or take that back."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from flowlane.cli.arguments import add_output, format_of
from flowlane.cli.client import client_of, send
from flowlane.cli.cordon import find_dpid
from flowlane.cli.output import show_data
from flowlane.escaping import escaped
from flowlane.northbound.types.operators import DeviceRole

if TYPE_CHECKING:
    import argparse

BY_ITSELF = "auto"
"""The word for no role by hand: the device has the role that is found for it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("device", metavar="DEVICE", help="a device's dpid or name")
    parser.add_argument(
        "role",
        metavar="ROLE",
        choices=(*get_args(DeviceRole), BY_ITSELF),
        help="nic (a NIC's embedded switch), vswitch, switch (of the network), or auto: as it is found",
    )
    add_output(parser, watch=False)


def run(args: argparse.Namespace) -> int:
    """Set the role; return the exit code."""
    client = client_of(args)
    dpid = find_dpid(client, args.device)
    role = None if args.role == BY_ITSELF else args.role
    device = send(client, "PATCH", f"/v1/devices/{dpid}", json={"role": role})
    if (form := format_of(args)) is not None:
        show_data(lambda: device, form)
    else:
        by = "as it is found" if role is None else "by hand"
        print(escaped(f"{device['name'] or dpid} has role {device['role']}, {by}"))
    return 0
