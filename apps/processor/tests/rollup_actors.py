"""Actors that take turns at each call to the store, and that can be killed before or after any of them."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

_WAIT_SECONDS = 30


class Killed(BaseException):
    """The process is gone."""


class Actor:
    """Runs work in a thread that stands still before each call to the store until it is told to go on."""

    def __init__(self, work: Callable[["Actor"], None]) -> None:
        self._may_go = threading.Semaphore(0)
        self._stands = threading.Semaphore(0)
        self._is_killed = False
        self.is_done = False
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        self._wait()

    def go(self) -> None:
        """Make the call, and stand before the next."""
        self._may_go.release()
        self._wait()

    def kill(self) -> None:
        """Never make the call."""
        if self.is_done:
            return
        self._is_killed = True
        self.go()
        self._thread.join(_WAIT_SECONDS)

    def over(self, store: Any) -> Any:
        """The store, whose methods wait for their turn."""
        return _Turns(self, store)

    def stand(self) -> None:
        """Wait for the turn."""
        self._stands.release()
        self._may_go.acquire()
        if self._is_killed:
            raise Killed

    def _run(self, work: Callable[["Actor"], None]) -> None:
        try:
            work(self)
        except Killed:
            pass
        except BaseException as error:
            self.failure = error
        self.is_done = True
        self._stands.release()

    def _wait(self) -> None:
        assert self._stands.acquire(timeout=_WAIT_SECONDS), "an actor hangs"
        if self.failure is not None:
            raise self.failure


class _Turns:
    def __init__(self, actor: Actor, store: Any) -> None:
        self._actor, self._store = actor, store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name == "days":
            return _Turns(self._actor, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._actor.stand()
            found = method(*args, **kwargs)
            # What is read is read at once.
            return list(found) if isinstance(found, Iterator) else found

        return call
