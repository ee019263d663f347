"""The server for the clients' table: an app, an account and a drop directory for each client, and the guard."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropdeploy.report.dropfiles import deploying_name, result_name
from tests.box.clients.builds import Build, Cargo
from tests.box.clients.table import FAR_PORT, Client, Parcel
from tests.box.clients.witness import SOURCES, Witness
from tests.box.machine import Box, wait_until
from tests.box.server import AGENT_UNIT, Server, Site

STALL_S = 1.0
PYTHON = "/usr/bin/python3 -S -P -m"

MAIN_CONFIG = 'concurrency = 40\nrescan = "1h"\n'

APP_CONFIG = """
rate_limit = "off"
stall = "{stall_s}s"
[hooks]
before_swap = ["{name}-hook@.service"]
[health]
url = "http://127.0.0.1:{port}/"
"""

APP_UNIT = """
[Service]
User={name}
WorkingDirectory=/home/{name}/app
Environment=PYTHONPATH=/src PYTHONDONTWRITEBYTECODE=1
ExecStart={python} tests.box.clients.app {port}
"""

# A deploy stops here for as long as the test holds the lock.
HOOK_UNIT = """
[Service]
Type=oneshot
ExecStart=/usr/bin/flock --shared /run/held/{name} true
"""

# rsync is a program on the server, so its account cannot be one of internal-sftp in a chroot: rrsync, which comes with
# rsync, confines it to the drop directory. It is run by the account's shell, so that has to be one.
RSYNC_ACCOUNT = """
Match User {uploader}
    ForceCommand /usr/bin/rrsync {drop}
    AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    DisableForwarding yes
    PermitTTY no
    PermitUserRC no
    ClientAliveInterval 15
    ClientAliveCountMax 3
"""


FAR_S = 0.3
FAR_HOST = f"""
Host far
    HostName 127.0.0.1
    Port {FAR_PORT}
    BatchMode yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
