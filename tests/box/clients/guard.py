"""Looks at every app all the time, from the box and by itself: a process of its own, no inotify, nothing of dropdeploy.

    python3 -m tests.box.clients.guard NAME:PORT…

Per app: the `app` link, a hundred times a second, and each release that it leads to is examined when it appears there
and again and again while it stays; every release that ever stands in `releases/` is examined too; and the app itself
is asked what it saw when it was started. Prints JSON lines: ``{"app", "live"}`` for each build that goes live, in
order; ``{"app", "flaw"}`` for whatever is wrong.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from dataclasses import dataclass, field

from tests.box.clients.whole import examine

PAUSE_S = 0.01
LOOKS_A_QUESTION = 4


def tell(**fact: str) -> None:
    print(json.dumps(fact), flush=True)


@dataclass
class Watched:
    """One app, and what was seen of it."""

    name: str
    port: int
    target: str = ""
    build: str = ""
    answered: str = ""
    known: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Follow the link; examine what is new."""
        try:
            target = os.readlink(f"/home/{self.name}/app")
        except FileNotFoundError:
            target = ""
        if target != self.target:
            self.target = target
            self.build = self.examine(target) if target else "nothing"
            tell(app=self.name, live=self.build)
        try:
            releases = {name for name in os.listdir(f"/home/{self.name}/releases") if not name.startswith(".")}
        except FileNotFoundError:
            return
        for release in releases - self.known:
            self.examine(f"releases/{release}")
        self.known = releases

    def examine(self, target: str) -> str:
        build, flaws = examine(f"/home/{self.name}/{target}")
        self.tell_flaws(target, flaws)
        return build

    def tell_flaws(self, where: str, flaws: list[str]) -> None:
        """Each once."""
        for flaw in flaws:
            if f"{where}: {flaw}" not in self.told:
                self.told.add(f"{where}: {flaw}")
                tell(app=self.name, flaw=f"{where}: {flaw}")

    def ask(self) -> None:
        """Examine what is live once more, and ask the app what it runs."""
        if self.target:
            self.examine(self.target)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            return  # between two releases nobody answers; that it does again is the agent's health check
        finally:
            connection.close()
        self.tell_flaws(f"the app was started in {answer['build']}", answer["flaws"])
        if answer["build"] != self.answered:
            self.answered = answer["build"]
            tell(app=self.name, answered=self.answered)


def main(arguments: list[str]) -> None:
    apps = [Watched(name, int(port)) for name, _, port in (argument.partition(":") for argument in arguments)]
    turn = 0
    while True:
        for app in apps:
            app.look()
        if turn % LOOKS_A_QUESTION == 0:
            apps[turn // LOOKS_A_QUESTION % len(apps)].ask()
        turn += 1
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(sys.argv[1:])
