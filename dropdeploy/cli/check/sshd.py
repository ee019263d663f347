"""Those who upload over SSH: what sshd makes of their configuration, and whether they get to the drop directory.

sshd is asked (``sshd -T -C``), as blocks of several files decide together; ownership is what sshd(8) demands of a
chroot and of files with keys.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dropdeploy.cli.check.findings import Finding, denied, good, poor, wrong
from dropdeploy.cli.check.ground import owner_text
from dropdeploy.cli.check.place import Place
from dropdeploy.cli.init.look import account_named, group_name, members
from dropdeploy.cli.init.wish import SSHD_BLOCKS
from dropdeploy.cli.programs import tell
from dropdeploy.model.app import App
from dropdeploy.model.config import Config

_SSHD = "/usr/sbin/sshd"
_BLOCK = "dropdeploy-{}.conf"


@dataclass(frozen=True, slots=True)
class Uploader:
    """``sshd``: what ``sshd -T`` prints for this user, keys in lower case."""

    account: pwd.struct_passwd
    sshd: Mapping[str, str]

    @property
    def name(self) -> str:
        """Who."""
        return self.account.pw_name

    @property
    def chroot(self) -> Path | None:
        """Where sshd shuts him in."""
        value = self.sshd.get("chrootdirectory", "none")
        return None if value == "none" else Path(self._filled(value))

    @property
    def start(self) -> str:
        """Where internal-sftp begins, as seen from the chroot; "" where it begins anywhere else."""
        found = re.search(r"internal-sftp\b.* -d (\S+)", self.sshd.get("forcecommand", ""))
        return self._filled(found[1]) if found else ""

    @property
    def key_files(self) -> list[Path]:
        """Where sshd looks for his keys."""
        names = self.sshd.get("authorizedkeysfile", "").split()
        return [Path(self.account.pw_dir, self._filled(name)) for name in names if name != "none"]

    def _filled(self, value: str) -> str:
        return value.replace("%u", self.name).replace("%h", self.account.pw_dir).replace("%%", "%")


def check_uploaders(config: Config, place: Place) -> Iterator[Finding]:
    """All of them, each app for itself."""
    if not Path(_SSHD).exists():
        return
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd wants it even to check, and makes it when it is started
    tested = tell(_SSHD, "-t")
    if tested.code != 0:
        said = (tested.err.strip() or tested.out.strip()).splitlines()
        mend = f"correct it, and `{_SSHD} -t` says no more; sshd goes on with what it has read until it is restarted"
        yield wrong("sshd", f"sshd's configuration has a mistake: {said[0] if said else tested.code}", mend)
        return
    blocks = {path.stem.removeprefix("dropdeploy-") for path in SSHD_BLOCKS.glob(_BLOCK.format("*"))}
    if blocks:
        yield from _check_server()
    yield from _unknown(blocks)
    asked: dict[str, Uploader] = {}
    for app in config.apps:
        for account in _accounts(app, place.user, blocks):
            if account.pw_name not in asked:
                asked[account.pw_name] = Uploader(account, _ask(account.pw_name))
            uploader = asked[account.pw_name]
            if _is_meant(app, uploader):
                findings = list(_check(app, uploader, has_block=uploader.name in blocks))
                yield from findings or [good(app.name, f"{uploader.name} gets to {app.drop} by sftp")]


def _accounts(app: App, agent: str, blocks: set[str]) -> list[pwd.struct_passwd]:
    """Members of the drop directory's group, and whoever has a block of sshd's."""
    try:
        gid = app.drop.stat().st_gid
    except OSError:
        return []
    names = {*members(group_name(gid)), *(account.pw_name for account in pwd.getpwall() if account.pw_gid == gid)}
    found = [account_named(name) for name in sorted(names | blocks) if name not in (agent, "root")]
    return [account for account in found if account is not None]


def _is_meant(app: App, uploader: Uploader) -> bool:
    """He is in the directory's group, or starts there."""
    gids = os.getgrouplist(uploader.name, uploader.account.pw_gid)
    return app.drop.stat().st_gid in gids or _start(uploader) == app.drop


def _start(uploader: Uploader) -> Path | None:
    chroot = uploader.chroot
    return Path(f"{chroot}/{uploader.start.lstrip('/')}") if chroot and uploader.start else None


