"""What an engine writes down of one life, and how the drill reads it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

_PROMPT = "vllm:prompt_tokens_total"
_COMPLETION = "vllm:generation_tokens_total"
_BY_SOURCE = "vllm:prompt_tokens_by_source_total"
_REQUESTS = "vllm:request_success_total"


class Amounts(NamedTuple):
    """Tokens of prompts, of answers, of prompts from the cache (a part of the first), and requests."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    requests: int = 0

    def plus(self, other: Amounts) -> Amounts:
        """Both together."""
        return Amounts(*(one + another for one, another in zip(self, other, strict=True)))

    def minus(self, other: Amounts) -> Amounts:
        """The difference, of which parts may be below 0."""
        return Amounts(*(one - another for one, another in zip(self, other, strict=True)))

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return self.prompt + self.completion


class Look(NamedTuple):
    """What the counters showed. `at_ms` is when they were read, in milliseconds since 1970."""

    at_ms: int
    amounts: Amounts


@dataclass
class Life:
    """An engine from its start to its end."""

    # In order of time; only those whose answer was sent as a whole.
    looks: list[Look] = field(default_factory=list)
    made: Amounts = field(default_factory=lambda: Amounts())
    listening: bool = False
    # An answer is being sent.
    answering: bool = False

    @property
    def unseen(self) -> Amounts:
        """What it made and nobody has seen."""
        return self.made.minus(self.looks[-1].amounts if self.looks else Amounts())


class Record:
    """Appends to a file, each line in one system call, so that a killed engine leaves whole lines."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def listening(self) -> None:
        """The port is open."""
        self._write({"listening": True})

    def serving(self, amounts: Amounts) -> None:
        """A request is about to be counted."""
        self._write({"serving": amounts})

    def showing(self, number: int, amounts: Amounts) -> None:
        """An answer with these amounts is about to be sent."""
        self._write({"showing": number, "at_ms": time.time_ns() // 1_000_000, "amounts": amounts})

    def shown(self, number: int, whole: bool) -> None:
        """That answer was sent, or only a part of it."""
        self._write({"shown": number, "whole": whole})

    def _write(self, note: dict[str, object]) -> None:
        os.write(self._file, json.dumps(note).encode() + b"\n")


def read(lines: Iterable[str]) -> Life:
    """A life as far as it is written down."""
    life = Life()
    under_way: dict[int, Look] = {}
    for line in lines:
        note = json.loads(line)
        if "listening" in note:
            life.listening = True
        elif "serving" in note:
            life.made = life.made.plus(Amounts(*note["serving"]))
        elif "showing" in note:
            under_way[note["showing"]] = Look(note["at_ms"], Amounts(*note["amounts"]))
        else:
            look = under_way.pop(note["shown"])
            if note["whole"]:
                life.looks.append(look)
    life.looks.sort()
    life.answering = bool(under_way)
    return life


def amounts_shown(exposition: str) -> Amounts:
    """What an engine's /metrics says."""
    found = {_PROMPT: 0, _COMPLETION: 0, _BY_SOURCE: 0, _REQUESTS: 0}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name in found and sample.labels.get("source") != "local_compute":
                found[sample.name] += int(sample.value)
    return Amounts(found[_PROMPT], found[_COMPLETION], found[_BY_SOURCE], found[_REQUESTS])
