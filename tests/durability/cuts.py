"""Power cuts while an agent deploys: nothing that was told is lost, and what was going on is taken up again.

On a file system of its own (ext4, xfs) an agent with its embedded supervisor deploys builds, good and bad, and rolls
back. The power is cut at each step, at random moments, and as soon as a verdict can be read. On the disk there must
then be: a link to a whole release, the one of the last verdict if nothing else was under way; releases that are whole;
a sound history with every verdict that could be read. An agent started there must give a verdict on what was going on.
Needs root.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.agent.world import World, files_of, tar, wait_for
from tests.durability import disk
from tests.durability.after import Cut
from tests.durability.disk import KINDS, SOURCES, Disk, obstacle

REMEMBERED = 6
# How often which request comes.
REQUESTS = {"good": 6, "crash": 2, "rollback": 2}


@dataclass
class Report:
    """Counts, of one kind of file system."""

    kind: str
    requests: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    with_agent: int = 0
    violations: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Some lines."""
        requests = ", ".join(f"{count} {name}" for name, count in self.requests.most_common())
        cuts = ", ".join(f"{count} {name}" for name, count in self.cuts.most_common())
        return "\n".join(
            [
                f"{self.kind}: {self.requests.total()} deploys ({requests})",
                f"  {self.cuts.total()} power cuts: {cuts}",
                f"  {self.with_agent} times an agent was started on what was left",
                f"  {len(self.violations)} violations",
                *(f"    {violation}" for violation in self.violations),
            ]
        )


class Room:
    """An agent on a disk whose power can be cut, and somebody who looks at what is left."""

    def __init__(self, kind: str, place: Path, random: Random, agents: float) -> None:
        self.random, self.agents = random, agents
        self.report = Report(kind)
        self.disk = Disk(kind, place)
        self.world = World(self.disk.mounted / "world")
        self.world.configure('rate_limit = "off"\nkeep = 3\nkeep_results = 1000\nstall = "300ms"')
        self.told: dict[str, dict[str, Any]] = {}
        self.number = 0
        alone = ("unshare", "--mount", "--")
        self.checker = subprocess.Popen(
            [*alone, sys.executable, "-m", "tests.durability.after", str(self.disk.mounted), self.disk.kind.options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=SOURCES,
        )

    # --- the power ---------------------------------------------------------------------------------------------

    def cut(self, moment: str, *, is_working: bool) -> None:
        """Cut it, and look at what is left."""
        told = dict(list(self.told.items())[-REMEMBERED:])
        image = self.disk.cut()
        with_agent = self.random.random() < self.agents
        self.report.cuts[moment] += 1
        self.report.with_agent += with_agent
        assert self.checker.stdin is not None
        self.checker.stdin.write(Cut(str(image), moment, told, is_working, with_agent).dump())
        self.checker.stdin.flush()

    def look(self) -> None:
        """Wait for what was found since the last look."""
        assert self.checker.stdout is not None
        while self.looked < self.report.cuts.total():
            self.looked += 1
            self.report.violations += json.loads(self.checker.stdout.readline())

    looked = 0

    # --- deploys -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The first deploy; what was there before is on the disk."""
        self.world.start()
        self.request("good", [])

    def request(self, kind: str, moments: list[str]) -> None:
        """One deploy or rollback; the power is cut when a step of ``moments`` begins, at random ("random" may be named
        several times), or when the verdict can be read ("verdict")."""
        self.number += 1
        self.report.requests[kind] += 1
        name = kind if kind == "rollback" else f"b{self.number}-{kind}.tar.gz"
        result = self.world.drop / f"{name}.result.toml"
        result.unlink(missing_ok=True)
        self.told.pop(name, None)
        os.sync()
        self.world.put(name, b"" if kind == "rollback" else self._build(kind))
        waiting, at_random = set(moments), moments.count("random")
        due = sorted(time.monotonic() + self.random.uniform(0, 0.4) for _ in range(at_random))
        while not result.exists():
            if (step := self._step(name)) in waiting:
                waiting.remove(step)
                self.cut(step, is_working=True)
            if due and time.monotonic() > due[0]:
                due.pop(0)
                self.cut("random", is_working=True)
            time.sleep(0.001)
        told = tomllib.loads(result.read_text())
        self.told[name] = {"id": told["id"], "status": told["status"], "live": told["live"]}
        if "verdict" in waiting:
            self.cut("verdict", is_working=False)
        wait_for("end of the work", lambda: not (self.world.drop / f"{name}.deploying").exists())

    def _step(self, name: str) -> str:
        try:
            return str(tomllib.loads((self.world.drop / f"{name}.deploying").read_text())["step"])
        except (FileNotFoundError, ValueError, KeyError):
            return ""

    def _build(self, kind: str) -> bytes:
        files = files_of(f"v{self.number}", **({"exit": 1} if kind == "crash" else {}))
        files |= {f"data/{number}": self.random.randbytes(3000).hex() for number in range(20)}
        manifest = {"files": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}}
        return tar({**files, "manifest.json": json.dumps(manifest)})

    def end(self) -> None:
        """Nothing runs any more."""
        self.look()
        self.checker.communicate()
        self.world.stop()


STEPS = ("preflight", "extract", "link", "swap", "restart", "health", "prune")


def run(kind: str, place: Path, deploys: int, random: Random, *, moments: int, agents: float) -> Report:
    """``deploys`` requests, with so many power cuts each, besides that at the verdict. ``agents``: after what share of
    the cuts an agent is started."""
    place.mkdir()
    room = Room(kind, place, random, agents)
    room.begin()
    for number in range(deploys):
        (what,) = random.choices(list(REQUESTS), list(REQUESTS.values()))
        if what == "rollback" and (number < 2 or room.world.live() == room.world.releases()[0]):
            what = "good"
        chosen = random.choices([*STEPS, "random", "random"], k=moments)
        room.request(what, [*chosen, "verdict"])
        room.look()
    room.end()
    return room.report


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deploys", type=int, default=100, metavar="N", help="how many on each file system (100)")
    parser.add_argument("--moments", type=int, default=3, metavar="N", help="power cuts in each, besides the last (3)")
    parser.add_argument("--agents", type=float, default=0.5, metavar="SHARE", help="start an agent after so many (0.5)")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seed", type=int)
    asked = parser.parse_args()
    if (problem := obstacle()) is not None:
        print(problem, file=sys.stderr)
        return 2
    place = disk.place()
    if place is None:
        return disk.in_namespace(*sys.argv[1:]).returncode
    seed = asked.seed if asked.seed is not None else int.from_bytes(os.urandom(4))
    print(f"seed {seed}", flush=True)
    code = 0
    for kind in asked.kinds:
        report = run(kind, place / kind, asked.deploys, Random(seed), moments=asked.moments, agents=asked.agents)
        print(report.text(), flush=True)
        code = 1 if report.violations else code
    return code


if __name__ == "__main__":
    sys.exit(main())
