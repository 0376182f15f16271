"""OpenFlow as bytes: match fields, cookies, Nicira actions, statistics, layouts of messages, and the guard.

No module here imports os-ken or another folder of ``southbound/openflow``.
"""
