"""Visitors of the demo's app: each asks for the page again and again, over a new connection every time."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType

COUNT = 4
_PAUSE_S = 0.005
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: who answered (``X-Version``), with which status (0: not at all, and why), after how long."""

    version: str
    status: int
    seconds: float
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the visitors saw."""

    answers: tuple[Answer, ...]

    @property
    def lost(self) -> tuple[Answer, ...]:
        """Requests without any answer."""
        return tuple(answer for answer in self.answers if answer.status == 0)

    @property
    def slowest_s(self) -> float:
        """The longest that anybody waited."""
        return max((answer.seconds for answer in self.answers), default=0.0)

    @property
    def shares(self) -> Counter[tuple[str, str]]:
        """How many pages, and how many errors, each version answered with."""
        return Counter(
            ("pages" if answer.status == 200 else f"errors ({answer.status})", answer.version)
            for answer in self.answers
            if answer.status
        )


class Visitors:
    """A context in which they come; ``tally`` is complete after it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._answers: list[Answer] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(COUNT)]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    @property
    def tally(self) -> Tally:
        """All answers until now."""
        return Tally(tuple(self._answers))

    def _visit(self) -> None:
        while not self._is_over.wait(_PAUSE_S):
            self._answers.append(ask(self._port))


def ask(port: int, path: str = "/") -> Answer:
    """One request over a connection of its own."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        return Answer("", 0, time.monotonic() - began, f"{type(error).__name__}: {error}")
    finally:
        connection.close()
    return Answer(response.getheader("X-Version", ""), response.status, time.monotonic() - began)
