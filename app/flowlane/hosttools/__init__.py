"""Host tools of ``flowlane qos`` and ``flowlane doctor``, which the controller never loads: QoS rows, NICs, checks."""

import os

# The OVS library imports eventlet, whose DNS client takes longer to import than all else; it is of no use here.
os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")

import flowlane.southbound.ovsdb  # noqa: F401  # first: it imports the OVS library without eventlet's warning
