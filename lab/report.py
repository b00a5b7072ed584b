"""What the lab prints while it works."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape

TABLE_WIDTH = 110
"""Characters. A narrower terminal wraps lines instead of cutting names."""


def table_console() -> Console:
    """A console that is wide enough for tables."""
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    return console


class Report:
    """Prints a line for each step, and counts the steps that changed something."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._errors = Console(highlight=False, stderr=True)
        self._begun = time.monotonic()
        self._changes = 0

    def changed(self, text: str) -> None:
        """A step that changed something."""
        self._changes += 1
        self._console.print(f"[green]+[/] {escape(text)}", soft_wrap=True)

    def note(self, text: str) -> None:
        """Information about something that changed nothing."""
        self._console.print(f"[dim]·[/] {escape(text)}", soft_wrap=True)

    def outcome(self, text: str) -> None:
        """The last line: the outcome, how many changes, how long it took."""
        plural = "" if self._changes == 1 else "s"
        changes = f"{self._changes} change{plural}" if self._changes else "nothing to change"
        self.note(f"{text}: {changes}, {time.monotonic() - self._begun:.1f} s")

    def failed(self, sentence: str) -> None:
        """The sentence that ends the command."""
        self._errors.print(f"[red]✗[/] {escape(sentence)}", soft_wrap=True)
