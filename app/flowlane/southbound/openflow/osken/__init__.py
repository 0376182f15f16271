"""Every patch of os-ken, in one place: the listener, coalesced reading, lazy parts, repairs."""
