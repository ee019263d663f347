"""A box: a Debian with a real systemd, D-Bus, polkit and sshd, booted as a throw-away container in half a second.

It is a machine to be killed. What it writes goes to an overlay of its own, so that a crash or a shutdown and another
``boot()`` show what a reboot would; ``remove()`` leaves nothing behind, and neither does an interrupted test run
(see keeper.py). Its network is a loopback interface of its own. Root is needed, Docker is not.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.box import cache, keeper
from tests.box.recipes import SERVER, Recipe
from tests.box.tree import tree

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_SOURCES = shutil.ignore_patterns(".git", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist")
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The shell that becomes systemd-nspawn. Its mount namespace is its own, so the overlay goes when the box does. What
# systemd-nspawn would let nobody in the box call, and a real server's kernel does: landlock(7).
START = """
set -e
echo $$ > "$1/cgroup.procs"
mount -t overlay -o "lowerdir=$2,upperdir=$3/upper,workdir=$3/work" overlay "$3/root"
if [ -e "$3/disk.img" ]; then
    mount -o loop "$3/disk.img" "$3/disk"
    for part in home srv var/lib/dropdeploy; do
        mkdir -p "$3/disk/$part" "$3/root/$part"
        mount --bind "$3/disk/$part" "$3/root/$part"
    done
fi
exec systemd-nspawn --quiet --boot --directory="$3/root" --machine="$4" --private-network --register=no --keep-unit \
    --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self" \
    --link-journal=no --resolv-conf=off --timezone=off --console=pipe --notify-ready=yes
"""


class BoxError(Exception):
    """The box itself does not work: it did not boot, or is gone."""


class CommandError(AssertionError):
    """A command in the box ended with another status than 0; the message holds all it printed."""


@dataclass(frozen=True)
class Completed:
    """What a command left. ``code`` is its exit status, 124 when it was stopped for taking too long."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"{' '.join(self.argv)} ended with {self.code}\nstdout:\n{self.out}\nstderr:\n{self.err}"


