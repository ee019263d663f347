"""Tells the demo's story: chapters, lines with the time that has passed, and one line that changes in place."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path

from dropdeploy import __version__
from dropdeploy.cli.demo.stage import Stage
from dropdeploy.cli.screen import Colour, Screen, plain
from dropdeploy.cli.tables import cut

INDENT = len("  0.0 s  ")
_QUOTE = "    | "


class Narrator:
    """A voice on a screen."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self._began = time.monotonic()
        self._chapter = 0

    @property
    def elapsed_s(self) -> float:
        """Since the story began."""
        return time.monotonic() - self._began

    def begin(self, stage: Stage) -> None:
        """Who plays, and where."""
        self.screen.line(
            self.screen.paint(
                f"dropdeploy {__version__}: four deploys, without root and without systemd", Colour.STRONG
            )
        )
        self.screen.line(f"All of it happens below {stage.directory}, and is gone afterwards.")
        self.screen.line(f"To be watched in a browser: http://127.0.0.1:{stage.page_port}/")

    def say_painted(self, line: str) -> None:
        """One line, with the time, that has its colours already."""
        self._clear()
        self.screen.line(f"{self._time()}  {line}")

    def chapter(self, title: str) -> None:
        """A new heading."""
        self._chapter += 1
        self.screen.line()
        self.screen.line(self.screen.paint(f"{self._chapter}. {title}", Colour.STRONG))

    def say(self, text: str) -> None:
        """One line, with the time."""
        self._clear()
        room = self.screen.width
        first, *more = textwrap.wrap(plain(text), room - INDENT) if room and room > 2 * INDENT else [plain(text)]
        self.screen.line(f"{self._time()}  {first}")
        for line in more:
            self.screen.line(f"{' ' * INDENT}{line}")

    def change(self, text: str) -> None:
        """The line that is rewritten as things change; where nothing can be rewritten, nothing is said."""
        if self.screen.is_live:
            line = cut(f"{self._time()}  {plain(text)}", (self.screen.width or 80) - 1)
            self.screen.write(f"\r\x1b[K{line}")

    @property
    def page(self) -> int | None:
        """How wide something may be that is to be quoted."""
        return self.screen.width - len(_QUOTE) if self.screen.width else None

    def quote(self, lines: list[str]) -> None:
        """Something that was written by somebody else."""
        self._clear()
        room = self.screen.width
        for line in lines:
            quoted = f"{_QUOTE}{plain(line)}"
            self.screen.line(self.screen.paint(cut(quoted, room) if room else quoted, Colour.FAINT))

    def invite(self, stage: Stage) -> None:
        """It goes on, and may be played with."""
        self.screen.line()
        self.screen.line(self.screen.paint("It is all yours now. Ctrl-C ends it and cleans up.", Colour.STRONG))
        self.screen.line(f"  the site   http://127.0.0.1:{stage.port}/")
        self.screen.line(f"  the page   http://127.0.0.1:{stage.page_port}/")
        self.screen.line(f"  drop here  {stage.drop}")
        self.screen.line("  or try, in another terminal")
        for example in (
            f"cd {stage.directory}",
            f"cp builds/hello-v2.tar.gz drop/{stage.drop.name}/",
            f"touch drop/{stage.drop.name}/rollback",
            f"./dropdeploy deploy {stage.drop.name} builds/hello-v3.tar.gz  # the broken one",
            "./dropdeploy status",
        ):
            self.screen.line(f"    {example}")

    def complain(self, what: str, log: list[str]) -> None:
        """Something did not happen as it is told."""
        self._clear()
        self.screen.line()
        self.screen.line(self.screen.paint(f"This is not how it should be: {plain(what)}", Colour.BAD, Colour.STRONG))
        self.screen.line("The agent's log:")
        self.quote(log)

    def break_off(self) -> None:
        """Somebody wants it to end."""
        self._clear()
        self.screen.line()
        self.screen.line("Ending, and cleaning up …" if self.screen.has_marks else "Ending, and cleaning up ...")

    def end(self, directory: Path, port: int, remains: list[str], *, as_told: bool) -> None:
        """What has become of everything."""
        self.screen.line()
        if remains:
            self.screen.line(self.screen.paint(f"Left behind: {'; '.join(remains)}", Colour.BAD))
            return
        gone = f"The agent and the app have stopped, port {port} is free, {directory.name} is gone."
        done = self.screen.paint(f"All as told, in {self.elapsed_s:.1f} s.", Colour.GOOD, Colour.STRONG) + " "
        self.screen.line(f"{done if as_told else ''}{gone}")

    def _time(self) -> str:
        return self.screen.paint(f"{self.elapsed_s:5.1f} s", Colour.FAINT)

    def _clear(self) -> None:
        if self.screen.is_live:
            self.screen.write("\r\x1b[K")
