"""``flowlane cordon``, ``drain`` and ``uncordon``: take a queue out of service, and back into it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from flowlane.cli.arguments import add_output, format_of, positive_duration, whole_number
from flowlane.cli.client import Answer, Client, client_of, get, pages, send
from flowlane.cli.output import show_data
from flowlane.cli.pin import LAST_QUEUE
from flowlane.closest import did_you_mean
from flowlane.errors import RequestError
from flowlane.escaping import escaped
from flowlane.stdio import print_error

if TYPE_CHECKING:
    import argparse

LOOK = 1.0
"""Seconds between two looks at a queue that is drained: about as often as flows are moved."""

UNFINISHED = 1
"""Exit code: the queue still has flows when ``--timeout`` is over."""


class Cordon(NamedTuple):
    """A command that says which flows a queue takes; ``waits``: until it has none left."""

    admission: str
    waits: bool = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("device", metavar="DEVICE", help="a device's dpid or name")
        parser.add_argument("port", metavar="PORT", help="the egress port's name or number")
        parser.add_argument(
            "queue", metavar="QUEUE", type=whole_number(0, LAST_QUEUE, "queue id"), help="the queue's id"
        )
        if self.waits:
            parser.add_argument(
                "--no-wait", action="store_true", help="return at once; flowlane queues shows the progress"
            )
            parser.add_argument(
                "--timeout",
                type=positive_duration,
                metavar="TIME",
                help="wait so long at most (default: until the last flow has left); the drain goes on",
            )
        add_output(parser, watch=False)

    def run(self, args: argparse.Namespace) -> int:
        """Set what the queue takes, and wait for the end of a drain."""
        client = client_of(args)
        dpid = find_dpid(client, args.device)
        path = f"/v1/devices/{dpid}/queues/{quote(args.port, safe='')}/{args.queue}"
        queue = send(client, "PATCH", path, json={"admission": self.admission})
        warn_of_last(queue)
        code = 0
        if self.waits and not args.no_wait:
            queue, code = _wait(client, path, queue, args)
        elif format_of(args) is None:
            print(escaped(progress(queue)), flush=True)
        if (form := format_of(args)) is not None:
            show_data(lambda: queue, form)
        return code


CORDON, UNCORDON, DRAIN = Cordon("cordoned"), Cordon("open"), Cordon("draining", waits=True)


def progress(queue: Answer) -> str:
    """Write which flows a queue takes, and how many are left of it."""
    name = f"queue {queue['queue_id']} of {queue['port']}"
    flows = f"{queue['flows']} flow{'s' * (queue['flows'] != 1)}"
    texts = {
        "open": f"{name} is open: it takes new flows, and has {flows}",
        "cordoned": f"{name} is cordoned: it takes no new flows, and keeps {flows}",
        "draining": f"{name} is draining: {queue['flows']} of {queue['cordoned_flows']} flows left",
        "drained": f"{name} is drained: no flow is left",
    }
    return texts[queue["admission"]]


def warn_of_last(queue: Answer) -> None:
    """Warn where only one queue of the port is left that takes flows: that one cannot be cordoned."""
    if queue["admission"] != "open" and queue["other_open_queues"] == 1:
        print_error(
            f"warning: only one queue of {queue['port']} is left that takes flows; it cannot be cordoned"
        )


def _wait(client: Client, path: str, queue: Answer, args: argparse.Namespace) -> tuple[Answer, int]:
    """Wait until a queue has no flow left; print the progress where it changes."""
    end = None if args.timeout is None else time.monotonic() + args.timeout
    last = ""
    while True:
        text = progress(queue)
        if text != last and format_of(args) is None:
            print(escaped(text), flush=True)
        last = text
        if queue["admission"] == "drained":
            return queue, 0
        if queue["admission"] != "draining":
            print_error("flowlane drain: somebody else has ended the drain")
            return queue, UNFINISHED
        if end is not None and time.monotonic() > end:
            return queue, UNFINISHED
        time.sleep(LOOK)
        queue = get(client, path)


def find_dpid(client: Client, name: str) -> str:
    """Find the dpid of a device by its dpid or name.

    Raises:
        RequestError: there is none.
    """
    devices = pages(client, "/v1/devices", {}, None)["items"]
    for item in devices:
        if name == item["name"] or name.lower() == item["dpid"]:
            dpid: str = item["dpid"]
            return dpid
    names = [item["name"] or item["dpid"] for item in devices]
    raise RequestError(f"there is no device {name!r}; {did_you_mean(name, names)}")
