"""Malformed messages of a switch, in which lengths contradict each other, by the name of what is wrong."""

from __future__ import annotations

from struct import pack

from support.openflow import messages
from support.openflow.messages import OF13, OF14, OF15, message, multipart

ZERO_ACTION = pack("!HHI", 0xFFFF, 0, 0x2320)
ZERO_INSTRUCTION = pack("!HH4x", 4, 0)
OUTPUT = pack("!HHIH6x", 0, 16, 1, 128)


def nicira(subtype: int, body: bytes) -> bytes:
    rest = pack("!IH", 0x2320, subtype) + body
    return pack("!HH", 0xFFFF, 4 + len(rest)) + rest


def nested_ct(depth: int) -> bytes:
    inner = b"" if depth == 0 else nested_ct(depth - 1)
    return nicira(35, pack("!HIHB3xH", 0, 0, 0, 0xFF, 0) + inner)


def table_features(*properties: bytes) -> bytes:
    body = b"".join(one + bytes(-len(one) % 8) for one in properties)
    return pack("!HB5x32sQQII", 64 + len(body), 0, b"t", 0, 0, 0, 1) + body


def meter_stats(length: int, bands: int = 0) -> bytes:
    return pack("!IH6xIQQII", 1, length, 0, 0, 0, 0, 0) + bytes(16 * bands)


