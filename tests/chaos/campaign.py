"""The chaos run: kill the agent and the machine at any moment, over many deploys, and see that nothing is lost.

In a box (a real Debian with systemd; needs root) the packaged agent deploys a real app. It is killed (SIGKILL) at
random moments, at every named point, and again while it recovers; the box is switched off with and without a word. An
observer, a process of its own that shares no code with the agent, checks the invariants from outside all the while;
here it is checked that each request gets the verdict it has to get. Ends with 1 when anything was violated.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from tests.box.machine import Box, obstacle, wait_until
from tests.box.server import Server
from tests.chaos.builds import Build, make
from tests.chaos.machine import Machine
from tests.chaos.points import STRATEGIES, passed_by, plugs
from tests.chaos.report import Report

VERDICT_TIMEOUT_S = 90.0
JOURNAL_LINES = 120
# How often which request comes, and the verdict that it has to get.
KINDS = {
    "good": 40,
    "crash": 10,
    "ill": 3,
    "unfit": 4,
    "unhooked": 4,
    "unhooked-after": 2,
    "rollback": 11,
    "restart": 6,
    "cancelled": 6,
    "held": 6,
    "replaced": 9,
    "half": 5,
    "corrupt": 4,
}
ILL = ("crash", "ill")
REFUSED = ("unfit", "unhooked")
VERDICTS = {
    "good": {"deployed"},
    **{kind: {"rolled-back"} for kind in ILL},
    **{kind: {"failed"} for kind in REFUSED},
    "unhooked-after": {"deployed"},
    "rollback": {"deployed"},
    "restart": {"deployed"},
    "cancelled": {"cancelled", "deployed"},  # the marker may come too late, or the agent be killed before it is heeded
    "held": {"deployed"},
    "replaced": {"deployed"},
    "half": {"incomplete"},
    "corrupt": {"rejected"},
}
MARKERS = ("rollback", "restart")
HELD_S = 0.6
SLOW_S = 1.0  # the slowest recoveries are told with the journal
OF_THE_APP = ("hooks", "trial", "restart", "health")  # the steps that take as long as the app's own units take
# How often which disturbance comes with a request.
DISTURBANCES = {"kill": 62, "two kills": 16, "nothing": 16, "power cut": 3, "shutdown": 3}
# How often the agent is killed at a named point, of all kills.
NAMED_SHARE = 0.3


def _seconds(result: dict[str, Any], *steps: str) -> float:
    """How long these steps took together."""
    return sum((float(step["seconds"]) for step in result.get("steps", ()) if step["name"] in steps), 0.0)


def _after_live(result: dict[str, Any]) -> float:
    """How long the hooks after the swap took."""
    steps = list(result.get("steps", ()))
    swaps = [at for at, step in enumerate(steps) if step["name"] == "swap"]
    return _seconds({"steps": steps[swaps[-1] :] if swaps else ()}, "hooks")


class Campaign:
    """One run on one machine."""

    def __init__(self, machine: Machine, report: Report, random: Random) -> None:
        self.machine, self.report, self.random = machine, report, random
        self.strategy = report.strategy
        self.number = 0
        self.undisturbed: dict[str, list[float]] = {}  # kind → seconds of the app's share
        self.agent_started = 0.0
        self.place = ""  # where the agent was killed
        self.live = ""
        self.healthy: set[str] = set()

    # --- requests ------------------------------------------------------------------------------------------

    def request(self, kind: str, disturb: Callable[[str], bool]) -> dict[str, Any]:
        """One upload or marker and its verdict, disturbed in between: ``disturb`` gets its name, and returns whether
        it did disturb."""
        if kind == "rollback" and not self._can_roll_back():
            kind = "good"
        self.number += 1
        self.report.requests[kind] += 1
        name = kind if kind in MARKERS else f"b{self.number}-{kind}.tar.gz"
        known = self.machine.result(name).get("id", 0)
        if kind == "held":
            self.machine.put("hold", b"")
            time.sleep(0.1)  # a look that has begun may list the upload, and not what came before it
        awaited = "" if kind in MARKERS else self._upload(name, kind)
        if kind in MARKERS:
            self.machine.put(name, b"")
        if kind == "cancelled":
            time.sleep(self.random.uniform(0, 0.6))
            self.machine.put("cancel", b"")
        self.agent_started, self.place = 0.0, ""
        was_disturbed = disturb(name)
        if kind == "held":
            self._unhold(name)

        def has_verdict() -> bool:
            told = self.machine.result(name)
            return bool(told.get("id", 0) > known and told.get("sha256", awaited) == awaited)

        self._await(has_verdict, f"no verdict on {name}")
        if kind == "cancelled":
            self._await(lambda: not self.machine.drop("cancel").exists(), f"cancel of {name} is still there")
        result = self.machine.result(name)
        self._judge(name, kind, result)
        self.machine.settle()
        self.live = result.get("live", "")
        if result["status"] == "deployed":
            self.healthy.add(result["release"])
        if was_disturbed:
            self._note_recovery(name, kind, result)
        else:
            self.undisturbed.setdefault(kind, []).append(_seconds(result, "restart", "health"))
        return result

    def _unhold(self, name: str) -> None:
        time.sleep(HELD_S)
        if self.machine.result(name):
            self.report.violations.append(f"{name} was held, and has a verdict")
        self.machine.drop("hold").unlink()

    def _can_roll_back(self) -> bool:
        """Whether there is a healthy release before the live one."""
        return any(release < self.live for release in self.healthy & set(self.machine.releases()))

    def _upload(self, name: str, kind: str) -> str:
        """Returns the hash of what is to be answered, "" where the answer has none."""
        is_odd = kind in (*ILL, *REFUSED, "unhooked-after")
        build = make(name, kind if is_odd else "good", self.random)
        if kind == "half":
            self._write(name, build.content[: len(build.content) // 2])
            return ""
        if kind == "corrupt":
            middle = len(build.content) // 2
            broken = bytes(byte ^ 0xFF for byte in build.content[middle : middle + 64])
            self.machine.put(name, build.content[:middle] + broken + build.content[middle + 64 :])
            return ""
        if kind == "replaced":
            first: Build = make(name, self.random.choice(("good", "crash")), self.random)
            self.machine.put(name, first.content)
            time.sleep(self.random.uniform(0, 0.4))
        if self.random.random() < 0.3:
            self._write(name, build.content)
        else:
            self.machine.put(name, build.content)
        return build.sha256

    def _write(self, name: str, content: bytes) -> None:
        """As scp does: under the final name, in pieces."""
        half = len(content) // 2
        with self.machine.drop(name).open("wb") as file:
            file.write(content[:half])
            file.flush()
            time.sleep(self.random.uniform(0, 0.1))
            file.write(content[half:])

    def _await(self, condition: Callable[[], bool], violation: str) -> None:
        try:
            wait_until(condition, violation, VERDICT_TIMEOUT_S)
        except TimeoutError as error:
            self.report.violations.append(str(error))
            raise

    def _judge(self, name: str, kind: str, result: dict[str, Any]) -> None:
        stays = kind in (*ILL, *REFUSED) or result["status"] == "cancelled"
        is_as_before = not stays or (result.get("live", ""), result.get("live_healthy")) == (self.live, True)
        # What is handed over to may have been found ill before it went live.
        expected = VERDICTS[kind] | ({"failed"} if kind in ILL and self.strategy == "handover" else set())
        if result["status"] not in expected or not is_as_before:
            told = json.dumps(result.get("error", {}))
            self.report.violations.append(f"{name} ({kind}) is {result['status']}, id {result['id']}: {told}")
            print(self.report.violations[-1], self.machine.box.journal(lines=JOURNAL_LINES), sep="\n", file=sys.stderr)

    def _note_recovery(self, name: str, kind: str, result: dict[str, Any]) -> None:
        """``agent_started``: when the agent came that gave the verdict; 0 when none came before it."""
        path = self.machine.drop(f"{name}.result.toml")
        if self.agent_started and path.exists() and kind in (*ILL, *REFUSED, "good", "rollback", "replaced"):
            whole = path.stat().st_mtime - self.agent_started
            if result["started"].timestamp() > self.agent_started:  # it was begun anew
                share = _seconds(result, *OF_THE_APP)
            else:
                share = median(self.undisturbed.get(kind if kind in ILL else "good", [0.0])) + _after_live(result)
            if whole > 0:
                seconds = max(0.0, whole - share)
                is_slowest = seconds > max((SLOW_S, *(known for known, _ in self.report.recoveries)))
                self.report.recoveries.append((seconds, f"{kind}, {self.place}"))
                if is_slowest:
                    told = f"{name} took {seconds:.2f} s, {self.place}"
                    print(told, self.machine.box.journal(lines=JOURNAL_LINES // 2), sep="\n", file=sys.stderr)
                self.report.shares.append(share)

    # --- disturbances --------------------------------------------------------------------------------------

    def nothing(self, name: str) -> bool:
        """Leave it alone."""
        return False

    def kill_sometime(self, name: str) -> bool:
        """SIGKILL to the agent, somewhere between the upload and a little after its verdict."""
        time.sleep(self.random.uniform(0, 0.9))
        self._kill(name)
        return True

    def kill_twice(self, name: str) -> bool:
        """And again, while it starts and recovers."""
        self.kill_sometime(name)
        self._await(lambda: self.machine.agent() != 0, "the agent is not started again")
        time.sleep(self.random.uniform(0, 1.2))
        self._kill(name)
        return True

    def _kill(self, name: str) -> None:
        has_verdict = bool(self.machine.result(name))
        step = self.machine.step() or ("idle, decided" if has_verdict else "idle, undecided")
        dead = self.machine.agent()
        if self.machine.kill():
            self.report.kills[step] += 1
            self.place = f"killed in {step}"
            self._await_start(dead)

    def _await_start(self, dead: int) -> None:
        self._await(lambda: self.machine.agent() not in (0, dead), "the agent is not started again")
        self.agent_started = self.machine.started(self.machine.agent())

    def power_cut(self, name: str) -> bool:
        """Everything is gone at once."""
        time.sleep(self.random.uniform(0, 0.9))
        self.machine.cut()
        self.report.reboots["power cuts"] += 1
        return True

    def shutdown(self, name: str) -> bool:
        """The machine is switched off in order."""
        time.sleep(self.random.uniform(0, 0.9))
        try:
            self.machine.shut_down()
        except TimeoutError as error:
            self.report.violations.append(str(error))
            raise
        self.report.reboots["shutdowns"] += 1
        return True

    # --- the run --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A first deploy that is ill leaves no link; then there are a few good ones."""
        self.machine.order("die before off", "die after off")
        self.machine.doom(True)
        self.number += 1
        name = f"b{self.number}-first.tar.gz"
        self.machine.put(name, make(name, "crash", self.random).content)
        self._await(lambda: bool(self.machine.result(name)), f"no verdict on {name}")
        result = self.machine.result(name)
        if self.machine.is_ordered() or (result["status"], result.get("live", "")) != ("failed", ""):
            self.report.violations.append(f"a first deploy that was ill: {result}")
        self.report.points["off"] += 2
        self.machine.order()
        self.machine.doom(False)
        for _ in range(3):
            self.request("good", self.nothing)
        for kind in (*ILL, *REFUSED):
            self.request(kind, self.nothing)

    def disturb_at_random(self, count: int, reboots: bool) -> None:
        """``count`` requests of all kinds."""
        for _ in range(count):
            (kind,) = self.random.choices(list(KINDS), list(KINDS.values()))
            (disturbance,) = self.random.choices(list(DISTURBANCES), list(DISTURBANCES.values()))
            if not reboots and disturbance in ("power cut", "shutdown"):
                disturbance = "kill"
            self.request(kind, self.disturbances[disturbance])

    @property
    def disturbances(self) -> dict[str, Callable[[str], bool]]:
        """By the name they have in DISTURBANCES."""
        return {
            "kill": self.kill_sometime,
            "two kills": self.kill_twice,
            "nothing": self.nothing,
            "power cut": self.power_cut,
            "shutdown": self.shutdown,
        }

    def die_at_points(self, points: Sequence[tuple[str, str]]) -> None:
        """One request for each point; now and then the agent dies again as soon as it recovers."""
        self.machine.doom(True)
        for point, kind in points:
            again = ("die recovery begun",) if self.random.random() < 0.15 else ()
            dead = self.machine.agent()
            self.machine.order(f"die {point}", *again)

            def die(_: str, dead: int = dead, place: str = f"killed {point}", is_last: bool = not again) -> bool:
                deadline = time.monotonic() + 20
                while self.machine.agent() in (0, dead) and time.monotonic() < deadline:
                    time.sleep(0.005)
                if (alive := self.machine.agent()) in (0, dead):
                    return False
                # One that dies again does not give the verdict.
                self.agent_started, self.place = self.machine.started(alive) if is_last else 0.0, place
                return True

            self.request(kind, die)
            # One that comes after the verdict may be passed a moment later.
            if self.machine.agent() == dead:
                self.report.unreached.append(f"{point} ({kind})")
            else:
                self.report.points[point] += 1
            self.machine.order()
        self.machine.doom(False)

    def cut_at_points(self, points: Sequence[tuple[str, str]]) -> None:
        """The power is cut at these points of a deploy."""
        self.machine.doom(True)
        for point, kind in points:

            def cut(_: str, point: str = point) -> bool:
                self._await(self.machine.hangs, f"the agent does not come to the point {point}")
                self.machine.cut()
                return True

            self.machine.order(f"hang {point}")
            self.request(kind, cut)
            self.report.reboots[f"power cut {point}"] += 1
        self.machine.doom(False)


