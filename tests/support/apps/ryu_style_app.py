"""An app in the style of Ryu: one file, with state of its own, and no import of Flowlane."""

from __future__ import annotations

from typing import Any

from os_ken import cfg
from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib.packet import ethernet, packet
from os_ken.ofproto import ofproto_v1_3, ofproto_v1_5

CONF = cfg.CONF
CONF.register_opts([cfg.StrOpt("greeting", default="hello")], group="ryu-style")


class RyuStyle(app_manager.OSKenApp):  # type: ignore[misc]  # os-ken has no types
    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION, ofproto_v1_5.OFP_VERSION]  # noqa: RUF012  (as apps have it)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mac_to_port: dict[int, dict[str, int]] = {}

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)  # type: ignore[untyped-decorator]
    def switch_features_handler(self, ev: Any) -> None:
        self.logger.info("%s: features of %x", CONF["ryu-style"].greeting, ev.msg.datapath_id)

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)  # type: ignore[untyped-decorator]
    def packet_in_handler(self, ev: Any) -> None:
        msg = ev.msg
        eth = packet.Packet(msg.data).get_protocols(ethernet.ethernet)[0]
        self.mac_to_port.setdefault(msg.datapath.id, {})[eth.src] = msg.match["in_port"]
        self.logger.info("packet-in of %s on port %s", eth.src, msg.match["in_port"])