# os-ken 4.2.2 loops on these for ever, or reads beyond the end of a structure.
MALFORMED: dict[str, tuple[int, bytes, str]] = {
    "hello element of length 0": (OF13, messages.hello(OF13, pack("!HH", 1, 0)), "hello element"),
    "hello element cut short": (OF13, messages.hello(OF13, b"\0\1"), "hello element"),
    "queue of length 0": (OF13, messages.queue_config(messages.queue_13(1, 1, length=0)), "queue of a queue-config"),
    "queue property of length 0": (
        OF13, messages.queue_config(messages.queue_13(1, 1, pack("!HH4x", 2, 0))), "property of a queue"),
    "queue property of a known type and another length": (
        OF13, messages.queue_config(messages.queue_13(1, 1, pack("!HH4x", 2, 8))), "max-rate property"),
    "queue longer than the message": (
        OF13, messages.queue_config(messages.queue_13(1, 1, length=64)), "queue of a queue-config"),
    "flow stats of length 0": (OF13, multipart(OF13, 1, messages.flow_stats_13(0)), "flow-stats entry"),
    "flow stats of length 0 in 1.4": (OF14, multipart(OF14, 1, messages.flow_stats_13(0)), "flow-stats entry"),
    "flow stats longer than the message": (OF13, multipart(OF13, 1, messages.flow_stats_13(999)), "flow-stats entry"),
    "match longer than its flow": (
        OF13, multipart(OF13, 1, messages.flow_stats_13(fields=pack("!HH4x", 1, 64))), "match of a flow-stats"),
    "match with a field beyond its end": (
        OF13, multipart(OF13, 1, messages.flow_stats_13(fields=pack("!HHHBB", 1, 8, 0x8000, 0, 200))), "fields end"),
    "flow desc of length 0": (OF15, multipart(OF15, 1, messages.flow_desc_15(length=0)), "flow-desc entry"),
    "instruction of length 0": (
        OF13, multipart(OF13, 1, messages.flow_stats_13(instructions=ZERO_INSTRUCTION)), "instruction"),
    "instruction of length 0 in 1.5": (
        OF15, multipart(OF15, 1, messages.flow_desc_15(ZERO_INSTRUCTION)), "instruction"),
    "action of length 0": (
        OF13, multipart(OF13, 1, messages.flow_stats_13(instructions=messages.apply_actions(ZERO_ACTION))), "action"),
    "action of length 0 in 1.5": (
        OF15, multipart(OF15, 1, messages.flow_desc_15(messages.apply_actions(ZERO_ACTION))), "action"),
    "action that hides another in its tail": (
        OF13,
        multipart(OF13, 1, messages.flow_stats_13(
            instructions=messages.apply_actions(pack("!HHIH6x", 0, 24, 1, 0) + ZERO_ACTION))),
        "output action"),
    "goto that hides an instruction in its tail": (
        OF13,
        multipart(OF13, 1, messages.flow_stats_13(instructions=pack("!HHB3x", 1, 16, 1) + ZERO_INSTRUCTION)),
        "goto"),
    "Nicira controller action with a property of length 0": (
        OF13,
        multipart(OF13, 1, messages.flow_stats_13(
            instructions=messages.apply_actions(nicira(37, bytes(6) + pack("!HH4x", 3, 0))))),
        "Nicira controller"),
    "action of length 0 inside a Nicira ct action": (
        OF13,
        multipart(OF13, 1, messages.flow_stats_13(
            instructions=messages.apply_actions(nicira(35, pack("!HIHB3xH", 0, 0, 0, 0, 0) + ZERO_ACTION)))),
        "action"),
    "actions nested deep": (
        OF13, multipart(OF13, 1, messages.flow_stats_13(instructions=messages.apply_actions(nested_ct(40)))), "nested"),
    "group stats of length 0": (OF13, multipart(OF13, 6, bytes(40)), "group-stats entry"),
    "group desc of length 0": (OF13, multipart(OF13, 7, pack("!HBxI", 0, 1, 1)), "group-desc entry"),
    "group desc of length 0 in 1.5": (OF15, multipart(OF15, 7, pack("!HBxIH6x", 0, 1, 1, 0)), "group-desc entry"),
    "group bucket of length 0": (OF13, multipart(OF13, 7, pack("!HBxI", 24, 1, 1) + bytes(16)), "group bucket"),
    "group bucket of length 0 in 1.5": (
        OF15, multipart(OF15, 7, pack("!HBxIH6x", 24, 1, 1, 8) + bytes(8)), "group bucket"),
    "actions longer than their bucket in 1.5": (
        OF15, multipart(OF15, 7, pack("!HBxIH6xHHI", 24, 1, 1, 8, 8, 16, 0)), "bucket"),
    "action of length 0 in a bucket": (
        OF13, multipart(OF13, 7, pack("!HBxIHH3I", 32, 1, 1, 24, 0, 0, 0, 0)[:24] + ZERO_ACTION), "action"),
    "meter stats of length 0": (OF13, multipart(OF13, 9, meter_stats(0)), "meter-stats entry"),
    "meter stats of length 0 in 1.5": (OF15, multipart(OF15, 9, meter_stats(0)), "meter-stats entry"),
    "meter stats with half a band": (OF13, multipart(OF13, 9, meter_stats(48) + bytes(8)), "meter band stats"),
    "meter config of length 0": (OF13, multipart(OF13, 10, bytes(8)), "meter-config entry"),
    "meter band of length 0": (
        OF13, multipart(OF13, 10, pack("!HHI", 24, 0, 1) + pack("!HHII4x", 1, 0, 1, 1)), "meter band"),
    "table features of length 0": (OF13, multipart(OF13, 12, bytes(64)), "table-features entry"),
    "instruction id of length 0": (
        OF13, multipart(OF13, 12, table_features(pack("!HHHH", 0, 8, 1, 0))), "instruction or action id"),
    "action id of length 0 in 1.4": (
        OF14, multipart(OF14, 12, table_features(pack("!HHHH", 4, 8, 1, 0))), "instruction or action id"),
    "port cut short": (OF13, multipart(OF13, 13, bytes(63)), "port"),
    "port of length 0 in 1.4": (OF14, multipart(OF14, 13, bytes(40)), "port"),
    "port property of length 0": (
        OF14, multipart(OF14, 13, pack("!IH2x6s2x16sII", 1, 48, b"", b"p", 0, 0) + bytes(8)), "property of a port"),
    "queue desc of length 0": (OF14, multipart(OF14, 15, bytes(16)), "queue-desc entry"),
    "queue-desc property of length 0": (
        OF15, multipart(OF15, 15, pack("!IIH6x", 1, 1, 24) + bytes(8)), "property of a queue-desc"),
    "flow update of length 0": (OF14, multipart(OF14, 16, bytes(8)), "flow-monitor update"),
    "controller status of length 0": (OF15, multipart(OF15, 18, bytes(16)), "controller-status entry"),
    "multipart cut short": (OF13, message(OF13, messages.MULTIPART_REPLY, bytes(4)), "multipart reply"),
    "packet-in match longer than the message": (
        OF13, message(OF13, messages.PACKET_IN, bytes(16) + pack("!HH4x2x", 1, 400)), "match of a packet-in"),
    "port-status cut short": (OF13, message(OF13, messages.PORT_STATUS, bytes(20)), "port-status"),
    "port-status with a port of length 0": (OF15, message(OF15, messages.PORT_STATUS, bytes(48)), "port"),
    "refused hello with a text that is not ASCII": (
        OF13, message(OF13, messages.ERROR, pack("!HH", 0, 0) + b"\xff"), "hello-failed"),
    "features cut short": (OF13, message(OF13, messages.FEATURES_REPLY, bytes(8)), "features reply"),
}  # fmt: skip
