"""Which brokers should hold which partition: the module kafka_replicas without Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


# The brokers that hold each partition, the one that should lead first.
Placement = Mapping[Partition, Sequence[int]]


def place(placement: Placement, racks: Mapping[int, str], copies: int) -> dict[Partition, tuple[int, ...]]:
    """Place each partition on `copies` brokers of `racks`, and leave it where it is as far as that goes.

    Copies of a partition are in different racks as far as there are so many. What a broker held that is not
    in `racks` goes to those that hold least. A broker that holds nothing gets its share.
    """
    copies = min(copies, len(racks))
    new = {
        partition: [node for node in nodes if node in racks][:copies]
        for partition, nodes in placement.items()
    }
    empty = set(racks) - {node for nodes in new.values() for node in nodes}
    held = _held(new, racks)
    for nodes in new.values():
        while len(nodes) < copies:
            nodes.append(_next(nodes, racks, held))
            held[nodes[-1]] += 1
    if empty:
        # Until no broker holds two more than another, or none of the rest may move.
        while _move_one(new, racks, held):
            pass
    if {partition: list(nodes) for partition, nodes in placement.items()} != new:
        _even_out_leaders(new, racks)
    return {partition: tuple(nodes) for partition, nodes in new.items()}


def _held(placement: Placement, racks: Mapping[int, str]) -> Counter[int]:
    """How many copies each broker holds."""
    held = Counter(dict.fromkeys(racks, 0))
    held.update(node for nodes in placement.values() for node in nodes)
    return held


def _next(nodes: Sequence[int], racks: Mapping[int, str], held: Mapping[int, int]) -> int:
    """The broker for one more copy: of a rack that has none, and of those the one that holds least."""
    used = Counter(racks[node] for node in nodes)
    others = [node for node in racks if node not in nodes]
    return min(others, key=lambda node: (used[racks[node]], held[node], node))


def _move_one(placement: dict[Partition, list[int]], racks: Mapping[int, str], held: Counter[int]) -> bool:
    """Move one copy from who holds more to who holds less; false where there is none to move."""
    for full, room in _pairs(held, racks):
        for _, nodes in sorted(placement.items()):
            if full in nodes and room not in nodes and _may_move(nodes, full, room, racks):
                nodes[nodes.index(full)] = room
                held[full] -= 1
                held[room] += 1
                return True
    return False


def _may_move(nodes: Sequence[int], full: int, room: int, racks: Mapping[int, str]) -> bool:
    """Whether the copies are in as many racks as before."""
    others = {racks[node] for node in nodes if node != full}
    return racks[room] not in others or racks[full] in others


def _pairs(held: Mapping[int, int], racks: Mapping[int, str]) -> list[tuple[int, int]]:
    """Brokers that hold too much and too little, the furthest apart first."""
    pairs = [(full, room) for full in racks for room in racks if held[full] - held[room] > 1]
    return sorted(pairs, key=lambda pair: (held[pair[1]] - held[pair[0]], pair))


def _even_out_leaders(placement: dict[Partition, list[int]], racks: Mapping[int, str]) -> None:
    """Let another copy lead where a broker leads two more partitions of a topic than another."""
    topics: dict[str, list[Partition]] = {}
    for partition in sorted(placement):
        topics.setdefault(partition.topic, []).append(partition)
    led = Counter(dict.fromkeys(racks, 0))
    for partitions in topics.values():
        of_topic = Counter(dict.fromkeys(racks, 0))
        of_topic.update(placement[partition][0] for partition in partitions)
        for partition in partitions * len(racks):
            nodes = placement[partition]
            least = min(nodes, key=lambda node: (of_topic[node], led[node], node))
            if of_topic[nodes[0]] - of_topic[least] > 1:
                of_topic[nodes[0]] -= 1
                of_topic[least] += 1
                nodes.remove(least)
                nodes.insert(0, least)
        led.update(of_topic)
