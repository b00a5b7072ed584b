"""How long MongoDB may take."""

from collections.abc import Callable

import pymongo

# MongoDB is given the same limit, so that it cancels queries that nobody waits for any more.
ANSWER_SECONDS = 30.0
# A store that does not answer is noticed sooner than that.
STORE_SECONDS = 3.0


def store_answers(require_store: Callable[[], None]) -> Callable[[], None]:
    """A dependency of routes that need the store; `require_store` raises pymongo's errors without one.

    It has a deadline of its own: with the answer's, the driver would look for a server for that long.
    """

    def require() -> None:
        with pymongo.timeout(STORE_SECONDS):
            require_store()

    return require
