"""Host tools of ``flowlane qos`` and ``flowlane doctor``, which the controller never loads: QoS rows, NICs, checks."""
