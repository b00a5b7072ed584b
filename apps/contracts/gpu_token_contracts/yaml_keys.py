"""YAML's own rule, which PyYAML does not apply: a key stands once in a mapping."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    # Whoever reads YAML has it; the contract does without.
    from yaml.constructor import BaseConstructor
    from yaml.nodes import MappingNode


class KeyTwice(NamedTuple):
    """A key and the line, counted from 1, on which it stands again."""

    key: Any
    line: int


def key_twice(loader: "BaseConstructor", node: "MappingNode") -> KeyTwice | None:
    """The first key that stands in the mapping before it; None where all differ.

    A sequence that is tagged as a mapping comes here too; it has no keys.
    """
    seen: set[Hashable] = set()
    for key_node, _ in node.value if node.id == "mapping" else ():
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, Hashable) and key in seen:
            return KeyTwice(key, key_node.start_mark.line + 1)
        seen.add(key if isinstance(key, Hashable) else None)
    return None
