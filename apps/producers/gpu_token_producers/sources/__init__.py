"""What users already run, read as events: inference engines, GPU exporters, gateways, Prometheus."""
