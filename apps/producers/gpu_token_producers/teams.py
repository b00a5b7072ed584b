"""Whose the tokens are."""

from collections.abc import Sequence


def team_of(teams: Sequence[str], request: int, gpus: int) -> str | None:
    """The team of a request, counted from 1; None without teams.

    They take turns. A turn is a request on each GPU, so that every GPU serves every team.
    """
    return teams[(request - 1) // gpus % len(teams)] if teams else None
