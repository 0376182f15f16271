"""Simulated databases of many hosts in one process: JSON-RPC servers that answer like ovsdb-server and store nothing.

``python -m bench.controller.simulated_databases DIRECTORY COUNT VMS`` listens at ``DIRECTORY/hN.sock``, and changes one
external id of one VM in so many hosts for each number on a line of standard input. Like ovsdb-server it asks each
client for an echo every 5 s.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

ECHO_S = 5.0
"""ovsdb-server's own default (ovsdb-server(1), inactivity_probe)."""

EMPTY: list[Any] = ["set", []]


def uuid(table: int, number: int = 0) -> list[str]:
    """A row's UUID, the same in every host."""
    return ["uuid", str(UUID(int=(table << 64) + number))]


def interface(host: int, vm: int, change: int = 0) -> dict[str, Any]:
    """The Interface row of a VM."""
    mac = f"52:54:{host >> 8:02x}:{host & 255:02x}:00:{vm:02x}"
    ids = {"iface-id": f"host{host}-vm{vm}", "attached-mac": mac, "vm-uuid": f"{host:08x}-{vm:08x}"}
    if change:
        ids["change"] = str(change)
    return {
        "name": f"tap{vm}",
        "type": "",
        "ofport": vm + 1,
        "external_ids": ["map", [list(item) for item in ids.items()]],
        "mac_in_use": mac,
        "link_speed": 10_000_000_000,
        "status": ["map", [["driver_name", "tun"], ["driver_version", "1.6"], ["firmware_version", ""]]],
        "options": ["map", []],
    }


def port(name: str, number: int, qos: list[Any]) -> dict[str, Any]:
    """A Port row with one interface."""
    plain = {
        "external_ids": ["map", []],
        "tag": EMPTY,
        "trunks": EMPTY,
        "vlan_mode": EMPTY,
        "bond_mode": EMPTY,
    }
    return {"name": name, "interfaces": uuid(3, number), "qos": qos, **plain}


def tables(host: int, vms: int) -> dict[str, dict[str, Any]]:
    """A host's database: one bridge with an uplink of 8 queues and so many VMs."""
    ports = {uuid(2, n)[1]: port(f"tap{n}", n, EMPTY) for n in range(vms)}
    ports[uuid(2, vms)[1]] = port("eth0", vms, uuid(4))
    interfaces = {uuid(3, n)[1]: interface(host, n) for n in range(vms)}
    uplink = {**interface(host, vms), "name": "eth0", "external_ids": ["map", []]}
    interfaces[uuid(3, vms)[1]] = {**uplink, "status": ["map", [["driver_name", "ixgbe"]]]}
    bridge = {
        "name": "br-int",
        "ports": ["set", [uuid(2, n) for n in range(vms + 1)]],
        "datapath_id": f"{host + 1:016x}",
        "datapath_type": "system",
        "external_ids": ["map", []],
        "stp_enable": False,
        "rstp_enable": False,
    }
    ids = [["system-id", f"host{host}"], ["hostname", f"host{host}.example"]]
    root = {"bridges": uuid(1), "ovs_version": "3.1.0", "external_ids": ["map", ids]}
    plain = {"other_config": ["map", [["max-rate", "10000000000"]]], "external_ids": ["map", []]}
    queues = {uuid(5, n)[1]: plain for n in range(8)}
    qos = {
        "type": "linux-htb",
        "queues": ["map", [[n, uuid(5, n)] for n in range(8)]],
        "other_config": ["map", []],
    }
    return {
        "Open_vSwitch": {uuid(0)[1]: root},
        "Bridge": {uuid(1)[1]: bridge},
        "Port": ports,
        "Interface": interfaces,
        "QoS": {uuid(4)[1]: qos},
        "Queue": queues,
    }


class Host:
    """The server of one host's database."""

    def __init__(self, number: int, vms: int) -> None:
        self.number, self.vms = number, vms
        self.writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client until it goes."""
        decoder, text = json.JSONDecoder(), ""
        self.writers.add(writer)
        probe = asyncio.create_task(self._probe(writer))
        try:
            while data := await reader.read(1 << 16):
                text += data.decode()
                while text:
                    try:
                        message, end = decoder.raw_decode(text)
                    except ValueError:
                        break
                    text = text[end:]
                    self._answer(message, writer)
        except ConnectionError:
            pass
        finally:
            probe.cancel()
            self.writers.discard(writer)
            writer.close()

    def _answer(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        method, number = message.get("method"), message.get("id")
        error: object = None
        if method == "monitor" and message["params"][0] == "Open_vSwitch":
            rows_of = tables(self.number, self.vms).items()
            result: object = {table: {u: {"new": row} for u, row in rows.items()} for table, rows in rows_of}
        elif method == "monitor":
            row = {"name": "Open_vSwitch", "model": "standalone", "connected": True, "cid": EMPTY}
            result = {"Database": {uuid(9)[1]: {"new": row}}}
        elif method == "echo":
            result = message["params"]
        else:
            return
        writer.write(json.dumps({"id": number, "result": result, "error": error}).encode())

    def change(self, number: int) -> None:
        """Report a change of the first VM's row."""
        row = {
            uuid(3, 0)[1]: {"old": {"external_ids": ["map", []]}, "new": interface(self.number, 0, number)}
        }
        update = {"method": "update", "params": ["data", {"Interface": row}], "id": None}
        for writer in self.writers:
            writer.write(json.dumps(update).encode())

    async def _probe(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(ECHO_S)
            writer.write(b'{"method":"echo","params":[],"id":"echo"}')


async def main(directory: Path, count: int, vms: int) -> None:
    """Serve until standard input ends."""
    hosts = [Host(number, vms) for number in range(count)]
    for host in hosts:
        await asyncio.start_unix_server(host.serve, directory / f"h{host.number}.sock")
    print("ready", flush=True)
    loop, changes = asyncio.get_running_loop(), 0
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        changes += 1
        for host in hosts[: int(line)]:
            host.change(changes)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
