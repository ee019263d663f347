"""What the guard in the box tells, collected."""

from __future__ import annotations

import json
import threading
from collections import defaultdict

from tests.box.machine import Box

SOURCES = {"PYTHONPATH": "/src", "PYTHONDONTWRITEBYTECODE": "1"}
"""For programs of this directory that run in the box."""


class Witness:
    """What the guard has told so far."""

    def __init__(self, box: Box, apps: dict[str, int]) -> None:
        self.flaws: list[str] = []
        self._lives: dict[str, list[str]] = defaultdict(list)
        self._process = box.popen(
            *("python3", "-S", "-P", "-u", "-m", "tests.box.clients.guard"),
            *(f"{name}:{port}" for name, port in apps.items()),
            env=SOURCES,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            fact = json.loads(line)
            if "live" in fact:
                self._lives[fact["app"]].append(fact["live"])
            elif "flaw" in fact:
                self.flaws.append(f"{fact['app']}: {fact['flaw']}")

    def lives(self, app: str) -> list[str]:
        """The builds that this app has had live, in order."""
        return list(self._lives[app])

    def flaws_of(self, app: str) -> list[str]:
        """Whatever was not as it should be."""
        return [flaw for flaw in self.flaws if flaw.startswith(f"{app}: ")]

    @property
    def is_watching(self) -> bool:
        """The guard itself is well."""
        return self._process.poll() is None

    def end(self) -> str:
        """Stop the guard; returns what it complained of."""
        self._process.kill()
        return self._process.communicate()[1]
