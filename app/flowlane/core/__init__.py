"""The pure core: facts and the time in, decisions out. No I/O, clock, thread or logger in here."""
