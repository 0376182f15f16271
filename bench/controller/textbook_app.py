"""An os-ken application as textbooks write it: the learning switch, which installs a flow with a queue per packet-in.

It is a peer in :mod:`bench.controller.packet_ins`, started as a module with the port to listen on. Like
Flowlane in reactive mode it answers the first packet of a flow with one flow-mod that matches ports, addresses,
protocol and TCP ports.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from os_ken import cfg
from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib import hub
from os_ken.lib.packet import ethernet, ipv4, packet, tcp
from os_ken.ofproto import ofproto_v1_3

QUEUES = 8
IDLE_TIME = 10
"""Seconds without a packet after which an entry goes."""


class TextbookApp(app_manager.OSKenApp):  # type: ignore[misc]  # os-ken has no types.
    """Learns which address is at which port, and gives each flow a queue of its own choice."""

    OFP_VERSIONS: ClassVar[list[int]] = [ofproto_v1_3.OFP_VERSION]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ports: dict[tuple[int, str], int] = {}
        self._flows = 0

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)  # type: ignore[untyped-decorator]
    def features(self, event: Any) -> None:
        """Send the table-miss entry."""
        datapath = event.msg.datapath
        parser, protocol = datapath.ofproto_parser, datapath.ofproto
        to_controller = parser.OFPActionOutput(protocol.OFPP_CONTROLLER, protocol.OFPCML_NO_BUFFER)
        self._add(datapath, 0, parser.OFPMatch(), [to_controller], 0)

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def packet_in(self, event: Any) -> None:
        """Learn the source; send an entry for the flow where the destination is known; send the packet on."""
        message = event.msg
        datapath, in_port = message.datapath, message.match["in_port"]
        parser, protocol = datapath.ofproto_parser, datapath.ofproto
        read = packet.Packet(message.data)
        frame = read.get_protocol(ethernet.ethernet)
        self._ports[datapath.id, frame.src] = in_port
        out_port = self._ports.get((datapath.id, frame.dst), protocol.OFPP_FLOOD)
        actions = [parser.OFPActionOutput(out_port)]
        network, transport = read.get_protocol(ipv4.ipv4), read.get_protocol(tcp.tcp)
        if out_port != protocol.OFPP_FLOOD and network is not None and transport is not None:
            self._flows += 1
            actions.insert(0, parser.OFPActionSetQueue(self._flows % QUEUES))
            match = parser.OFPMatch(
                in_port=in_port,
                eth_type=frame.ethertype,
                ip_proto=network.proto,
                ipv4_src=network.src,
                ipv4_dst=network.dst,
                tcp_src=transport.src_port,
                tcp_dst=transport.dst_port,
            )
            self._add(datapath, 1, match, actions, IDLE_TIME)
        data = message.data if message.buffer_id == protocol.OFP_NO_BUFFER else None
        datapath.send_msg(parser.OFPPacketOut(datapath, message.buffer_id, in_port, actions, data))

    @staticmethod
    def _add(datapath: Any, priority: int, match: Any, actions: list[Any], idle_time: int) -> None:
        parser, protocol = datapath.ofproto_parser, datapath.ofproto
        apply = [parser.OFPInstructionActions(protocol.OFPIT_APPLY_ACTIONS, actions)]
        datapath.send_msg(
            parser.OFPFlowMod(
                datapath=datapath,
                priority=priority,
                match=match,
                instructions=apply,
                idle_timeout=idle_time,
            )
        )


def main(port: str) -> None:
    """Run the application, with os-ken's own runner."""
    hub.patch(thread=False)
    cfg.CONF([f"--ofp-tcp-listen-port={port}", "--ofp-listen-host=127.0.0.1"], project="textbook")
    app_manager.AppManager.run_apps(["bench.controller.textbook_app"])


if __name__ == "__main__":
    main(sys.argv[1])
