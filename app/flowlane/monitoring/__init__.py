"""Files for Prometheus and Grafana, as data of the package: alert rules, dashboards; see docs/operators/metrics.md."""
