"""OpenFlow as bytes: fields, cookies, Nicira actions, statistics, and the guard. Imports no os-ken."""