def _check(app: App, uploader: Uploader, *, has_block: bool) -> Iterator[Finding]:
    name, chroot = uploader.name, uploader.chroot
    if chroot is None:
        if has_block:
            mend = f'`sed -i "1i Include {SSHD_BLOCKS}/*.conf" /etc/ssh/sshd_config && systemctl restart ssh`'
            yield denied(
                app.name, f"sshd does not take up {SSHD_BLOCKS / _BLOCK.format(name)}: {name} is not confined", mend
            )
        yield from _check_entry(app, uploader)
        return
    yield from _check_chroot(app, uploader, chroot)
    if not app.drop.is_relative_to(chroot):
        mend = f"`dropdeploy init {app.name} --uploader {name}` writes a block for another uploader"
        yield denied(app.name, f"{name} is shut in {chroot}, and {app.drop} is not below it", mend)
    elif (start := _start(uploader)) is not None and not start.is_dir():
        block = SSHD_BLOCKS / _BLOCK.format(name)
        inside = f"/{app.drop.relative_to(chroot)}"
        mend = f"`sed -i 's|-d {uploader.start} |-d {inside} |' {block} && systemctl restart ssh`"
        yield denied(app.name, f"{name} cannot start in {uploader.start}, which is not in {chroot}", mend)
    yield from _check_entry(app, uploader)
    yield from _check_keys(app, uploader)
    if uploader.sshd.get("clientaliveinterval") == "0":
        what = f"an upload of {name} whose client froze stays open for hours (ClientAliveInterval 0)"
        yield poor(app.name, what, f"set ClientAliveInterval 15 and ClientAliveCountMax 3 for {name} in {SSHD_BLOCKS}")


def _check_server() -> Iterator[Finding]:
    if tell("systemctl", "is-active", "--quiet", "ssh.service", "ssh.socket").code != 0:
        yield denied("sshd", "it does not run, so nobody can upload", "`systemctl enable --now ssh`")


def _unknown(blocks: set[str]) -> Iterator[Finding]:
    for name in sorted(blocks):
        if account_named(name) is None:
            block = SSHD_BLOCKS / _BLOCK.format(name)
            mend = f"make the user again (`dropdeploy init APP --uploader {name}`), or `rm {block}`"
            yield denied("sshd", f"{block} is about the user {name}, who is not there", mend)


def _check_chroot(app: App, uploader: Uploader, chroot: Path) -> Iterator[Finding]:
    """sshd_config(5), ChrootDirectory: root's, and nobody else writes there, all the way up."""
    for path in (chroot, *chroot.parents):
        try:
            status = path.stat()
        except OSError:
            yield denied(
                app.name, f"{uploader.name} is to be shut in {path}, which is not there", f"`install -d -m 0711 {path}`"
            )
            return
        if status.st_uid != 0 or status.st_mode & 0o022:
            what = (
                f"sshd lets {uploader.name} not in: {path} belongs to {owner_text(path)}, and only root may write there"
            )
            yield denied(app.name, what, f"`chown root:root {path} && chmod go-w {path}`")


def _check_keys(app: App, uploader: Uploader) -> Iterator[Finding]:
    files = [path for path in uploader.key_files if path.exists()]
    if not files or not any(path.stat().st_size for path in files):
        mend = f"`dropdeploy init {app.name} --uploader {uploader.name} --key FILE.pub`"
        yield denied(app.name, f"{uploader.name} has no key, and cannot log in", mend)
    for path in files:
        for each in (path, path.parent):
            status = each.stat()
            if status.st_uid not in (0, uploader.account.pw_uid) or status.st_mode & 0o022:
                what = f"sshd does not believe {path}: {each} belongs to {owner_text(each)}, and others may write there"
                yield denied(app.name, what, f"`chown root:root {each} && chmod go-w {each}`")
        if not path.stat().st_mode & stat.S_IROTH and path.stat().st_uid != uploader.account.pw_uid:
            yield denied(app.name, f"{uploader.name} may not read {path}, as sshd does for him", f"`chmod 0644 {path}`")


def _check_entry(app: App, uploader: Uploader) -> Iterator[Finding]:
    """As the uploader: into the directory and write."""
    if _may_write(uploader, app.drop):
        return
    way = next((path for path in reversed(app.drop.parents) if not _may_write(uploader, path, os.X_OK)), None)
    if way is not None:
        what = f"{uploader.name} may not go through {way}, which belongs to {owner_text(way)}"
        yield denied(app.name, what, f"`chmod o+x {way}`")
        return
    group = group_name(app.drop.stat().st_gid)
    what = f"{uploader.name} may not write in {app.drop}, which belongs to {owner_text(app.drop)}"
    is_member = app.drop.stat().st_gid in os.getgrouplist(uploader.name, uploader.account.pw_gid)
    join = f"chmod g+rwxs {app.drop}" if is_member else f"usermod --append --groups {group} {uploader.name}"
    yield denied(app.name, what, f"`{join}`")


def _may_write(uploader: Uploader, path: Path, mode: int = os.W_OK | os.X_OK) -> bool:
    """Asked of the kernel by a process that is the uploader."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.initgroups(uploader.name, uploader.account.pw_gid)
            os.setresgid(*[uploader.account.pw_gid] * 3)
            os.setresuid(*[uploader.account.pw_uid] * 3)
            code = 0 if os.access(path, mode) else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _ask(user: str) -> Mapping[str, str]:
    shown = tell(_SSHD, "-T", "-C", f"user={user},host=localhost,addr=127.0.0.1")
    return {key.lower(): value for key, _, value in (line.partition(" ") for line in shown.out.splitlines())}
