"""How many uploads are worked on at once, over all apps."""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """So many may work at once. Who finds no free one is woken when one is, in the order of asking."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: dict[str, Callable[[], None]] = {}

    def try_take(self, name: str, wake: Callable[[], None]) -> bool:
        """Take one if there is one; else be woken, in order of asking, to try again."""
        if self._free > 0 and next(iter(self._waiting), name) == name:
            self._waiting.pop(name, None)
            self._free -= 1
            self._wake_first()  # several may have been given back before the first who waits came to it
            return True
        self._waiting.setdefault(name, wake)
        return False

    def give_up(self, name: str) -> None:
        """Nothing to work on any more."""
        if self._waiting.pop(name, None) is not None:
            self._wake_first()

    def give_back(self) -> None:
        """Return one."""
        self._free += 1
        self._wake_first()

    def _wake_first(self) -> None:
        first = next(iter(self._waiting.values()), None)
        if first is not None and self._free > 0:
            first()
