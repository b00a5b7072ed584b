"""The usage objects of OpenAI's and Anthropic's APIs, brought to one convention.

At OpenAI cached tokens are a part of the prompt's, and reasoning tokens a part of the completion's. At
Anthropic `input_tokens`, `cache_read_input_tokens` and `cache_creation_input_tokens` have nothing in common:
the prompt is their sum. Events have OpenAI's convention; the tag `usage_convention` says which was read.
"""

from typing import Annotated, NamedTuple

import msgspec
from gpu_token_contracts import bounds
from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0, le=bounds.MAX_TOKENS)]


class PromptDetails(Struct, frozen=True):
    """`prompt_tokens_details`, `input_tokens_details`."""

    cached_tokens: Count | None = None


class CompletionDetails(Struct, frozen=True):
    """`completion_tokens_details`, `output_tokens_details`."""

    reasoning_tokens: Count | None = None


class Usage(Struct, frozen=True):
    """Chat completions have prompt and completion, responses and Anthropic's messages input and output."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    input_tokens_details: PromptDetails | None = None
    output_tokens_details: CompletionDetails | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None


class Tokens(NamedTuple):
    """In the convention of the events; None: not said."""

    prompt: int
    cached: int | None
    completion: int
    reasoning: int | None
    convention: str


def tokens(usage: Usage, *, of_anthropic: bool) -> Tokens:
    """The tokens of a usage object. Raises ValueError for one without any count.

    `of_anthropic`: it comes from a body of Anthropic's, which decides where there is no prompt_tokens.
    """
    if usage.prompt_tokens is not None or usage.completion_tokens is not None:
        # Gateways that speak both put Anthropic's name for cached tokens beside a prompt that includes them.
        return _openai(
            usage.prompt_tokens,
            usage.completion_tokens,
            _cached(usage.prompt_tokens_details, usage.cache_read_input_tokens),
            usage.completion_tokens_details,
        )
    if usage.input_tokens is None and usage.output_tokens is None:
        raise ValueError("Its usage has neither prompt_tokens and completion_tokens nor input_tokens.")
    if of_anthropic or _is_anthropic(usage):
        read = usage.cache_read_input_tokens
        prompt = (usage.input_tokens or 0) + (read or 0) + (usage.cache_creation_input_tokens or 0)
        return Tokens(prompt, read, usage.output_tokens or 0, None, "anthropic")
    return _openai(
        usage.input_tokens,
        usage.output_tokens,
        _cached(usage.input_tokens_details, None),
        usage.output_tokens_details,
    )


def _is_anthropic(usage: Usage) -> bool:
    """By its counts alone. Some libraries add a total, which OpenAI always has and Anthropic never."""
    read, created = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    if (read is None and created is None) or usage.input_tokens_details is not None:
        return False
    given, output = usage.input_tokens or 0, usage.output_tokens or 0
    cache = (read or 0) + (created or 0)
    # At OpenAI the cache's are among those given.
    return (
        usage.total_tokens is None
        or cache > given
        or (cache > 0 and usage.total_tokens == given + cache + output)
    )


def _openai(
    prompt: int | None, completion: int | None, cached: int | None, details: CompletionDetails | None
) -> Tokens:
    reasoning = details.reasoning_tokens if details is not None else None
    return Tokens(prompt or 0, cached, completion or 0, reasoning, "openai")


def _cached(details: PromptDetails | None, otherwise: int | None) -> int | None:
    return details.cached_tokens if details is not None and details.cached_tokens is not None else otherwise


# Not strict: some libraries write a count as 100.0, or as text.
decoder = msgspec.json.Decoder(Usage, strict=False)
