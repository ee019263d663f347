"""One cell of the table in the making: what is uploaded, and what must be seen of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dropdeploy.report.harmless import harmless
from tests.box.clients.builds import Build, Cargo, make_build
from tests.box.clients.ground import Place
from tests.box.clients.session import Session, running
from tests.box.clients.table import Way
from tests.box.machine import wait_until

KILOBYTES = 600
RATE = 400
FEW_FILES = 4
MIDWAY = 0.3
RESULT_TIMEOUT_S = 45.0


@dataclass(frozen=True)
class Trial:
    """One cell in the making: a client's place, and the name of its uploads, which no other cell has."""

    place: Place
    column: str
    name: str
    lived_before: int

    def build(self, number: int, files: int = FEW_FILES) -> Build:
        """The first, the second, … build of this cell, each a little larger than the one before."""
        return make_build(f"{self.place.app}-{self.column}-{number}", KILOBYTES + 20 * number, files)

    # --- uploading ---

    def upload(self, build: Build, way: Way | None = None) -> Cargo:
        """Upload it as fast as can be, undisturbed, the .ready of a tree included."""
        parcel, cargo = self.place.parcel(build, self.name)
        with running(self.place, (way or self.place.client.put)(parcel)) as session:
            session.finish()
        self.say_go()
        return cargo

    def say_go(self) -> None:
        """What a tree needs to be taken."""
        if self.place.client.is_tree:
            self.place.mark_ready(self.name)

    @contextmanager
    def slow_upload(self, build: Build) -> Iterator[tuple[Session, Cargo]]:
        """Upload it so slowly that it can be met midway; that is where this begins."""
        parcel, cargo = self.place.parcel(build, self.name, RATE)
        with running(self.place, self.place.client.put(parcel)) as session:
            session.await_share(cargo, MIDWAY)
            yield session, cargo

    # --- seeing ---

    def lived(self) -> list[int]:
        """Which of this cell's builds went live, in order."""
        labels = self.place.lives()[self.lived_before :]
        start = f"{self.place.app}-{self.column}-"
        assert all(label.startswith(start) for label in labels), labels
        return [int(label.removeprefix(start)) for label in labels]

    def await_status(self, status: str, code: str = "") -> dict[str, Any]:
        """Wait for the result that says so. Others may have been there on the way."""
        seen: dict[str, Any] = {}

        def is_there() -> bool:
            seen.clear()
            seen.update(self.place.result(self.name) or {})
            return seen.get("status") == status

        try:
            wait_until(is_there, f"the status {status}", RESULT_TIMEOUT_S)
        except TimeoutError as error:
            raise AssertionError(f"{error}; the last result: {seen}, lived: {self.lived()}") from error
        assert seen.get("error", {}).get("code", "") == code, seen
        return seen

    def await_deployed(self, number: int, cargo: Cargo, lived: list[int]) -> None:
        """This build is live, is told so, and what is done with is cleared away; ``lived`` is all that ever was."""
        result = self.await_status("deployed")
        self.await_live(number)
        assert self.lived() == lived
        assert result["live"] == result["release"] == self.place.live_release()
        assert result["upload"] == harmless(self.name)
        drop = self.place.drop
        wait_until(lambda: self.place.deploying(self.name) is None, "the end of the work")
        if self.place.client.is_tree:
            assert not (drop / f"{self.name}.ready").exists()
        else:
            assert result["sha256"] == hashlib.sha256(cargo.contents[0]).hexdigest()
            wait_until(lambda: not (drop / self.name).exists(), "the end of the upload")
            assert self.lived() == lived, "what a client does to an upload that is live brings no second deploy"

    def await_live(self, number: int) -> None:
        """The guard has seen this build live, and none since."""
        wait_until(lambda: self.lived()[-1:] == [number], f"build {number} live", RESULT_TIMEOUT_S)

    def await_hook(self) -> None:
        """The deploy has come as far as its hook, where it is held."""
        wait_until(lambda: (self.place.deploying(self.name) or {}).get("step") == "hooks", "the hook", RESULT_TIMEOUT_S)

    def assert_untouched(self, seconds: float) -> None:
        """For so long nothing is told of the upload, nothing happens to it, and nothing goes live."""
        before, lived = self._version(), self.lived()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert (self.place.result(self.name), self.place.deploying(self.name)) == (None, None)
            assert self.lived() == lived
            time.sleep(0.05)
        assert self._version() == before

    def _version(self) -> tuple[int, int, int] | None:
        try:
            status = (self.place.drop / self.name).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns
