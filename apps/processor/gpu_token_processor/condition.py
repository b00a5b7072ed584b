"""The processor's health, judged from the state of its threads and probes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from gpu_token_processor.monitor import Probe
from gpu_token_processor.pipeline.state import ConsumerState, Phase

# Polls come several times a second, whatever the store does.
_LONGEST_SILENCE_SECONDS = 60.0
# A write that is retried for a moment is not yet a problem.
_LONGEST_WRITE_FAILURE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Condition:
    """Reasons are sentences; no reason means healthy."""

    # Only a restart of the process would help.
    dead_reasons: tuple[str, ...]
    # The processor does not do its work now.
    unready_reasons: tuple[str, ...]


def judge(state: ConsumerState, consumer_alive: bool, probes: Sequence[Probe]) -> Condition:
    """What is wrong now."""
    dead = _dead(state, consumer_alive)
    unready = list(dead)
    if state.phase is not Phase.RUNNING:
        unready.append(f"consumer is {state.phase}: {state.reason or 'it has not polled Kafka yet'}")
    if state.write_failing_since is not None:
        failing_seconds = time.monotonic() - state.write_failing_since
        if failing_seconds > _LONGEST_WRITE_FAILURE_SECONDS:
            unready.append(f"writes have failed for {failing_seconds:.0f} s: {state.write_failure}")
    unready += [problem for probe in probes if (problem := probe.problem)]
    return Condition(tuple(dead), tuple(unready))


def _dead(state: ConsumerState, consumer_alive: bool) -> list[str]:
    if state.phase is Phase.STOPPED:
        return []
    if not consumer_alive:
        return ["the consumer's thread has ended"]
    silence_seconds = seconds_since_poll(state) if state.phase is Phase.RUNNING else None
    if silence_seconds is not None and silence_seconds > _LONGEST_SILENCE_SECONDS:
        return [f"the consumer has not polled Kafka for {silence_seconds:.0f} s"]
    return []


def seconds_since_poll(state: ConsumerState) -> float | None:
    """None before the first."""
    return None if state.last_poll is None else time.monotonic() - state.last_poll
