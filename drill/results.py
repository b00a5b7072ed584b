"""The results: build/drill.json, and a table for the screen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from drill.entry import Entry


def write(file: Path, entries: Sequence[Entry]) -> None:
    """The entries as JSON."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps([asdict(entry) for entry in entries], indent=2) + "\n")


def table(entries: Sequence[Entry]) -> Table:
    """A line for each fault: its strikes together, the longest recovery."""
    view = Table(title="Fault drill")
    view.add_column("fault")
    for heading in ("times", "sent", "stored", "dead-lettered", "lost", "duplicates", "recovered s"):
        view.add_column(heading, justify="right")
    for name in dict.fromkeys(entry.fault for entry in entries):
        strikes = [entry for entry in entries if entry.fault == name]
        passed = all(strike.passed for strike in strikes)
        view.add_row(name, *sums(strikes), style="" if passed else "red")
    return view


def sums(strikes: Sequence[Entry]) -> list[str]:
    """Strikes together: times, sent, stored, dead-lettered, lost, duplicates, longest recovery."""
    fields = ("sent", "stored", "dead_lettered", "lost", "duplicates")
    sums = [sum(getattr(strike, field) for strike in strikes) for field in fields]
    longest_seconds = max(strike.recovered_s for strike in strikes)
    return [str(len(strikes)), *(f"{number:,}" for number in sums), f"{longest_seconds:.1f}"]
