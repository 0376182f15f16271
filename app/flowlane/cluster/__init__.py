"""Several controllers on one OVSDB database of Flowlane's own: rows, sessions, members and what operators ordered.

Who leads which device is decided in :mod:`flowlane.core.leadership`; here is what reads and writes the database.
"""
