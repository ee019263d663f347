"""Watches an app from outside, and knows only the promises: the link, the releases, the results, and HTTP answers.

    observer.py SEEN MACHINE ROOT DROP PORT KEEP SLICE

is a program of its own that shares no code with the agent. MACHINE is the root directory of the machine, ROOT and
DROP are in it; SLICE is the control group of its services. Over and over it looks at the disk and asks the app, and
checks what must hold at every instant; a line "quiet" on its standard input says that nothing is under way, and is
answered by a line when what must hold then was looked at. What it knows is kept in the file SEEN, for the next observer
after a reboot, when its input ends.

A violation is a sentence. The machine may be gone at any moment, and that is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import sys
import threading
import time
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RELEASE = re.compile(r"\d{8}-\d{6}")
PAUSE_S = 0.004
ASK_PAUSE_S = 0.02
ASK_TIMEOUT_S = 30.0
QUIET_TIMEOUT_S = 30.0

LINK = "app resolves to a whole release"
ANSWER = "every answer comes from a whole release"
VERDICT = "one verdict for each upload version"
RUNS = "what runs is what app names once a verdict is written"
KEPT = "no healthy release is lost"
CLEAN = "staging and temporary files are cleaned"
OVER = "no hook and no trial outlasts its deploy"
HOOKED = "what goes live was tried, and its hook has run"


class GoneError(Exception):
    """The machine is switched off."""


@dataclass
class Seen:
    """What is known, over reboots."""

    checks: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    verdicts: dict[str, str] = field(default_factory=dict)  # "upload sha256" → "id status"
    markers: Counter[str] = field(default_factory=Counter)
    healthy: list[str] = field(default_factory=list)
    wholes: dict[str, str] = field(default_factory=dict)  # release → its build
    answers: int = 0
    failures: Counter[str] = field(default_factory=Counter)  # of requests since the first healthy release, by kind
    latest: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Seen:
        seen = cls()
        if path.exists():
            vars(seen).update(json.loads(path.read_text()))
            seen.checks, seen.markers, seen.failures = map(Counter, (seen.checks, seen.markers, seen.failures))
        return seen

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(vars(self)))


class Observer:
    """One app's watcher, for as long as the machine is up."""

    def __init__(self, seen: Seen, machine: Path, root: Path, drop: Path, port: int, keep: int, units: Path) -> None:
        self.seen, self.machine, self.root, self.drop, self.port, self.keep = seen, machine, root, drop, port, keep
        self.units = units
        self.files: dict[str, tuple[int, int]] = {}
        self.last_link = ""
        self.looks = 0
        self.lock = threading.Lock()
        self.is_over = threading.Event()
        self.is_quiet = threading.Event()

    # --- what is wrong -------------------------------------------------------------------------------------

    def check(self, invariant: str, is_held: bool, what: str) -> None:
        """Count one check. What does not hold is a violation, unless the machine was switched off meanwhile."""
        with self.lock:
            if not is_held:
                self._see_machine()
                violation = f"{time.strftime('%H:%M:%S')} {invariant}: {what}"
                if violation[9:] not in (known[9:] for known in self.seen.violations[-20:]):
                    self.seen.violations.append(violation)
                    print(json.dumps({"violation": violation}), flush=True)
            self.seen.checks[invariant] += 1

    def _see_machine(self) -> None:
        """A machine that is gone never comes back under this name: what was missed before it was seen to be is no
        wonder. Raises GoneError."""
        if not (self.machine / "etc/passwd").exists():
            raise GoneError

    # --- at every instant ------------------------------------------------------------------------------------

    def look(self) -> None:
        """All that can be seen on the disk at once."""
        self.looks += 1
        self._look_at_link()
        self._look_at_results()
        if self.looks % 10 == 0:
            self._look_at_releases(spare=1)

    def link(self) -> str:
        """The release that the link names; "" when there is no link."""
        try:
            return os.readlink(self.root / "app").removeprefix("releases/")
        except FileNotFoundError:
            return ""

    def _look_at_link(self) -> None:
        link = self.link()
        if not link:
            self.check(LINK, not self.seen.healthy or bool(self.link()), "there is no link")
            return
        self.check(LINK, bool(RELEASE.fullmatch(link)), f"the link names {link!r}")
        if link != self.last_link:
            for marks in ("hooked", "tried"):
                told = self.root / "shared" / marks
                self.check(HOOKED, link in told.read_text().split(), f"{link} is live, and not {marks}")
        if link != self.last_link or self.looks % 100 == 0:
            problem = self.unwhole(link)
        else:
            problem = "" if (self.root / "app/manifest.json").exists() else "it is not there"
        # It may have been the live one no more while its files were read.
        self.check(LINK, not problem or self.link() != link, f"{link} is live: {problem}")
        self.last_link = link

    def unwhole(self, release: str) -> str:
        """What is wrong with a release, "" when nothing is; and what it was built as is remembered."""
        place = self.root / "releases" / release
        try:
            manifest = json.loads((place / "manifest.json").read_text())
            for name, digest in manifest["files"].items():
                if hashlib.sha256((place / name).read_bytes()).hexdigest() != digest:
                    return f"{name} has other content"
        except (OSError, ValueError) as error:
            return str(error)
        known = self.seen.wholes.setdefault(release, manifest["build"])
        return "" if known == manifest["build"] else f"it was {known} and is {manifest['build']}"

    def _look_at_releases(self, spare: int) -> None:
        """Healthy releases that must be there. ``spare``: of how many more than ``keep`` the verdict may be to come."""
        with contextlib.suppress(FileNotFoundError):
            there = set(os.listdir(self.root / "releases"))
            link = self.link()
            healthy = [release for release in self.seen.healthy if release in there]
            least = min(self.keep, len(self.seen.healthy)) - spare
            self.check(KEPT, len(healthy) >= least, f"of {self.seen.healthy[-self.keep :]} there are only {healthy}")
            target = [release for release in self.seen.healthy if release != link][-1:]
            self.check(KEPT, set(target) <= there, f"{target} is gone, {link} being live")

    # --- verdicts -------------------------------------------------------------------------------------------

    def _look_at_results(self) -> None:
        with os.scandir(self.drop) as entries:
            named = [entry for entry in entries if entry.name.endswith(".result.toml")]
        for entry in named:
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat()
                version = (status.st_ino, status.st_mtime_ns)
                if self.files.get(entry.name) == version:
                    continue
                text = Path(entry.path).read_text()
                self.files[entry.name] = version
                self._hear(text)

    def _hear(self, text: str) -> None:
        try:
            result = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self.check(VERDICT, False, f"a result is no TOML: {error}")
            return
        told = f"{result['id']} {result['status']}"
        if result["action"] == "deploy":
            key = f"{result['upload']} {result.get('sha256', '')}"
            known = self.seen.verdicts.setdefault(key, told)
            self.check(VERDICT, known == told, f"{key} has two: {known} and {told}")
        elif self.seen.verdicts.get(told) is None:
            self.seen.verdicts[told] = told
            self.seen.markers[result["action"]] += 1
        if result["status"] == "deployed" and result["action"] == "deploy":
            self.seen.healthy = sorted({*self.seen.healthy, result["release"]})
        if result["id"] > self.seen.latest.get("id", 0):
            self.seen.latest = {"id": result["id"], "live": result.get("live", ""), "status": result["status"]}
            threading.Thread(target=self._see_what_runs, args=(dict(self.seen.latest),), daemon=True).start()

    def _see_what_runs(self, latest: dict[str, Any]) -> None:
        with contextlib.suppress(GoneError):
            link = self.link()
            answer = self.ask()
            if answer is None or self.seen.latest != latest or self._is_at_work():
                return
            if link == self.link():
                self.check(RUNS, link == latest["live"], f"the verdict {latest} is written, and app names {link}")
                self.check(RUNS, answer["release"] == link, f"{latest}: app names {link}, {answer} answers")

    def _is_at_work(self) -> bool:
        """Whether the next deploy has begun already."""
        try:
            return any(name.endswith(".deploying") for name in os.listdir(self.drop))
        except FileNotFoundError:
            return True

    # --- answers --------------------------------------------------------------------------------------------

    def ask(self) -> dict[str, Any] | None:
        """What the app answers, and whether that is whole; None when it does not."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ASK_TIMEOUT_S)
        try:
            connection.request("GET", "/")
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._see_machine()
            if self.seen.healthy:
                self.seen.failures[type(error).__name__] += 1
            return None
        finally:
            connection.close()
        self.seen.answers += 1
        known = self.seen.wholes.get(answer["release"], answer["build"])
        self.check(ANSWER, answer["whole"] and known == answer["build"], f"{answer}, which was built as {known}")
        return answer

    def keep_asking(self) -> None:
        """One request after the other, before there is anything to answer too."""
        with contextlib.suppress(GoneError):
            while not self.is_over.is_set():
                self.ask()
                self.is_over.wait(ASK_PAUSE_S)

    # --- when nothing is under way ----------------------------------------------------------------------------

    def settle(self) -> None:
        """What must hold when nothing is under way; leftovers may go a moment later."""
        deadline = time.monotonic() + QUIET_TIMEOUT_S
        while (left := self._leftovers()) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.check(CLEAN, not left, f"there are still {left}")
        beside = [unit.name for unit in self.units.rglob("shop-*@*.service")]
        self.check(OVER, not beside, f"{beside} still run")
        link = self.link()
        for release in sorted({*self.seen.healthy} & set(os.listdir(self.root / "releases"))):
            problem = self.unwhole(release)
            self.check(KEPT, not problem, f"{release}: {problem}")
        self._look_at_releases(spare=0)
        live = self.seen.latest.get("live", "")
        self.check(RUNS, link == live, f"the last verdict says that {live!r} is live, app names {link!r}")
        answer = self.ask()
        if link:
            self.check(RUNS, answer is not None and answer["release"] == link, f"app names {link}, {answer} answers")

    def _leftovers(self) -> list[str]:
        left = [name for name in os.listdir(self.root / "releases") if name.startswith(".")]
        left += [name for name in os.listdir(self.root) if name.startswith(".")]
        return left + [name for name in os.listdir(self.drop) if name.endswith((".deploying", ".tmp"))]

    def listen(self) -> None:
        """Wait for what is told on standard input."""
        for line in sys.stdin:
            if line == "quiet\n":
                self.is_quiet.set()
        self.is_over.set()

    def watch(self) -> None:
        """Until told to end, or the machine is gone."""
        for work in (self.keep_asking, self.listen):
            threading.Thread(target=work, daemon=True).start()
        while not self.is_over.is_set():
            try:
                self.look()
                if self.is_quiet.is_set():
                    self.is_quiet.clear()
                    self.look()
                    self.settle()
                    print(json.dumps({"settled": self.seen.latest}), flush=True)
            except (GoneError, OSError) as error:
                if not isinstance(error, GoneError) and (self.machine / "etc/passwd").exists():
                    self.check(LINK, False, f"cannot look: {error}")
                break
            time.sleep(PAUSE_S)
        self.is_over.wait()


def main() -> None:
    seen_at, machine, root, drop, port, keep, units = sys.argv[1:]
    seen = Seen.load(Path(seen_at))
    observer = Observer(
        seen, Path(machine), Path(machine + root), Path(machine + drop), int(port), int(keep), Path(units)
    )
    observer.watch()
    with observer.lock:
        seen.save(Path(seen_at))


if __name__ == "__main__":
    main()
