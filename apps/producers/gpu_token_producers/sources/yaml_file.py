"""Reads YAML in which no key stands twice."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from gpu_token_contracts.yaml_keys import key_twice

from gpu_token_producers.errors import ProducerError


class _TwiceError(ValueError):
    """A key stands twice in one place."""


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if twice := key_twice(self, node):
            raise _TwiceError(
                f"line {twice.line}: the key {twice.key} stands twice in one place: remove one."
            )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """What a file holds. Raises ProducerError with one sentence, which names the file."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ProducerError(
            f"{path} cannot be read ({error.strerror}): give the path of sources.yml."
        ) from error
    except _TwiceError as error:
        raise ProducerError(f"{path}: {error}") from None
    except RecursionError:
        raise ProducerError(f"{path} is not YAML (it is nested too deeply): correct it.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ProducerError(f"{path} is not YAML ({' '.join(str(error).split())}): correct it.") from error
