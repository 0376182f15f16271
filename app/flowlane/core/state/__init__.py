"""State of the engine: devices, their flows in columns, their meters.

Functions all over the core take the same arguments, which are explained here once:

state
    The :class:`~flowlane.core.state.device.State` of the engine. Only the engine changes it.
device
    The :class:`~flowlane.core.state.device.Device` that is concerned, one of ``state.devices``.
row
    A flow of that device, by its row in ``device.flows`` (see :mod:`flowlane.core.state.flows`).
out
    The list to which effects are appended, in the order in which they have to be carried out.
"""
