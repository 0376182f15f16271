"""A cable that takes time: frames between two network interfaces, a stated time later. Needs root.

The kernels of CI have no netem.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_ETH_P_ALL = 3
_RCVBUFFORCE = 33
"""SO_RCVBUFFORCE of socket(7), which Python does not name."""


@contextmanager
def delayed(one: str, other: str, seconds: float) -> Iterator[None]:
    """Carry what comes out of each interface into the other one, ``seconds`` later, for the duration of the block."""
    ended = threading.Event()
    with ExitStack() as stack:
        ends = [stack.enter_context(_open(name)) for name in (one, other)]
        threads = [
            thread for pair in (ends, ends[::-1]) for thread in _one_way(pair[0], pair[1], seconds, ended)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def _open(name: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    end.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 22)
    end.bind((name, _ETH_P_ALL))
    end.settimeout(0.1)
    return end


def _one_way(
    source: socket.socket, target: socket.socket, seconds: float, ended: threading.Event
) -> tuple[threading.Thread, threading.Thread]:
    """Make the threads that receive, and that send when it is due."""
    on_its_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def receive() -> None:
        while not ended.is_set():
            try:
                data, address = source.recvfrom(65536)
            except TimeoutError:
                continue
            if address[2] != socket.PACKET_OUTGOING:
                on_its_way.put((time.monotonic() + seconds, data))

    def send() -> None:
        while not ended.is_set():
            try:
                due, data = on_its_way.get(timeout=0.1)
            except queue.Empty:
                continue
            time.sleep(max(0.0, due - time.monotonic()))
            target.send(data)

    return threading.Thread(target=receive, daemon=True), threading.Thread(target=send, daemon=True)
