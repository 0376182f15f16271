"""Host tools of ``flowlane qos`` and ``flowlane doctor``, which the controller never loads: QoS rows, NICs, checks."""

import os
import warnings

# The OVS library imports eventlet, whose DNS client takes longer to import than all else; it is of no use here.
os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")

with warnings.catch_warnings():
    # eventlet prints a warning at every import, about which a user of `flowlane qos` can do nothing.
    warnings.simplefilter("ignore")
    import ovs.poller  # noqa: F401
