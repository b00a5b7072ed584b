"""``python -m supply.outdated``: every pin, the newest version, and what could not be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from packaging.specifiers import SpecifierSet

from supply import newest, pins
from supply.newest import NotAsked
from supply.pins import Pin

ROOT = Path(__file__).parents[1]
Source = tuple[list[Pin], Callable[[Sequence[Pin]], dict[str, str]]]


def sources(root: Path) -> list[Source]:
    """The pinned versions, each with the function that finds newer ones."""
    return [
        *(([image], newest.images) for image in pins.images(root)),
        (pins.jars(root), newest.jars),
        (pins.collections(root), newest.collections),
        (pins.providers(root), newest.providers),
        (pins.npm(root), newest.npm),
        (pins.python_apart(root), newest.python_apart),
        (pins.python_lock(root), partial(newest.python_lock, root=root)),
    ]


def compared(source: Source) -> Iterator[tuple[Pin, str]]:
    """Each pin with its verdict."""
    known, ask = source
    try:
        answers = ask(known)
    except NotAsked as reason:
        yield from ((pin, f"not asked: {reason}") for pin in known)
        return
    for pin in known:
        yield pin, "newest" if is_newest(pin, answers[pin.name]) else f"behind: {answers[pin.name]}"


def is_newest(pin: Pin, answer: str) -> bool:
    """Does the pin take the newest version? A provider's pin takes all later ones of its major version."""
    if pin.place.endswith("versions.tf"):
        return answer in SpecifierSet(f"~={pin.version}")
    return answer == pin.version


def main() -> None:
    """Print the table and how many of each there are."""
    with ThreadPoolExecutor() as pool:
        rows = [
            row for rows in pool.map(lambda source: list(compared(source)), sources(ROOT)) for row in rows
        ]
    for pin, verdict in rows:
        print(f"{pin.place:<42} {pin.name:<48} {pin.version:<24} {verdict}")
    count = {
        word: sum(verdict.startswith(word) for _, verdict in rows)
        for word in ("newest", "behind", "not asked")
    }
    print(f"{len(rows)} pins: " + ", ".join(f"{number} {word}" for word, number in count.items()))


if __name__ == "__main__":
    main()
