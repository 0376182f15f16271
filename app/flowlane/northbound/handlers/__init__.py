"""Handlers of REST: what each route does with a call."""
