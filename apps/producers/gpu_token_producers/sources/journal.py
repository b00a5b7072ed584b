"""What must survive a restart: the last look at each target, and the events that Kafka has not acknowledged.

An event is written here, together with the look that it came from, before it goes to Kafka. So a
crash at any point repeats events, under the ids that they had, and loses none.
"""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

import msgspec
from gpu_token_contracts import (
    GpuMetric,
    InvalidEvent,
    TokenUsage,
    decode_gpu_metric,
    decode_token_usage,
    encode,
)

from gpu_token_producers.delivery import Busy, Delivery
from gpu_token_producers.errors import ProducerError
from gpu_token_producers.files import write_atomically
from gpu_token_producers.ids import digest
from gpu_token_producers.sources.counters import Look

# Of one target. An hour without Kafka is 1,920 readings of eight GPUs.
MAX_PENDING: Final = 20_000
# A file's name has at most 255 bytes, and a temporary one is longer than this by 11.
_MAX_STEM_BYTES: Final = 180
SUFFIX: Final = ".journal.json"
_SET_ASIDE_SUFFIX: Final = ".refused.jsonl"


class Pending(msgspec.Struct, frozen=True):
    """An event on its way, as it goes over the wire."""

    kind: Literal["metric", "usage"]
    event: msgspec.Raw


class State(msgspec.Struct, frozen=True):
    """One target's file.

    `began` and `last` are the first look and the last one. `past_began` and `past` are those of a
    Prometheus server's history, while it is read up to `began`.
    """

    target: str
    last: Look | None = None
    began: Look | None = None
    past: Look | None = None
    past_began: Look | None = None
    pending: tuple[Pending, ...] = ()


class Journal:
    """The state of one target, on disk. May be used from several threads.

    The file is read when it is first needed, so that a broken one stops its own source only.
    """

    def __init__(self, directory: Path, target: str, delivery: Delivery) -> None:
        stem = quote(target, safe="")
        if len(stem) > _MAX_STEM_BYTES:
            stem = f"{stem[: _MAX_STEM_BYTES - 17]}-{digest(target)}"
        self._path = directory / f"{stem}{SUFFIX}"
        self._set_aside_path = directory / f"{stem}{_SET_ASIDE_SUFFIX}"
        self._target = target
        self._delivery = delivery
        # Held from reading the last look to recording the next, by whoever may not be the only reader.
        self.lock = threading.RLock()
        self._loaded: State | None = None
        self._waiting: list[_Waiting] = []
        self._refused: str | None = None
        self._notices: list[str] = []

    @property
    def state(self) -> State:
        """All of it. Raises ProducerError where the file cannot be read."""
        with self.lock:
            if self._loaded is None:
                self._loaded = self._load()
                self._waiting = [_Waiting(pending) for pending in self._loaded.pending]
            return self._loaded

    @property
    def last(self) -> Look | None:
        """The last look at the target, from which the next interval begins."""
        return self.state.last

    @property
    def began(self) -> Look | None:
        """The first look; what is older is for a Prometheus server to say."""
        return self.state.began

    @property
    def full(self) -> bool:
        """Whether so much waits for Kafka that nothing more should be read."""
        return len(self._waiting) >= MAX_PENDING

    @property
    def refused(self) -> str | None:
        """Why Kafka has refused one of the events that wait, if it did when it was last asked."""
        return self._refused

    def take_notices(self) -> list[str]:
        """What has happened to events since this was last asked, and is to be told."""
        with self.lock:
            taken, self._notices = self._notices, []
            return taken

    def record(
        self,
        events: Sequence[GpuMetric | TokenUsage],
        *,
        last: Look | None = None,
        began: Look | None = None,
    ) -> None:
        """Keep the events and the looks, in one step, and then send the events. Raises ProducerError."""
        self.update(events, **{name: seen for name, seen in (("last", last), ("began", began)) if seen})

    def update(self, events: Sequence[GpuMetric | TokenUsage], **looks: Look | None) -> None:
        """As `record`, with looks by their names in State; None removes one.

        If the file cannot be written, all is as before: nothing was sent, and the next look begins
        where this one did.
        """
        with self.lock:
            state = msgspec.structs.replace(self.state, **looks)
            self._forget_delivered()
            waiting = [*self._waiting, *(_Waiting(_pending(event)) for event in events)]
            self._write(state, waiting)
            self._send()

    def resend(self) -> None:
        """Send what still waits, for instance after a restart, or where the buffer was full."""
        with self.lock:
            self.settle()
            self._send()

    def settle(self) -> None:
        """Forget what Kafka has by now, on disk too. Raises ProducerError."""
        with self.lock:
            state, before = self.state, len(self._waiting)
            self._forget_delivered()
            if len(self._waiting) < before:
                self._write(state, self._waiting)

    def _send(self) -> None:
        bad: list[_Waiting] = []
        reason = ""
        for waiting in self._waiting:
            if waiting.future is None:
                try:
                    waiting.future = self._delivery.submit([_event(waiting.pending)])
                except Busy:
                    break
                except InvalidEvent as error:
                    bad.append(waiting)
                    reason = str(error)
        if bad:
            self._set_aside(bad, reason)

    def _set_aside(self, bad: "list[_Waiting]", reason: str) -> None:
        """Keep events that the contract refuses in a file of their own, so that the others go on."""
        try:
            with self._set_aside_path.open("ab") as file:
                file.writelines(msgspec.json.encode(each.pending) + b"\n" for each in bad)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ProducerError(
                f"is not asked, since {self._set_aside_path} cannot be written ({error.strerror}): make room "
                "or mend the disk"
            ) from error
        gone = set(bad)
        self._write(self.state, [each for each in self._waiting if each not in gone])
        self._notices.append(
            f"{len(bad)} of its events cannot be sent and stand in {self._set_aside_path} now. "
            f"{reason.rstrip('.')}"
        )

    def _forget_delivered(self) -> None:
        """Drop the events that Kafka has; one that it refused is sent again."""
        left: list[_Waiting] = []
        self._refused = None
        for waiting in self._waiting:
            if waiting.future is not None and waiting.future.done():
                error = waiting.future.exception()
                if error is None:
                    continue
                self._refused = str(error)
                waiting.future = None
            left.append(waiting)
        self._waiting = left

    def _load(self) -> State:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=State)
        except FileNotFoundError:
            return State(self._target)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ProducerError(
                f"has the file {self._path} of how far it was read, which cannot be read ({error}): "
                "restore it, or delete it to count from now on"
            ) from error

    def _write(self, state: State, waiting: "list[_Waiting]") -> None:
        state = msgspec.structs.replace(state, pending=tuple(each.pending for each in waiting))
        try:
            write_atomically(self._path, msgspec.json.encode(state), durably=True)
        except OSError as error:
            raise ProducerError(
                f"is not asked, since {self._path} cannot be written ({error.strerror}): make room or mend "
                "the disk"
            ) from error
        self._loaded, self._waiting = state, waiting


class _Waiting:
    """An event that Kafka does not have yet; `future` is set once it was handed over."""

    __slots__ = ("future", "pending")

    def __init__(self, pending: Pending) -> None:
        self.pending = pending
        self.future: Future[None] | None = None


def _pending(event: GpuMetric | TokenUsage) -> Pending:
    return Pending("metric" if isinstance(event, GpuMetric) else "usage", msgspec.Raw(encode(event)))


def _event(pending: Pending) -> GpuMetric | TokenUsage:
    decode = decode_gpu_metric if pending.kind == "metric" else decode_token_usage
    return decode(bytes(pending.event))
