"""Runs the command `collect` as a user does, and reads what it says."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import yaml
from confluent_kafka import Message
from gpu_token_contracts import TokenUsage, decode_token_usage

# Of the contract; one event has at most these amounts.
AMOUNTS = ("prompt_tokens", "completion_tokens", "cached_prompt_tokens", "requests")


class Collector:
    """The collector of a folder: sources.yml, its state and what it says."""

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        topics: Sequence[str],
        sources: Sequence[Mapping[str, Any]],
        *arguments: str,
        intake: Mapping[str, Any] | None = None,
        **environment: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.state = folder / "state"
        self._log = folder / "collect.log"
        content = {"sources": list(sources)} | ({"intake": dict(intake)} if intake else {})
        (folder / "sources.yml").write_text(yaml.safe_dump(content))
        self._arguments = arguments
        self._environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP": bootstrap,
            "TOPIC_METRIC": topics[0],
            "TOPIC_TOKEN": topics[1],
            "HEALTH_FILE": str(folder / "health.json"),
            "COLLECT_STATE_DIR": str(self.state),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, or start it again."""
        command = [sys.executable, "-m", "gpu_token_producers", "collect", str(self.folder / "sources.yml")]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self._arguments], env=self._environment, stdout=log, stderr=log
            )

    def stop(self, within_seconds: float = 15) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(within_seconds)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def said(self) -> str:
        """All that it has printed so far."""
        return self._log.read_text()

    def lines(self, source: str) -> list[str]:
        """What it has said of one source."""
        return [line for line in self.said.splitlines() if f" {source} (" in line]

    def status(self, source: str) -> dict[str, Any]:
        """The source in status.json; empty while there is none."""
        try:
            content = json.loads((self.state / "status.json").read_bytes())
        except FileNotFoundError:
            return {}
        return next((each for each in content["sources"] if each["name"] == source), {})


def usages(messages: Sequence[Message]) -> dict[str, TokenUsage]:
    """The events by id. Fails where one id has two contents."""
    contents: dict[str, bytes] = {}
    for message in messages:
        value = message.value()
        assert value is not None
        event_id = str(decode_token_usage(value).event_id)
        first = contents.setdefault(event_id, value)
        assert first == value, f"one id, two contents: {first!r} and {value!r}"
    return {event_id: decode_token_usage(value) for event_id, value in contents.items()}


def sums(events: Mapping[str, TokenUsage]) -> dict[str, Counter[str]]:
    """What the events add up to, by model."""
    added: dict[str, Counter[str]] = {}
    for usage in events.values():
        for amount in AMOUNTS:
            added.setdefault(usage.model, Counter())[amount] += getattr(usage, amount) or 0
    return added


def assert_tiled(events: Mapping[str, TokenUsage]) -> None:
    """The intervals of a model at an endpoint follow each other without overlap."""
    spans: dict[tuple[str, str | None], list[tuple[float, float]]] = {}
    for usage in events.values():
        assert usage.interval_seconds is not None
        end = usage.ts.timestamp()
        spans.setdefault((usage.model, usage.endpoint), []).append((end - usage.interval_seconds, end))
    for found in spans.values():
        found.sort()
        for (_, end), (begin, _) in pairwise(found):
            assert begin >= end - 1e-4, f"overlap at {time.ctime(begin)}"
