"""Numbers of the OpenFlow specification and of Open vSwitch's extensions, each of them in this one place.

They are the same in OpenFlow 1.3.5, 1.4.1 and 1.5.1 unless said otherwise.
"""

OPENFLOW_13, OPENFLOW_14, OPENFLOW_15 = 4, 5, 6
"""Versions as they are written in the header of a message (7.1)."""

HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, FEATURES_REPLY = 0, 1, 2, 3, 6
PACKET_IN, FLOW_REMOVED, MULTIPART_REPLY = 10, 11, 19
"""OFPT_*: types of messages (7.1)."""

FLOW_MOD, GROUP_MOD, METER_MOD = 14, 15, 29
"""OFPT_*: types of the messages that change entries, groups and meters (7.3.4)."""

QUEUE_GET_CONFIG_REPLY = 23
"""OFPT_QUEUE_GET_CONFIG_REPLY, of OpenFlow 1.3 only."""

MULTIPART_FLOW = 1
"""OFPMP_FLOW, which OpenFlow 1.5 calls OFPMP_FLOW_DESC: the reply that lists flow entries (7.3.5)."""

MULTIPART_TABLES = 12
"""OFPMP_TABLE_FEATURES: the reply that describes tables (7.3.5)."""

MULTIPART_GROUP_DESC, MULTIPART_METER_CONFIG, MULTIPART_FLOW_MONITOR = 7, 10, 16
"""OFPMP_GROUP_DESC, OFPMP_METER_CONFIG (OFPMP_METER_DESC in 1.5), OFPMP_FLOW_MONITOR, of OpenFlow 1.4 and 1.5."""

FLOW_ADD, FLOW_MODIFY_STRICT, FLOW_DELETE_STRICT = 0, 2, 4
"""OFPFC_*: commands of a flow-mod (7.3.4.1)."""

NO_BUFFER, ANY_PORT, ANY_GROUP = 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF
"""OFP_NO_BUFFER (7.3.4.1), OFPP_ANY (7.2.1), OFPG_ANY (7.3.4.2)."""

MAX_PORT = 0xFFFFFF00
"""OFPP_MAX: higher port numbers are reserved, except LOCAL_PORT (7.2.1)."""

NORMAL_PORT, ALL_PORTS, CONTROLLER_PORT, LOCAL_PORT = 0xFFFFFFFA, 0xFFFFFFFC, 0xFFFFFFFD, 0xFFFFFFFE
"""OFPP_NORMAL, OFPP_ALL, OFPP_CONTROLLER and OFPP_LOCAL (7.2.1)."""

WHOLE_PACKET = 0xFFFF
"""OFPCML_NO_BUFFER: a packet for the controller is not cut (7.2.5)."""

SEND_FLOW_REMOVED = 1
"""OFPFF_SEND_FLOW_REM: the device reports the entry's removal (7.3.4.1)."""

APPLY_ACTIONS = 4
"""OFPIT_APPLY_ACTIONS (7.2.4)."""

OUTPUT_ACTION, SET_QUEUE_ACTION, SET_FIELD_ACTION, EXPERIMENTER = 0, 21, 25, 0xFFFF
"""OFPAT_*: types of actions (7.2.5). The last is also the experimenter's number among properties and replies."""

SELECT_GROUP = 1
"""OFPGT_SELECT (7.3.4.2)."""

MAX_METER = 0xFFFF0000
"""The highest meter id; higher ones are virtual meters (OpenFlow 1.3.5 section 7.3.4.4)."""

CONTROLLER_METER = 0xFFFFFFFE
"""OFPM_CONTROLLER: the virtual meter of all packet-ins (7.3.4.4)."""

DROP_BAND = 1
"""OFPMBT_DROP (7.3.4.4)."""

METER_KBPS, METER_PACKETS, METER_BURST = 1 << 0, 1 << 1, 1 << 2
"""OFPMF_KBPS, OFPMF_PKTPS and OFPMF_BURST (7.3.4.4)."""

LINK_DOWN, PORT_DOWN = 1, 1
"""OFPPS_LINK_DOWN in a port's state, OFPPC_PORT_DOWN in its configuration (7.2.1)."""

IDLE_TIMEOUT = 0
"""OFPRR_IDLE_TIMEOUT: why an entry was removed (7.4.2)."""

NICIRA, NETRONOME = 0x00002320, 0x0000154D
"""Experimenters whose actions and group properties Open vSwitch takes."""

NX_RESUBMIT_TABLE, NX_LEARN, NX_SAMPLE, NX_CT, NX_CONTROLLER2 = 14, 16, 29, 35, 37
"""NXAST_*: Nicira's actions by subtype (Open vSwitch, lib/ofp-actions.c)."""