def short(campaign: Campaign) -> None:
    """What a test suite has time for."""
    campaign.begin()
    # A reload is a restart in all that a boot changes.
    campaign.cut_at_points(plugs(campaign.strategy) if campaign.strategy != "reload" else ())
    campaign.die_at_points(campaign.random.sample(passed_by(campaign.strategy), 5))
    campaign.disturb_at_random(4, reboots=False)
    campaign.request("good", campaign.shutdown)


def long(campaign: Campaign, deploys: int) -> None:
    """Every point as often as it takes, random moments for the rest, and reboots."""
    campaign.begin()
    points = passed_by(campaign.strategy)
    campaign.die_at_points([points[number % len(points)] for number in range(int(deploys * NAMED_SHARE))])
    campaign.cut_at_points(plugs(campaign.strategy))
    campaign.disturb_at_random(max(0, deploys - campaign.number), reboots=True)


def run(server: Server, strategy: str, seed: int, course: Callable[[Campaign], None]) -> Report:
    """A whole run on a server that nothing was done with yet. Never raises for what the product does wrong."""
    report = Report(strategy, seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as place:
        seen = Path(place, "seen.json")
        machine = Machine(server, strategy, seen)
        try:
            course(Campaign(machine, report, Random(seed)))
        except TimeoutError:
            print(machine.box.journal(lines=JOURNAL_LINES), file=sys.stderr)  # it is in the report already
        finally:
            machine.unwatch()
        kept = json.loads(seen.read_text())
    report.checks.update(kept["checks"])
    report.violations += kept["violations"]
    report.answers = kept["answers"]
    report.failures.update(kept["failures"])
    for marker in MARKERS:
        asked, answered = report.requests[marker], kept["markers"].get(marker, 0)
        if asked != answered:
            report.violations.append(f"{asked} times {marker} was asked for, and there are {answered} verdicts")
    report.seconds = time.monotonic() - began
    return report


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deploys", type=int, default=500, metavar="N", help="how many (500)")
    parser.add_argument("--short", action="store_true", help="a minute's run, as in the test suite")
    parser.add_argument("--strategy", default="restart", choices=STRATEGIES)
    parser.add_argument("--seed", type=int, help="of an earlier run, to repeat its choices (not its timing)")
    asked = parser.parse_args()
    if (problem := obstacle()) is not None:
        print(problem, file=sys.stderr)
        return 1
    seed = asked.seed if asked.seed is not None else int.from_bytes(os.urandom(4))
    print(f"seed {seed}", flush=True)
    with Box() as box:
        course = short if asked.short else lambda campaign: long(campaign, asked.deploys)
        report = run(Server(box), asked.strategy, seed, course)
    print(report.text())
    return 1 if report.violations else 0
