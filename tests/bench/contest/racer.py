"""Runs in the box: starts one deploy as told, and sees when the new release answers. Standard library only.

Each line that it reads is a race as JSON; each line that it writes is what it saw: for each app the seconds from the
last byte of the upload to the first 200 of the new release's process, and to the verdict of whoever deployed it; and
the processor time of the whole box until then.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 300.0
LOOK_S = 0.002
TOLD = Path("/run/told")


@dataclass(frozen=True)
class Runner:
    """One app in a race."""

    app: str
    port: int
    archive: str

    @property
    def home(self) -> Path:
        return Path("/home", self.app)

    def processes(self) -> set[str]:
        """What runs of the app now, as its cgroup tells."""
        try:
            return set(Path(f"/sys/fs/cgroup/system.slice/{self.app}.service/cgroup.procs").read_text().split())
        except OSError:
            return set()

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
                return connection.recv(64).startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
        except OSError:
            return False

    def upload(self, place: Path, name: str) -> None:
        """The bytes are there before; the rename is the end of the upload, as careful clients make it."""
        os.rename(self.staged, place / name)

    @property
    def staged(self) -> Path:
        return Path("/srv/staged", f"{self.app}.tar.gz")

    def told(self) -> Path:
        return TOLD / self.app


# --- the ways: what is done when the last byte is there --------------------------------------------------------------


def by_dropdeploy(runner: Runner) -> Callable[[], bool]:
    drop = Path("/srv/drop", runner.app)
    result = drop / "build.tar.gz.result.toml"
    runner.upload(drop, "build.tar.gz")

    def is_told() -> bool:
        if not result.exists():
            return False
        if 'status = "deployed"' not in result.read_text():
            raise SystemExit(result.read_text())
        return True

    return is_told


def by_inbox(runner: Runner) -> Callable[[], bool]:
    """Whoever watches the directory does the rest."""
    runner.upload(Path("/srv/in", runner.app), f"build-{time.time_ns()}.tar.gz")
    return lambda: is_told(runner)


def by_webhook(runner: Runner) -> Callable[[], bool]:
    runner.upload(Path("/srv/in", runner.app), "build.tar.gz")
    subprocess.Popen(["curl", "-fsS", "-o", "/dev/null", "-X", "POST", f"http://127.0.0.1:9000/hooks/{runner.app}"])
    return lambda: is_told(runner)


def by_ansible(runner: Runner) -> Callable[[], bool]:
    facts = {"app": runner.app, "port": runner.port, "release": str(time.time_ns()), "archive": str(runner.staged)}
    command = ["ansible-playbook", "-i", "localhost,", "-e", json.dumps(facts), "/opt/peers/deploy.yml"]
    return start(runner, command, {})


def by_capistrano(runner: Runner) -> Callable[[], bool]:
    environment = {"APP": runner.app, "PORT": str(runner.port), "ARCHIVE": str(runner.staged)}
    return start(runner, ["cap", "production", "deploy"], environment)


def by_hand(runner: Runner, *, is_durable: bool = False) -> Callable[[], bool]:
    """The floor: what has to be done, and nothing else. The verdict is the first answer."""

    def work() -> None:
        release = runner.home / "releases" / str(time.time_ns())
        release.mkdir(parents=True)
        subprocess.run(["tar", "-xzf", runner.staged, "-C", release], check=True)
        if is_durable:
            subprocess.run(["sync", "-f", release], check=True)
        (runner.home / "app.new").symlink_to(release)
        (runner.home / "app.new").rename(runner.home / "app")
        subprocess.run(["systemctl", "restart", f"{runner.app}.service"], check=True)

    thread = threading.Thread(target=work)
    thread.start()
    return lambda: not thread.is_alive()


def by_hand_to_disk(runner: Runner) -> Callable[[], bool]:
    """The same with the release on disk before the link names it."""
    return by_hand(runner, is_durable=True)


WAYS: dict[str, Callable[[Runner], Callable[[], bool]]] = {
    "floor": by_hand,
    "floor, to disk": by_hand_to_disk,
    "dropdeploy": by_dropdeploy,
    "path unit": by_inbox,
    "incron": by_inbox,
    "webhook": by_webhook,
    "Ansible": by_ansible,
    "Capistrano": by_capistrano,
}


def is_told(runner: Runner) -> bool:
    try:
        told = runner.told().read_text()
    except OSError:
        return False
    if told and told != "0\n":
        raise SystemExit(f"{runner.app}: the script has given up")
    return bool(told)


def start(runner: Runner, command: list[str], environment: dict[str, str]) -> Callable[[], bool]:
    """A program whose end is the verdict."""
    with open(f"/run/told/{runner.app}.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd="/opt/peers/cap", env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT
        )

    def has_ended() -> bool:
        if process.poll() not in (None, 0):
            raise SystemExit(Path(f"/run/told/{runner.app}.log").read_text())
        return process.returncode == 0

    return has_ended


# --- a race ----------------------------------------------------------------------------------------------------------


def used_s() -> float:
    """Processor time of everything in the box, without what it takes to watch."""
    stat = dict(line.split() for line in Path("/sys/fs/cgroup/cpu.stat").read_text().splitlines())
    ours = resource.getrusage(resource.RUSAGE_SELF)
    return int(stat["usage_usec"]) / 1e6 - ours.ru_utime - ours.ru_stime


def settle_in() -> None:
    """Whoever is let into the box by nsenter(1) is in none of its cgroups: what is started here is to compete on the
    same terms as the box's services."""
    cgroup = Path("/sys/fs/cgroup/system.slice/contest")
    cgroup.mkdir(exist_ok=True)
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))


