"""Towards people and programs: REST, events, metrics, the page."""
