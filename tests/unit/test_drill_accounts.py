"""The books of a drill see what is missing, what is there twice and what is in the wrong place."""

from __future__ import annotations

import pytest

from drill.accounts import Balance, Found, Sent, balance, together

SENT = Sent(events={1, 2, 3}, poison={4, 5})
ALL = "event 1|event 2|event 3|poison 4|poison 5"


def test_the_lines_of_the_load_are_kept_by_kind() -> None:
    sent = Sent()
    for line in ("event 1\n", "poison 2\n", "event 3\n"):
        sent.take(line)
    assert sent == Sent(events={1, 3}, poison={2})
    assert together([sent, SENT]) == Sent(events={1, 2, 3}, poison={2, 4, 5})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ALL, Balance(5, 3, 2, lost=0, duplicates=0)),
        (ALL + "|event 9|poison 8", Balance(5, 3, 2, lost=0, duplicates=0)),
        (ALL.replace("event 2|", ""), Balance(5, 2, 2, lost=1, duplicates=0)),
        (ALL.replace("|poison 5", ""), Balance(5, 3, 1, lost=1, duplicates=0)),
        (ALL + "|event 2|event 2", Balance(5, 3, 2, lost=0, duplicates=2)),
        (ALL + "|poison 4", Balance(5, 3, 2, lost=0, duplicates=1)),
        # A good event that is refused, poison that is stored: lost where they belong.
        (ALL.replace("event 1", "poison 1"), Balance(5, 2, 2, lost=1, duplicates=1)),
        (ALL.replace("poison 4", "event 4"), Balance(5, 3, 1, lost=1, duplicates=1)),
        ("", Balance(5, 0, 0, lost=5, duplicates=0)),
    ],
)
def test_balance(found: str, expected: Balance) -> None:
    books = balance(SENT, Found.read(found.split("|") if found else []))
    assert books == expected
    assert books.sent == books.stored + books.dead_lettered + books.lost
