"""Host tools of ``flowlane qos`` and ``flowlane doctor``, which the controller never loads: QoS rows, NICs, checks."""

import flowlane.southbound.ovsdb  # noqa: F401  # first: it imports the OVS library without eventlet's warning
