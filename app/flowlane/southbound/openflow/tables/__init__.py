"""The entries of a device as data: pipeline, flow, group and meter entries, standing rules, pins, differences.

No module here imports os-ken. Parameters that recur in this package:

- ``plan``: the :class:`~flowlane.core.effects.DevicePlan` that is compiled.
- ``capabilities``: what the device can do.
- ``ports``: port number -> ids of the queues that the device reports on the port. Nothing is compiled for
  other ports, and no ``set_queue`` for other queues: a device may accept such an entry and lose its packets.
- ``terms``: a match, as :func:`flowlane.southbound.openflow.wire.fields.match` makes it.
- ``left_out``: a list to which a function appends what the device does not get.
"""
