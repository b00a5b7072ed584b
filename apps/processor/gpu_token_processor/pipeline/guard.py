"""Stops the processor when so much is refused that the fault is probably not in the events."""

from collections import deque
from collections.abc import Collection

from gpu_token_contracts import Reason

from gpu_token_processor.pipeline.batch import Batch

_SOUND = (Reason.CONFLICT, Reason.TOO_LATE)
_REMEDY = "mend the producer or this processor's version, then restart it; nothing was skipped."


class GuardTripped(Exception):
    """More refusals than the settings allow; nothing of the batch was dead-lettered or committed."""


class DeadLetterGuard:
    """Counts refusals for each topic, in a row and as a share of the latest events.

    By topic, since one producer's bad deployment must not hide behind another's good events.
    """

    def __init__(
        self, topics: Collection[str], max_consecutive: int, max_share: float, window_events: int
    ) -> None:
        self._tallies = {topic: _Tally(window_events) for topic in topics}
        self._max_consecutive = max_consecutive
        self._max_share = max_share

    def check(self, batch: Batch) -> None:
        """Count the batch; raises GuardTripped when it exceeds a limit."""
        for topic, outcomes in _outcomes(batch).items():
            tally = self._tallies[topic]
            for refused, count in outcomes:
                tally.add(refused, count)
                self._judge(topic, tally)

    def _judge(self, topic: str, tally: "_Tally") -> None:
        if tally.consecutive > self._max_consecutive:
            raise GuardTripped(
                f"More than DLQ_MAX_CONSECUTIVE={self._max_consecutive} events in a row of {topic} "
                f"were refused: {_REMEDY}"
            )
        if tally.full and tally.share > self._max_share:
            raise GuardTripped(
                f"{tally.share:.0%} of the latest {tally.events} events of {topic} were refused, "
                f"more than DLQ_MAX_SHARE={self._max_share:g} allows: "
                f"{_REMEDY}"
            )


def _outcomes(batch: Batch) -> dict[str, list[tuple[bool, int]]]:
    """For each topic, runs of (refused, count) in the order of arrival within each partition.

    Conflicts and late events are left out. Such an event is sound: only its id is taken, or its hour is
    closed, and nothing that is mended later changes that. A file that was changed and is replayed, or that
    is old, would stop the processor at every start.
    """
    refusals = [refusal for refusal in batch.refusals if refusal.reason not in _SOUND]
    if not refusals:
        accepted: dict[str, list[tuple[bool, int]]] = {}
        for writes in batch.writes.values():
            if writes.documents:
                accepted[writes.documents[0]["source"]["topic"]] = [(False, len(writes.documents))]
        return accepted
    marked = [(refusal.record, True) for refusal in refusals]
    for writes in batch.writes.values():
        marked += [(record, False) for record in writes.records]
    marked.sort(key=lambda entry: (entry[0].topic(), entry[0].partition(), entry[0].offset()))
    runs: dict[str, list[tuple[bool, int]]] = {}
    for record, refused in marked:
        of_topic = runs.setdefault(str(record.topic()), [])
        if of_topic and of_topic[-1][0] == refused:
            of_topic[-1] = (refused, of_topic[-1][1] + 1)
        else:
            of_topic.append((refused, 1))
    return runs


class _Tally:
    """Refusals among the latest events of one topic."""

    def __init__(self, window_events: int) -> None:
        self._window_events = window_events
        self._runs: deque[tuple[bool, int]] = deque()
        self._refused = 0
        self.events = 0
        self.consecutive = 0

    @property
    def full(self) -> bool:
        return self.events >= self._window_events

    @property
    def share(self) -> float:
        return self._refused / self.events

    def add(self, refused: bool, count: int) -> None:
        self.consecutive = self.consecutive + count if refused else 0
        self._runs.append((refused, count))
        self.events += count
        self._refused += count * refused
        while self.events > self._window_events:
            oldest_refused, oldest = self._runs.popleft()
            surplus = min(oldest, self.events - self._window_events)
            self.events -= surplus
            self._refused -= surplus * oldest_refused
            if oldest > surplus:
                self._runs.appendleft((oldest_refused, oldest - surplus))
