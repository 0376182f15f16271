"""One connected device: handshake, entries, encoding and decoding, counters, requests and their replies.

Parameters that recur in this package:

- ``datapath``: os-ken's connection. Encoding needs only its ``ofproto`` and ``ofproto_parser``.
- ``message``: an os-ken message, or one item in its body.
- ``parts``: the messages of one multipart reply, in the order in which they came.
- ``emit``: a function that takes events for the engine.
- ``error``: the name of an OpenFlow error, such as ``OFPFMFC_TABLE_FULL``.
- ``ports``: port number -> ids of the queues that the device reports on the port.
- ``now``: seconds of the session's clock.
"""
