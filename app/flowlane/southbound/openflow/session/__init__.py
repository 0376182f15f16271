"""One connected device: handshake, programming, encoding and decoding, counters, requests."""
