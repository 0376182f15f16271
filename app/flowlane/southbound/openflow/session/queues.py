"""The requests for a device's queues: of all ports at once or, where a device refuses that, port by port."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flowlane.southbound.openflow.session import packing, requests
from flowlane.southbound.openflow.session.requests import NO_REPLY, Reply
from flowlane.southbound.openflow.wire.constants import MAX_PORT

QUEUE_POLL, POLL_ALONE = 10.0, 30.0
"""Seconds between two requests for the queues, with those for counters and without: no OpenFlow version reports when
they change."""

QUEUE_REREADS = (1.0, 3.0)
"""Seconds after a change in OVSDB at which queues are requested again: the switch follows its database later."""

Send = Callable[[str, Any, Callable[[Reply], None]], None]
"""Send a request: its name, the message, what to call with the reply."""

Done = Callable[[Reply], None]


class QueueReader:
    """Reads the queues of one device.

    A device that refuses the request for all ports is asked for each of them, from then on (ofsoftswitch13
    is one). When it refuses that for every port too, it is not asked in that way again.
    """

    def __init__(self, datapath: Any, send: Send) -> None:
        self._datapath, self._send = datapath, send
        self._one_by_one = False
        self._is_hopeless = False

    def read(self, ports: Iterable[int], done: Done) -> None:
        """Request the queues; ``done`` is called once, with all parts of all replies."""
        if self._one_by_one:
            self.read_each(ports, done)
            return

        def take(reply: Reply) -> None:
            if self.is_refusal(reply):
                self.read_each(ports, done)
            else:
                done(reply)

        self._send("queues", packing.request(self._datapath, requests.queues_request), take)

    def is_refusal(self, reply: Reply) -> bool:
        """Return whether the ports should be asked one by one instead."""
        return bool(reply.error) and reply.error != NO_REPLY and not self._is_hopeless

    def read_each(self, ports: Iterable[int], done: Done) -> None:
        """Request the queues of each port; a port that the device refuses has none."""
        numbers = [port_no for port_no in ports if port_no <= MAX_PORT]
        parts: list[Any] = []
        errors: list[str] = []
        pending = len(numbers)

        def take(reply: Reply) -> None:
            nonlocal pending
            pending -= 1
            parts.extend(reply.parts)
            errors.extend((reply.error,) if reply.error else ())
            if not pending:
                self._one_by_one = len(errors) < len(numbers)
                self._is_hopeless = not self._one_by_one
                done(Reply(tuple(parts)) if self._one_by_one else Reply(error=errors[-1]))

        if not numbers:
            done(Reply(error="no ports"))
        for port_no in numbers:
            message = packing.request(self._datapath, requests.queues_request, port_no)
            self._send(f"queues of port {port_no}", message, take)