def obstacle() -> str | None:
    """Why no box can run here, in one sentence; None when one can."""
    if os.geteuid() != 0:
        return "boxes need root"
    for program in ("mmdebstrap", "systemd-nspawn", "unshare", "nsenter", "setpriv"):
        if shutil.which(program) is None:
            return f"boxes need the program {program}"
    try:
        cgroup = _cgroup_root() / f"dropdeploy-probe-{secrets.token_hex(4)}"
        cgroup.mkdir()
        has_kill = (cgroup / "cgroup.kill").exists()
        cgroup.rmdir()
    except OSError as error:
        return f"boxes need a cgroup of their own ({error})"
    if not has_kill:
        return "boxes need a kernel with cgroup.kill (Linux 5.14)"
    with tempfile.TemporaryDirectory(dir=cache.directory("probes")) as probe:
        for part in ("lower", "upper", "work", "root"):
            Path(probe, part).mkdir()
        options = f"lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work"
        mounted = subprocess.run(
            ["unshare", "--mount", "mount", "-t", "overlay", "-o", options, "overlay", f"{probe}/root"],
            capture_output=True,
            text=True,
            check=False,
        )
    return f"boxes need to mount an overlay ({mounted.stderr.strip()})" if mounted.returncode != 0 else None


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    """Wait until ``condition()`` is true; a TimeoutError names ``what`` did not happen."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.02)


class Box:
    """One machine. Make it, ``boot()`` it, ``run()`` commands in it, ``remove()`` it.

    The source tree, as it was when the box was made, is at /src, owned by root. With ``disk_bytes``, what is deployed
    (/home, /srv, the history) is on a disk of its own of at most so many: ext4 as Debian's installer makes it, whatever
    file system the overlay is on.
    """

    def __init__(self, recipe: Recipe = SERVER, *, disk_bytes: int = 0) -> None:
        self._tree = tree(recipe)
        self.name = f"dropdeploy-box-{secrets.token_hex(4)}"
        boxes = cache.directory("boxes")
        self._place = boxes / self.name
        self.cgroup = _cgroup_root() / self.name
        with cache.entry(boxes.parent, "boxes"):
            keeper.sweep(boxes)
            self._place.mkdir(mode=0o700)
            lock = keeper.claim(self._place)
        assert lock is not None, "a name of its own"
        for part in ("upper", "work", "root"):
            (self._place / part).mkdir()
        (self._place / keeper.CGROUP).write_text(str(self.cgroup))
        if disk_bytes:
            (self._place / "disk").mkdir()
            with (self._place / "disk.img").open("wb") as image:
                image.truncate(disk_bytes)
            subprocess.run(["mkfs.ext4", "-q", self._place / "disk.img"], check=True)
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", keeper.__file__, str(self._place)],
            stdin=subprocess.PIPE,
            pass_fds=[lock],
            start_new_session=True,
        )
        os.close(lock)
        self.cgroup.mkdir()
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0
        shutil.copytree(REPOSITORY, self._place / "upper/src", ignore=NOT_SOURCES, symlinks=True)
        _make_readable(self._place / "upper/src")

    @property
    def is_running(self) -> bool:
        """Booted, and neither crashed nor shut down since."""
        return self._nspawn is not None and self._nspawn.poll() is None

    # --- its life ------------------------------------------------------------------------------------------

    def boot(self, timeout_s: float = 60.0) -> None:
        """Boot, and return when every unit of the default target has started. What was written before is there."""
        if self._nspawn is not None:
            raise BoxError(f"{self.name} runs already")
        address = f"@{self.name}"
        places = map(str, (self.cgroup, self._tree, self._place))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(address.replace("@", "\0"))
            with (self._place / "console").open("ab") as console:
                self._nspawn = subprocess.Popen(
                    ["unshare", "--mount", "sh", "-c", START, "start", *places, self.name],
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    # A box is to have one cgroup hierarchy, whatever the machine it runs on has.
                    env={**os.environ, "NOTIFY_SOCKET": address, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                    start_new_session=True,
                )
            self.leader = self._await_ready(notify, self._nspawn, time.monotonic() + timeout_s)
        state = self.run("systemctl", "is-system-running", "--wait", check=False).out.strip()
        if state != "running":
            failed = self.run("systemctl", "--failed", "--plain", "--no-legend", check=False).out
            raise BoxError(f"{self.name} is {state}, not running:\n{failed}{self.journal(lines=60)}")

    def _await_ready(self, notify: socket.socket, nspawn: subprocess.Popen[bytes], deadline: float) -> int:
        notify.settimeout(0.2)
        leader = 0
        while nspawn.poll() is None and time.monotonic() < deadline:
            with suppress(TimeoutError):
                # sd_notify(3); systemd-nspawn tells its init's pid, and passes READY=1 of the init inside on.
                told = dict(line.partition("=")[::2] for line in notify.recv(65536).decode().splitlines())
                leader = int(told.get("X_NSPAWN_LEADER_PID", leader))
                if told.get("READY") == "1" and leader:
                    return leader
        why = "did not come up in time" if nspawn.poll() is None else f"ended with {nspawn.returncode}"
        self.crash()
        raise BoxError(f"{self.name} {why}:\n{self.console()}")

    def crash(self) -> None:
        """The power cut: every process is gone at once, what was written stays."""
        keeper.kill_all(self.cgroup)
        self._gone()

    def shut_down(self, timeout_s: float = 30.0) -> None:
        """The orderly end: every unit is stopped. Does not return before the box is off."""
        self.run("systemctl", "poweroff", check=False)
        if self._nspawn is not None:
            self._nspawn.wait(timeout_s)
        self.crash()

    def reboot(self) -> None:
        """Orderly down, and up again."""
        self.shut_down()
        self.boot()

    def _gone(self) -> None:
        if self._nspawn is not None:
            self._nspawn.wait()
        self._nspawn, self.leader = None, 0
        for below in self.cgroup.iterdir():
            if below.is_dir():
                keeper.remove_cgroup(below)

    def remove(self) -> None:
        """Kill it and leave nothing of it."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        if self._keeper.wait(60) != 0:
            raise BoxError(f"{self.name} could not be removed whole; the next box that is made tries again")
        if self._nspawn is not None:
            self._nspawn.wait()

    def __enter__(self) -> Box:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    # --- what happens in it --------------------------------------------------------------------------------

    def start_own_systemd(self, user: str) -> dict[str, str]:
        """Start the user's own systemd, as a log-in would, and wait for it. Returns the environment to ask it in."""
        uid = self.run("id", "-u", user).out.strip()
        environment = {"XDG_RUNTIME_DIR": f"/run/user/{uid}"}
        self.run("loginctl", "enable-linger", user)

        def is_up() -> bool:
            asked = self.run("systemctl", "--user", "is-system-running", user=user, env=environment, check=False)
            return asked.out.strip() in ("running", "degraded")

        wait_until(is_up, f"the systemd of {user}", timeout_s=60)
        return environment

    def run(
        self,
        *argv: str,
        user: str = "root",
        stdin: str | None = None,
        timeout_s: float = 60.0,
        check: bool = True,
        env: dict[str, str] | None = None,
    ) -> Completed:
        """Run a program in the box and await it. No shell is in between: ``run("sh", "-c", …)`` is one."""
        process = self.popen("timeout", "--kill-after=2", f"{timeout_s:g}", *argv, user=user, env=env)
        with process:
            out, err = process.communicate(stdin)
        done = Completed(argv, process.returncode, out, err)
        if check and done.code != 0:
            raise CommandError(str(done))
        return done

    def popen(self, *argv: str, user: str = "root", env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a program in the box, with pipes to it. Killing the process returned kills the program."""
        if not self.is_running:
            raise BoxError(f"{self.name} does not run:\n{self.console()}")
        uid, gid, home = self._account(user)
        inside = ["nsenter", f"--target={self.leader}", *("-m", "-u", "-i", "-n", "-p", "-C"), "--"]
        # nsenter waits outside for the program inside; the program has to go when nsenter is killed.
        as_user = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--init-groups", "setpriv", "--pdeathsig=KILL"]
        return subprocess.Popen(
            [*inside, *as_user, "env", f"--chdir={home}", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={"PATH": SEARCH_PATH, "LANG": "C.UTF-8", "USER": user, "LOGNAME": user, "HOME": home, **(env or {})},
        )

    def _account(self, user: str) -> tuple[int, int, str]:
        for line in self.path("/etc/passwd").read_text().splitlines():
            name, _, uid, gid, _, home, _ = line.split(":")
            if name == user:
                return int(uid), int(gid), home if self.path(home).is_dir() else "/"
        raise BoxError(f"{self.name} has no user {user}")

    def path(self, inside: str | Path) -> Path:
        """The same file seen from outside, for reading and writing without a command. Symbolic links on the way that
        are absolute lead astray: they are resolved outside."""
        return Path(f"/proc/{self.leader}/root/{str(inside).lstrip('/')}")

    def write(self, inside: str, text: str, mode: int = 0o644, owner: str = "root") -> None:
        """Write a file in the box, its directories made when missing."""
        self.path(inside).parent.mkdir(parents=True, exist_ok=True)
        self.path(inside).write_text(text)
        self.path(inside).chmod(mode)
        self.run("chown", owner, inside)

    def copy_in(self, outside: Path, inside: str, owner: str = "root") -> None:
        """Copy a file or a directory into the box."""
        self.path(inside).parent.mkdir(parents=True, exist_ok=True)
        if outside.is_dir():
            shutil.copytree(outside, self.path(inside), symlinks=True)
        else:
            shutil.copy(outside, self.path(inside))
        self.run("chown", "-R", owner, inside)

    def unit(self, name: str, *properties: str) -> dict[str, str]:
        """Properties of a unit, as ``systemctl show`` prints them; all of them when none is named."""
        shown = self.run("systemctl", "show", *(f"--property={each}" for each in properties), "--", name).out
        return dict(line.partition("=")[::2] for line in shown.splitlines())

    def journal(self, *units: str, since: float | None = None, lines: int | None = None) -> str:
        """The journal, of some units or of all; ``since`` is a Unix time."""
        options = [f"--unit={unit}" for unit in units]
        options += [] if since is None else [f"--since=@{since:.6f}"]
        options += [] if lines is None else [f"--lines={lines}"]
        return self.run("journalctl", "--no-pager", "--quiet", "-o", "short-precise", *options, check=False).out

    def console(self) -> str:
        """What the box's boot printed, which is where to look when it has not got as far as a journal."""
        return "\n".join((self._place / "console").read_text(errors="replace").splitlines()[-60:])


def _cgroup_root() -> Path:
    """Where the unified hierarchy is: not at the top where the machine's is hybrid."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, target, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(target)
    raise FileNotFoundError("no cgroup2 file system is mounted")


def _make_readable(top: Path) -> None:
    """Whatever umask the checkout was made with: everybody in the box may read it."""
    for directory, _, files in os.walk(top):
        os.chmod(directory, 0o755)
        os.chown(directory, 0, 0)
        for name in files:
            path = Path(directory, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            os.chown(path, 0, 0, follow_symlinks=False)
