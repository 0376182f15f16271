"""Messages of os-ken's of which one part is parsed when somebody looks, from the bytes that they keep.

os-ken makes a hundred objects of a flow entry and a dozen of a packet-in's match, of which Flowlane needs a few
numbers and reads them from the bytes itself. The part is made at first access, for whichever app asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from os_ken.lib.stringify import obj_python_attrs
from os_ken.ofproto import ofproto_parser


def install(kinds: Iterable[Any], part: str) -> None:
    """Let os-ken's classes of messages make this attribute late; twice is the same as once."""

    def read_part(message: Any, name: str) -> Any:
        """Stand in for the attribute until it is there; Python asks here for attributes that are missing."""
        if name != part:
            raise AttributeError(name)
        parse = ofproto_parser._MSG_PARSERS[message.version]
        header = (message.version, message.msg_type, message.msg_len, message.xid)
        found = getattr(parse(message.datapath, *header, message.buf), part)
        setattr(message, part, found)
        return found

    def attributes(message: Any) -> Any:
        """What os-ken writes of a message as text or JSON: that too is looking."""
        getattr(message, part)
        return obj_python_attrs(message)

    for kind in kinds:
        kind.__getattr__ = read_part
        kind.stringify_attrs = attributes


def begun(kind: Any, datapath: Any, message: bytes) -> Any:
    """A message with its header and bytes; the caller fills in the fixed part and takes the late one away."""
    made = kind(datapath)
    made.set_headers(*ofproto_parser.header(message))
    made.set_buf(message)
    return made
