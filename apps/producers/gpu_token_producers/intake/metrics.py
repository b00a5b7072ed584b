"""What the intake counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter


class IntakeMetrics:
    """Labels have few values: names of sources, outcomes, reasons."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "gpu_token_intake_requests",
            "Requests, by source and by what became of them.",
            ["source", "outcome"],
            registry=registry,
        )
        self.events = Counter(
            "gpu_token_intake_events", "Events that Kafka acknowledged.", ["source"], registry=registry
        )
        self.ignored = Counter(
            "gpu_token_intake_ignored",
            "What was read and is no event, by reason; `refused` is what could not be read.",
            ["source", "reason"],
            registry=registry,
        )