def race(way: str, runners: list[Runner]) -> dict[str, object]:
    """Everything is uploaded at once. What does not answer in time ends this with the reason."""
    before = {runner: runner.processes() for runner in runners}
    for runner in runners:
        runner.told().unlink(missing_ok=True)
        Path("/srv/drop", runner.app, "build.tar.gz.result.toml").unlink(missing_ok=True)
    cpu_s = used_s()
    began = time.monotonic()
    verdicts = {runner: WAYS[way](runner) for runner in runners}
    live: dict[Runner, float] = {}
    told: dict[Runner, float] = {}
    while len(live) < len(runners) or len(told) < len(runners):
        now = time.monotonic() - began
        for runner in runners:
            if runner not in live:
                running = runner.processes()
                if running and not running & before[runner] and runner.answers():
                    live[runner] = time.monotonic() - began
            if runner not in told and verdicts[runner]():
                told[runner] = time.monotonic() - began
        if now > LIMIT_S:
            raise SystemExit(f"{way}: not live after {LIMIT_S:g} s: {[runner.app for runner in runners]}")
        time.sleep(LOOK_S)
    return {
        "live": max(live.values()),
        "told": max(*live.values(), *told.values()),
        "cpu": used_s() - cpu_s,
    }


def prepare(runners: list[Runner]) -> None:
    """The bytes where they are uploaded from, and nothing of before left to be written to disk."""
    for runner in runners:
        shutil.copyfile(runner.archive, runner.staged)
        os.chmod(runner.staged, 0o644)


def tidy(way: str, runners: list[Runner]) -> None:
    """What by_hand leaves undone, outside the measured time: two releases stay, as with everybody else."""
    for runner in runners:
        runner.staged.unlink(missing_ok=True)
        if way.startswith("floor"):
            for release in sorted((runner.home / "releases").iterdir())[:-2]:
                shutil.rmtree(release)


def main() -> None:
    TOLD.mkdir(exist_ok=True)
    settle_in()
    for line in sys.stdin:
        told = json.loads(line)
        runners = [Runner(**runner) for runner in told["runners"]]
        if told["do"] == "prepare":
            prepare(runners)
            os.sync()
            seen: object = "prepared"
        else:
            seen = race(told["way"], runners)
            tidy(told["way"], runners)
        print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()
