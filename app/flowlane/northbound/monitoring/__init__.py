"""Metrics of the controller, as Prometheus reads them."""
