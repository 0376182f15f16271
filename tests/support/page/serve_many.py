"""REST with 100,000 flows and a file of tokens: prints its URL, serves until its input ends.

The flows are in the engine's tables, and no switch is there. Arguments: the file of tokens, number of flows.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

from eventlet.green import os  # noqa: E402
from support.engine.controller import NIC, PHYSICAL, WEB, ipv4, put, world  # noqa: E402

from flowlane.northbound.app import make_app  # noqa: E402
from flowlane.northbound.http import server  # noqa: E402
from flowlane.northbound.http.access import Access, TokenFile  # noqa: E402


def main() -> None:
    controller = world()
    nic = controller.state.devices[NIC]
    for number in range(int(sys.argv[2])):
        key = ipv4(WEB, 6, number % 60000 + 1, 5000 + number // 60000, last=number % 250)
        put(
            nic,
            key,
            **{**PHYSICAL, "flags": 0, "queue_id": number % 4, "rate": float(number), "octets": number},
        )
    access = Access(TokenFile(Path(sys.argv[1])))
    running = server.start(make_app(controller, access), controller.feed, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{running.address[1]}", flush=True)
    while os.read(0, 100):
        pass
    server.stop(running)


if __name__ == "__main__":
    main()
