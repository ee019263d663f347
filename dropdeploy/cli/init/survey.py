"""The command line and the server → the wish and the ground it stands on, or a refusal of what cannot be."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import dropdeploy
from dropdeploy import datafiles
from dropdeploy.cli.configured import load
from dropdeploy.cli.init.look import account_named, group_name, members
from dropdeploy.cli.init.things import File, Thing
from dropdeploy.cli.init.wish import AGENT, AGENT_UNIT, POLKIT_RULES, SSHD_BLOCKS, SYSTEM_UNITS, Ground, Templates, Wish
from dropdeploy.cli.programs import tell
from dropdeploy.cli.refusal import ExitCode, Refusal
from dropdeploy.config.parse import APP_NAME
from dropdeploy.model.app import App, Strategy
from dropdeploy.model.config import Bus, Config, Settings
from dropdeploy.units.templates import AppUnits, render_units

_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_PATH = re.compile(r"(/[A-Za-z0-9_.-]+)+")  # it stands in units, in sshd's configuration and in messages for shells
_UNIT = re.compile(r"[A-Za-z0-9:_.-]+\.service")
_NO_LOGIN = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false")
_PUBLIC_KEY = re.compile(r"(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/=]+( .*)?")
# For how long a stopping instance keeps idle connections. With a successor on the same socket nobody waits for that.
# In a restart everybody does; but with no time at all a request that is on its way just then is lost.
_IDLE_S = {Strategy.HANDOVER: 5.0, Strategy.RELOAD: 5.0, Strategy.RESTART: 0.25}
PACKAGED_UNITS = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))


def survey(asked: argparse.Namespace, made: Sequence[Thing]) -> tuple[Wish, Ground, Templates]:
    """What is wanted and what decides how, after what was ``made`` before. Raises a Refusal with all that is wrong."""
    if not APP_NAME.fullmatch(asked.app):
        raise _refusal(f'"{asked.app}" is no name for an app: expected a-z, 0-9, "-", "_" and "."')
    config = _configuration(asked.config)
    there = next((app for app in config.apps if app.name == asked.app), None)
    wish = _wish(asked, config.settings, there)
    wrong = [*_contradictions(asked, there), *_wrong_names(wish), *_wrong_server(wish, config)]
    if wrong:
        raise _refusal(*wrong)
    templates = Templates(
        polkit=_template("polkit/dropdeploy-app.rules.in"),
        sshd=_template("sshd/dropdeploy-uploader.conf.in"),
        drop_in=_template("systemd/dropdeploy-app.conf.in"),
    )
    return wish, _ground(asked.config, wish, made), templates


def _configuration(directory: Path) -> Config:
    return load(directory) if (directory / "apps.d").is_dir() else Config(Settings(), ())


def _wish(asked: argparse.Namespace, settings: Settings, there: App | None) -> Wish:
    """What is not asked for is as the app's file has it, or the default."""
    name = asked.app
    app = there or App(name, Path("/home", name), settings.drop / name, f"{name}.service")
    uploader = asked.uploader or ("" if members(f"drop-{name}") else f"up-{name}")
    port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/.*)", app.health.url)
    return Wish(
        app=name,
        root=asked.root or app.root,
        drop=asked.drop or app.drop,
        unit=asked.unit or app.unit,
        user=asked.user or name,
        uploader=uploader,
        key=_key(asked.key) if asked.key else "",
        strategy=Strategy(asked.strategy) if asked.strategy else app.strategy,
        port=asked.port or (int(port[1]) if port else 0),
        health=asked.health or (port[2] if port else "/"),
        kind=asked.units or "",
    )


def _key(path: Path) -> str:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _refusal(f"{path} cannot be read: {error}") from None
    if "PRIVATE KEY" in text:
        raise _refusal(f"{path} is a private key, which stays where it is: the public one is beside it, in {path}.pub")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines or not all(_PUBLIC_KEY.fullmatch(line) for line in lines):
        raise _refusal(f'{path} holds no public key: expected lines such as "ssh-ed25519 AAAA… ada@laptop"')
    return "".join(f"{line}\n" for line in lines)


def _contradictions(asked: argparse.Namespace, there: App | None) -> list[str]:
    """The app's file is the administrator's as soon as it is there."""
    if there is None:
        return []
    file = asked.config / f"apps.d/{there.name}.toml"
    pairs = (
        ("root", asked.root, there.root),
        ("drop", asked.drop, there.drop),
        ("unit", asked.unit, there.unit),
        ("strategy", asked.strategy, there.strategy.value),
    )
    wrong = [
        f'{file} says {key} = "{says}", and --{key} says {wants}: change the file, or leave the option out'
        for key, wants, says in pairs
        if wants and str(wants) != str(says)
    ]
    url = f"http://127.0.0.1:{asked.port}{asked.health or '/'}"
    if asked.port and there.health.url != url:
        wrong.append(f'{file} says [health] url = "{there.health.url}", and not "{url}": change the file')
    return wrong


