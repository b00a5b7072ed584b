"""Reading fleet.yml: ``load`` gives a valid fleet or raises every error as a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from fleet import rules, sentences
from fleet.shape import DeadLetters, Fleet, Flow, Topic, machine_name

__all__ = ["DeadLetters", "Fleet", "FleetError", "Flow", "Topic", "load", "machine_name"]


class FleetError(Exception):
    """fleet.yml is wrong; ``errors`` holds a sentence for each fault."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's own rule, which PyYAML does not apply: a key stands once in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise FleetError(
                    [f"line {key_node.start_mark.line + 1} has a key that is no text: rename it."]
                )
            if key in seen:
                raise FleetError(
                    [f"{key} stands twice in one place (line {key_node.start_mark.line + 1}): remove one."]
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Fleet:
    """The fleet described in the file ``path``."""
    return parse(_read(path))


def parse(data: Any) -> Fleet:
    """The fleet described by ``data``, the parsed YAML."""
    try:
        fleet = Fleet.model_validate(data)
    except ValidationError as error:
        raise FleetError(sentences.from_validation(error)) from error
    if errors := list(rules.breaches(fleet)):
        raise FleetError(errors)
    return fleet


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FleetError([f"byte {error.start} is not UTF-8: save the file as UTF-8."]) from error
    except OSError as error:
        raise FleetError(
            [f"{path} cannot be read ({error.strerror}): give the path of fleet.yml."]
        ) from error
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FleetError([f"line {line} is not YAML ({error.problem}): correct it."]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FleetError([f"the file is not YAML ({' '.join(str(error).split())}): correct it."]) from error
