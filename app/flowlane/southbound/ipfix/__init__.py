"""IPFIX (RFC 7011): samples of packets that Open vSwitch exports, received and read.

Open vSwitch exports what the ``sample`` action picks to the collectors of a set, which rows of its database describe
(``flowlane attach --sampling`` makes them). With an empty cache each sample is a datagram of its own, sent at once.
"""