def _wrong_names(wish: Wish) -> list[str]:
    wrong = []
    if wish.strategy is Strategy.RELOAD and wish.kind not in ("", "gunicorn"):
        wrong.append(f"--units {wish.kind} cannot be reloaded, only gunicorn can: choose another --strategy")
    wrong += [
        f'"{name}" is no name for a {what}: expected up to 32 of a-z, 0-9, "-" and "_"'
        for what, name in (("user", wish.user), ("user", wish.uploader or "x"), ("group", wish.uploaders))
        if not _USER_NAME.fullmatch(name)
    ]
    wrong += [
        f'"{path}" is no place for it: expected an absolute path of letters, digits, "_", "." and "-"'
        for path in (wish.root, wish.drop)
        if not _PATH.fullmatch(str(path)) or ".." in path.parts
    ]
    if wish.drop.parent == Path("/"):
        wrong.append(f"{wish.drop} is no place for uploads: the uploader is confined to the directory that it is in")
    if not _UNIT.fullmatch(wish.unit):
        wrong.append(f'"{wish.unit}" is no unit: expected a name such as "{wish.app}.service"')
    if not re.fullmatch(r"/[!-~]*", wish.health) or '"' in wish.health or "\\" in wish.health:
        wrong.append(f'"{wish.health}" is no path to ask for: expected one such as "/health"')
    if wish.kind and not wish.port:
        wrong.append("--units needs --port: the port on which the app is to answer")
    if wish.kind and wish.unit != f"{wish.app}.service":
        wrong.append(f"--units makes {wish.app}.service, so that --unit cannot be {wish.unit}: leave one of them out")
    for option, name in (("--user", wish.user), ("--uploader", wish.uploader)):
        if name in ("root", AGENT):
            wrong.append(f"{option} {name}: name another, {name} may do too much")
    if wish.user == wish.uploader:
        wrong.append("--user and --uploader must differ: who uploads a build is not the app that runs it")
    return wrong


def _wrong_server(wish: Wish, config: Config) -> list[str]:
    wrong: list[str] = []
    if config.settings.bus is not Bus.SYSTEM:
        wrong.append('init prepares apps that the machine\'s systemd runs: bus = "system" in dropdeploy.toml')
    if not Path("/run/systemd/system").is_dir():
        wrong.append("systemd does not run here")
    if not POLKIT_RULES.is_dir():
        wrong.append("polkit is not installed: `apt install polkitd`")
    if not SSHD_BLOCKS.is_dir() or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") is None:
        wrong.append("sshd is not installed: `apt install openssh-server`")
    here = Path(dropdeploy.__file__).parent
    if not _is_packaged() and not here.is_relative_to("/usr"):
        wrong.append(
            f"dropdeploy is in {here}, where the agent cannot see it: install the package, or below /usr, with "
            "`PIPX_HOME=/usr/local/lib/pipx PIPX_BIN_DIR=/usr/local/bin pipx install --system-site-packages dropdeploy`"
        )
    account = account_named(wish.uploader)
    if account is not None and account.pw_shell not in _NO_LOGIN:
        wrong.append(
            f"{wish.uploader} can log in (its shell is {account.pw_shell}), and would be locked out: "
            "name another --uploader, who can do nothing but upload"
        )
    chroot = re.search(r"^ *ChrootDirectory (.*)$", _text(_block(wish)), re.MULTILINE)
    if chroot is not None and chroot[1] != str(wish.drop.parent):
        mend = "name a --drop in there, or another --uploader"
        wrong.append(f"{wish.uploader} is confined to {chroot[1]} ({_block(wish)}): {mend}")
    if not wish.kind and not wrong and not _is_loaded(wish.unit):
        wrong.append(f"there is no unit {wish.unit}: install it first, name it with --unit, or have --units make it")
    return wrong


def _is_loaded(unit: str) -> bool:
    return tell("systemctl", "show", "--property=LoadState", "--value", "--", unit).out.strip() not in ("", "not-found")


def _ground(directory: Path, wish: Wish, made: Sequence[Thing]) -> Ground:
    account = account_named(wish.user)
    block = _text(_block(wish))
    has_same_chroot = f"ChrootDirectory {wish.drop.parent}" in [line.strip() for line in block.splitlines()]
    return Ground(
        units=_units(wish) if wish.kind else _units_of(made),
        directory=directory,
        group=group_name(account.pw_gid) if account else wish.user,
        app_file=_text(directory / f"apps.d/{wish.app}.toml"),
        sshd_block=block if has_same_chroot else "",
        agent_unit=_agent_unit(),
        missing=_missing(wish.root, wish.drop, directory),
    )


def _block(wish: Wish) -> Path:
    return SSHD_BLOCKS / f"dropdeploy-{wish.uploader}.conf"


def _units_of(made: Sequence[Thing]) -> tuple[tuple[str, str], ...]:
    files = (thing for thing in made if isinstance(thing, File) and thing.path.parent == SYSTEM_UNITS)
    return tuple((file.path.name, file.text) for file in files if file.path.name != AGENT_UNIT)


def _units(wish: Wish) -> tuple[tuple[str, str], ...]:
    share = datafiles.find("apps")
    units = AppUnits(wish.kind, wish.app, str(wish.root), wish.user, wish.port, str(share), _IDLE_S[wish.strategy])
    return tuple(render_units(units, lambda name: (share / name).read_text()).items())


def _agent_unit() -> str:
    """For a dropdeploy that pip has installed; where a package has, there is one."""
    if _is_packaged():
        return ""
    text = _template(f"systemd/{AGENT_UNIT}")
    return text.replace("ExecStart=/usr/bin/python3 ", f"ExecStart={sys.executable} ")


def _is_packaged() -> bool:
    return any((place / AGENT_UNIT).exists() for place in PACKAGED_UNITS)


def _missing(*paths: Path) -> tuple[Path, ...]:
    ways = [parent for path in paths for parent in reversed(path.parents) if not parent.exists()]
    return tuple(dict.fromkeys(ways))


def _template(name: str) -> str:
    kind, _, file = name.partition("/")
    return (datafiles.find(kind) / file).read_text()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""


def _refusal(*lines: str) -> Refusal:
    return Refusal(ExitCode.USAGE, *lines)


def has_agent_unit() -> bool:
    """Whether the agent is a service here."""
    return any((place / AGENT_UNIT).exists() for place in (*PACKAGED_UNITS, SYSTEM_UNITS))


def is_root() -> bool:
    """Whether changes can be made."""
    return os.geteuid() == 0
