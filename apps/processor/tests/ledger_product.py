"""The product asked as the oracle is, and where the two differ."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from gpu_token_processor.ledger.answer import encode_answer
from gpu_token_processor.ledger.book import Book
from gpu_token_processor.ledger.catalog_file import parse_catalog
from gpu_token_processor.ledger.exact import exact, stored_us
from gpu_token_processor.ledger.offline import Source, answer
from gpu_token_processor.ledger.question import Question
from ledger_cases import Case, Maker
from ledger_oracle import oracle

# LEDGER_CASES: how many cases both sides are asked.
CASES = int(os.environ.get("LEDGER_CASES", "5000"))
PARTS = 8


def product(case: Case, files: Sequence[list[dict[str, Any]]] | None = None) -> dict[str, Any]:
    """The answer as `gpu-token-cost --format json` prints it; the events may lie in several files."""
    question = case.question
    with TemporaryDirectory() as folder:
        sources = []
        for number, events in enumerate(files if files is not None else [case.events]):
            sources.append(Source(f"{number}.jsonl", Path(folder, str(number))))
            sources[-1].path.write_bytes(lines(events))
        found = answer(
            sources,
            Book(parse_catalog(case.catalog), exact(question["default_price"])),
            Question(
                start_us=moment_us(question["start"]),
                end_us=moment_us(question["end"]),
                gap_us=round(question["gap_seconds"] * 1_000_000),
                step=question["step"],
                group_by=tuple(question["group_by"]),
                basis=question["basis"],
            ),
        )
    answered: dict[str, Any] = json.loads(encode_answer(found), parse_float=Decimal)
    return answered


def lines(events: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def moment_us(text: str | None) -> int | None:
    return None if text is None else stored_us(datetime.fromisoformat(text))


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where an answer has not what the oracle has. It may have more."""
    match expected:
        case dict() if isinstance(found, dict):
            return [
                line
                for name, value in expected.items()
                for line in differences(value, found.get(name, "nothing"), f"{path}.{name}")
            ]
        case list() if isinstance(found, list):
            keys = [[(row["key"], row["start"]) for row in rows] for rows in (expected, found)]
            if len(expected) != len(found):
                return [f"{path}: rows {keys[1]} instead of {keys[0]}"]
            pairs = enumerate(zip(expected, found, strict=True))
            return [line for number, pair in pairs for line in differences(*pair, f"{path}[{number}]")]
        case Decimal() if isinstance(found, int | Decimal):
            # The product divides floats where the oracle has fifty digits.
            near = path.endswith("per_million_tokens_usd") and math.isclose(expected, found, rel_tol=1e-12)
            return [] if near or float(expected) == float(found) else [f"{path}: {found}, not {expected}"]
    if path.endswith((".start", ".end")) and isinstance(found, str):
        expected, found = datetime.fromisoformat(expected), datetime.fromisoformat(found)
    return [] if expected == found else [f"{path}: {found!r}, not {expected!r}"]


def compare(seeds: Iterable[int]) -> None:
    """Fails at the first case that is answered otherwise than the oracle answers it."""
    for seed in seeds:
        case = Maker(seed).case()
        wrong = differences(oracle(case.events, case.catalog, **case.question), product(case))
        if wrong:
            told = [
                f"seed {seed}",
                *wrong[:10],
                lines(case.events).decode(),
                repr(case.catalog),
                repr(case.question),
            ]
            pytest.fail("\n".join(told))
