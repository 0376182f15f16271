"""Forms of texts in REST: more of a field than its type says, for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from flowlane.core.flowkey import ETHERTYPE_NAMES, PROTOCOL_NAMES


class Form(NamedTuple):
    """Form of a text: a format or a regular expression of JSON Schema, and an example; what is empty is left out."""

    format: str = ""
    pattern: str = ""
    example: str = ""

    def schema(self) -> dict[str, Any]:
        """Make the keywords of JSON Schema."""
        words: dict[str, Any] = {"format": self.format, "pattern": self.pattern}
        return {name: value for name, value in words.items() if value} | (
            {"examples": [self.example]} if self.example else {}
        )


Dpid = Annotated[
    str,
    "a device's datapath id: 16 hex digits",
    Form(pattern="^[0-9a-f]{16}$", example="0000000000000001"),
]
Moment = Annotated[str, "RFC 3339, UTC", Form("date-time", example="2026-11-29T02:31:07.120Z")]
FlowId = Annotated[
    str,
    "id of a flow",
    Form(pattern="^[0-9a-f]{24,}$", example="2eb0d820000004069c4000500a0000020a0000fe"),
]

DURATION = {"type": "string", "pattern": "^[0-9]{1,6}(ms|s|min|h)$"}

PROTOCOL = {
    "anyOf": [
        {"type": "string", "enum": [*PROTOCOL_NAMES.values(), *ETHERTYPE_NAMES.values()]},
        {"type": "integer", "minimum": 0, "maximum": 255},
        {"type": "string", "pattern": "^0x([7-9a-fA-F][0-9a-fA-F]{2}|[1-9a-fA-F][0-9a-fA-F]{3})$"},
    ]
}
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_WORDS = "[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){7}"
ADDRESS = {
    "anyOf": [
        {"type": "string", "pattern": f"^{_OCTET}(\\.{_OCTET}){{3}}(/(3[0-2]|[12]?[0-9]))?$"},
        {"type": "string", "pattern": f"^{_WORDS}(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?$"},
        {"type": "string", "format": "ipv6"},
        {"type": "string", "pattern": "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"},
    ]
}
