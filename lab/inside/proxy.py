"""Stands between a switch and its controller: counts what goes by, and refuses in the switch's place.

What a real switch cannot be made to refuse (groups, meters, actions that it can do) is answered here with the
error that another switch would answer with; the message does not reach the switch.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

TYPES = {14: "flow-mod", 15: "group-mod", 18: "multipart request", 20: "barrier", 29: "meter-mod"}
TYPES |= {1: "error", 10: "packet-in", 11: "flow-removed", 19: "multipart reply"}
FLOW_MOD, GROUP_MOD, METER_MOD = 14, 15, 29
ADD = 0
_ERROR = 1


class Error(NamedTuple):
    """Type and code of an error (OpenFlow 1.3.5 section 7.4.4)."""

    kind: int
    code: int


OUT_OF_METERS = Error(12, 10)
OUT_OF_GROUPS = Error(6, 3)
BAD_EXPERIMENTER = Error(2, 2)

Refuse = Callable[[bytes], Error | None]
"""What the switch is to say to a controller's message in its own place; None: let it through."""

NICIRA = struct.pack("!I", 0x2320)


def nothing(_message: bytes) -> Error | None:
    return None


def meters(message: bytes) -> Error | None:
    """Refuse new meters but the one for copies (OFPM_CONTROLLER)."""
    kind, command = message[1], int.from_bytes(message[8:10], "big")
    meter_id = int.from_bytes(message[12:16], "big")
    return OUT_OF_METERS if kind == METER_MOD and command == ADD and meter_id < 0xFFFF0000 else None


def groups(message: bytes) -> Error | None:
    """Refuse groups, new ones and changes."""
    return OUT_OF_GROUPS if message[1] == GROUP_MOD and message[9] != 2 else None


def extensions(message: bytes) -> Error | None:
    """Refuse Open vSwitch's own actions, as a switch that knows OpenFlow only."""
    if message[1] not in (FLOW_MOD, GROUP_MOD):
        return None
    at = message.find(NICIRA)
    return BAD_EXPERIMENTER if at >= 4 and message[at - 4 : at - 2] == b"\xff\xff" else None


class Between:
    """Listens for a switch on ``port``, and connects to the controller for it."""

    def __init__(self, controller: int, refuse: Refuse) -> None:
        self.refuse = refuse
        self.counts: dict[str, int] = {}
        self.refused: list[bytes] = []
        self._controller = controller
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def count(self, *names: str) -> int:
        """Messages of these types that went by so far, either way; see TYPES."""
        return sum(self.counts.get(name, 0) for name in names)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._server.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                switch, _ = self._server.accept()
                try:
                    controller = socket.create_connection(("127.0.0.1", self._controller))
                except OSError:
                    switch.close()
                    continue
                self._open += [switch, controller]
                back = threading.Lock()
                for source, target, judge in ((switch, controller, False), (controller, switch, True)):
                    threading.Thread(
                        target=self._pump, args=(source, target, judge, back), daemon=True
                    ).start()

    def _pump(self, source: socket.socket, target: socket.socket, judge: bool, back: threading.Lock) -> None:
        """Hand messages on; ``back`` keeps those of the switch and our errors in one piece each."""
        buffer = b""
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                buffer += piece
                onward = []
                while len(buffer) >= 8 and len(buffer) >= (length := int.from_bytes(buffer[2:4], "big")):
                    message, buffer = buffer[:length], buffer[length:]
                    name = TYPES.get(message[1], str(message[1]))
                    self.counts[name] = self.counts.get(name, 0) + 1
                    error = self.refuse(message) if judge else None
                    if error is None:
                        onward.append(message)
                    else:
                        # What was refused comes after what was sent before it.
                        self.refused.append(message)
                        body = struct.pack("!HH", *error) + message[:64]
                        head = struct.pack("!BBH4s", message[0], _ERROR, 8 + len(body), message[4:8])
                        with back:
                            source.sendall(head + body)
                if onward and judge:
                    target.sendall(b"".join(onward))
                elif onward:
                    with back:
                        target.sendall(b"".join(onward))
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def between(controller: int, refuse: Refuse = nothing) -> Iterator[Between]:
    """Stand before the controller at a TCP port of this machine."""
    made = Between(controller, refuse)
    try:
        yield made
    finally:
        made.close()
