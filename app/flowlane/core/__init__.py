"""Pure core: events and the time in, effects out. It has no I/O, no clock, no thread, no logger."""
