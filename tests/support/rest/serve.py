"""REST over a real socket, on the tests' controller: prints its URL, serves until its input ends, then stops.

It runs as a process of its own: the command line's HTTP client blocks, and the server needs the hub.
"""

from __future__ import annotations

import sys
import time
import warnings

warnings.simplefilter("ignore")

from eventlet.green import os  # noqa: E402
from support.engine.controller import hostile, world  # noqa: E402

from flowlane.northbound.app import make_app  # noqa: E402
from flowlane.northbound.http import routing, server  # noqa: E402


def main() -> None:
    controller = hostile() if "hostile" in sys.argv else world()
    addresses = [
        word for word in sys.argv[1:] if word not in ("hostile", "hasty", "patient") and "=" not in word
    ]
    port = next((int(word.partition("=")[2]) for word in sys.argv if word.startswith("port=")), 0)
    if "hasty" in sys.argv:
        server.KEEP_ALIVE, server.HEAD_WITHIN, routing.BODY_WITHIN = 0.5, 0.5, 0.5
    if "hasty" in sys.argv or "patient" in sys.argv:
        server.MAX_CONNECTIONS = 20
    running = server.start(
        make_app(controller), controller.feed, addresses[0] if addresses else "127.0.0.1", port
    )
    host, port = running.address
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    while os.read(0, 100):
        pass
    began = time.monotonic()
    server.stop(running)
    print(f"stopped in {time.monotonic() - began:.3f} s", flush=True)


if __name__ == "__main__":
    main()
