"""A lock that belongs to one object, and so is not copied with it."""

import threading

__all__ = ["OwnLock"]


class OwnLock:
    """A re-entrant lock (`threading.RLock`) as a context; copies and pickles of it are new, free locks."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error) -> None:
        self._lock.release()

    def __reduce__(self):
        return OwnLock, ()
