"""Every patch of os-ken: the listener, coalesced reading, lazy parsing, repaired parsers.

:func:`~flowlane.southbound.openflow.osken.listener.install` applies them all. They hold for every os-ken app
in the process, and for an app they change no result.
"""