"""


@dataclass(frozen=True)
class Place:
    """One client's app on the server, and the laptop's directory for it."""

    site: Site
    client: Client
    witness: Witness

    @property
    def box(self) -> Box:
        return self.site.box

    @property
    def app(self) -> str:
        return self.site.name

    @property
    def drop(self) -> Path:
        """The drop directory, seen from outside."""
        return self.box.path(self.site.drop)

    # --- the laptop ---

    def parcel(self, build: Build, name: str, rate: int = 0, *, is_far: bool = False) -> tuple[Parcel, Cargo]:
        """Put a build on the laptop, ready to be uploaded as ``name``."""
        place = self.box.path(f"/home/laptop/{self.app}/{build.label}")
        place.mkdir(parents=True, exist_ok=True)
        if self.client.is_tree:
            if not (place / name).exists():
                (place / name).mkdir()
                build.unpack_into(place / name)
            cargo = Cargo(build.label, tuple(build.files[name] for name in sorted(build.files) if "payload" in name))
        else:
            content = build.packed()
            if not (place / name).exists():
                (place / name).write_bytes(content)
            cargo = Cargo(build.label, (content,))
        source = f"/home/laptop/{self.app}/{build.label}/{name}"
        start = "" if self.client.is_rsync else f"/{self.app}"
        return Parcel(source, name, self.site.uploader, start, rate, is_far), cargo

    def mark_ready(self, name: str) -> None:
        """Upload NAME.ready the way this account can."""
        source = f"/home/laptop/{self.app}/{name}.ready"
        self.box.path(source).touch()
        # Two empty files of the same second are the same to rsync: it would not send the second one.
        copy: tuple[str, ...] = ("rsync", "--ignore-times", "--", source, f"{self.site.uploader}@server:/")
        if not self.client.is_rsync:
            copy = ("scp", "-q", "--", source, f"{self.site.uploader}@server:/{self.app}/")
        self.box.run(*copy, user="laptop")

    # --- the server ---

    def result(self, name: str) -> dict[str, Any] | None:
        """The result that is there now."""
        return self._told(result_name(name))

    def deploying(self, name: str) -> dict[str, Any] | None:
        """What the agent tells of its work now."""
        return self._told(deploying_name(name))

    def _told(self, name: str) -> dict[str, Any] | None:
        with suppress(FileNotFoundError):
            return tomllib.loads((self.drop / name).read_text())
        return None

    def lives(self) -> list[str]:
        """The builds that were live, in order."""
        return self.witness.lives(self.app)

    def live_release(self) -> str:
        """What the link names."""
        return os.readlink(self.box.path(f"/home/{self.app}/app")).removeprefix("releases/")

    def server_processes(self) -> list[int]:
        """The uploader's processes, as the box numbers them."""
        owner = next(
            int(line.split(":")[2])
            for line in self.box.path("/etc/passwd").read_text().splitlines()
            if line.startswith(f"{self.site.uploader}:")
        )
        found = []
        for process in self.box.path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                status = (process / "status").read_text()
                if f"\nUid:\t{owner}\t" in status and "\nState:\tZ" not in status:
                    found.append(int(process.name))
        return found

    def await_server(self) -> None:
        """The server's side of a client that is gone has seen it, and is gone too."""
        wait_until(lambda: not self.server_processes(), f"the end of {self.site.uploader}'s session")

    def is_opener_waiting(self, name: str) -> bool:
        """Somebody wants to write to the upload, and the lease on it lets them wait (proc(5), /proc/locks)."""
        try:
            inode = (self.drop / name).stat().st_ino
        except FileNotFoundError:
            return False
        locks = Path("/proc/locks").read_text().splitlines()
        return any(" LEASE  BREAKING " in lock and f":{inode} " in lock for lock in locks)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Deploys go as far as their hook, and no further."""
        with self.box.path(f"/run/held/{self.app}").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def stopped_unpacker(self) -> Iterator[Unpacker]:
        """Whoever unpacks the next upload to this app is stopped in the middle, and goes on when this ends."""
        agent = self.box.unit(AGENT_UNIT, "MainPID")["MainPID"]
        made = "3" if self.client.is_tree else "0"
        hunter = ("python3", "-S", "-P", "-m", "tests.box.clients.hunter", agent, self.app, made)
        with self.box.popen(*hunter, env=SOURCES) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "hunting\n"
            unpacker = Unpacker(self, process)
            try:
                yield unpacker
            finally:
                process.kill()
                unpacker.go_on()


class Unpacker:
    """The process that unpacks an upload, stopped."""

    def __init__(self, place: Place, hunter: subprocess.Popen[str]) -> None:
        self._place = place
        self._hunter = hunter
        self._pid = ""

    def await_stop(self) -> None:
        """It has begun, and stands still."""
        assert self._hunter.stdout is not None
        self._pid = self._hunter.stdout.readline().strip()
        assert self._pid.isdecimal(), f"the unpacker was too quick: {self._pid}"

    def go_on(self) -> None:
        """It does the rest."""
        if self._pid.isdecimal():
            self._place.box.run("kill", "-CONT", self._pid)
            self._pid = ""


@contextmanager
def laid_out(server: Server, clients: Sequence[Client]) -> Iterator[list[Place]]:
    """Accounts, apps and units for these clients, a running agent, the long line, and the guard."""
    box = server.box
    box.write("/etc/ssh/sshd_config.d/00-many.conf", "MaxStartups 200\n")
    # Hundreds of log-ins, each of which would start a systemd of its user's own.
    box.run("sed", "-i", "/pam_systemd/d", "/etc/pam.d/common-session")
    box.write("/etc/dropdeploy/dropdeploy.toml", MAIN_CONFIG, mode=0o640, owner="root:dropdeploy")
    box.run("mkdir", "/run/held")
    sites, ports = [], {}
    for number, client in enumerate(clients):
        name, port = client.slug, 7001 + number
        values = {"name": name, "port": port, "python": PYTHON, "stall_s": STALL_S}
        units = [f"{name}.service", f"{name}-hook@.service"]
        site = server.add_app(name, APP_CONFIG.format(**values), units, is_sshd_told=False)
        if client.is_rsync:
            block = RSYNC_ACCOUNT.format(uploader=site.uploader, drop=site.drop)
            box.path(f"/etc/ssh/sshd_config.d/dropdeploy-{site.uploader}.conf").write_text(block)
            box.run("usermod", "--shell", "/bin/sh", site.uploader)
            box.run("install", "-d", "-o", site.uploader, "-g", site.uploader, "-m", "0700", f"{site.drop}/.incoming")
        box.path(f"/etc/systemd/system/{name}.service").write_text(APP_UNIT.format(**values))
        box.path(f"/etc/systemd/system/{name}-hook@.service").write_text(HOOK_UNIT.format(**values))
        box.path(f"/run/held/{name}").touch()
        sites.append(site)
        ports[name] = port
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "restart", "ssh.service")
    server.agent("start")
    with box.path("/home/laptop/.ssh/config").open("a") as config:
        config.write(FAR_HOST)
    with long_line(box):
        witness = Witness(box, ports)
        yield [Place(site, client, witness) for site, client in zip(sites, clients, strict=True)]
        assert witness.end() == ""


@contextmanager
def long_line(box: Box) -> Iterator[None]:
    """What ssh calls the host "far"."""
    with box.path("/home/laptop/.ssh/config").open("a") as config:
        config.write(FAR_HOST)
    program = ("python3", "-S", "-P", "-m", "tests.box.clients.far", str(FAR_PORT), str(FAR_S))
    with box.popen(*program, env=SOURCES) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield
        process.kill()
        assert process.communicate()[1] == ""
