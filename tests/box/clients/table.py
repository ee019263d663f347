"""The clients: how each is told to upload and to go on with what it left, and what it leaves when it is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote

KEY = "/home/laptop/.ssh/id_ed25519"
FAR_PORT = 2222


class Left(Enum):
    """What is under the upload's name after a client was killed midway."""

    NOTHING = "nothing"  # or what was there before: a temporary name, a tree without its .ready
    SHORT = "short"  # a truncated file
    MIXED = "mixed"  # the head of the new upload and the tail of the one before


@dataclass(frozen=True)
class Parcel:
    """One upload to be made: ``source`` (on the laptop) is to become ``name`` in the drop directory.

    The last part of ``source`` is ``name``. ``start`` is the drop directory as the uploader sees it. ``rate`` is in
    thousands of bytes a second, 0 for as fast as can be. ``is_far``: over a line of 0.6 s round trip.
    """

    source: str
    name: str
    user: str
    start: str
    rate: int = 0
    is_far: bool = False

    @property
    def address(self) -> str:
        """For what reads ssh's configuration."""
        return f"{self.user}@{self.host}"

    @property
    def host(self) -> str:
        return "far" if self.is_far else "server"

    @property
    def port(self) -> int:
        return FAR_PORT if self.is_far else 22


@dataclass(frozen=True)
class Call:
    """A program with its arguments and what it reads."""

    argv: tuple[str, ...]
    stdin: str = ""


Way = Callable[[Parcel], Call]


@dataclass(frozen=True)
class Client:
    """``put`` uploads; ``resume`` goes on after an interruption, where the client can.

    ``killed`` is what is left of a new upload, ``killed_over`` of one over another that is still there. A client
    ``is_blind`` when ``resume`` takes whatever is there for the head of what it uploads. ``anew`` uploads over a file
    that is mixed, where ``put`` would not.
    """

    name: str
    put: Way
    killed: Left = Left.NOTHING
    killed_over: Left = Left.NOTHING
    resume: Way | None = None
    anew: Way | None = None
    is_tree: bool = False
    is_rsync: bool = False
    is_blind: bool = False

    @property
    def slug(self) -> str:
        """For accounts, apps and directories."""
        letters = "".join(letter if letter.isalnum() else "-" for letter in self.name.lower())
        return "-".join(part for part in letters.split("-") if part)

    @property
    def again(self) -> Way:
        """After an interruption: going on, or beginning anew."""
        return self.resume or self.put


# --- scp, sftp -----------------------------------------------------------------------------------------------------


def scp(parcel: Parcel) -> Call:
    return Call(("scp", "-q", *_limit_kbit(parcel), "--", parcel.source, f"{parcel.address}:{parcel.start}/"))


def scp_tree(parcel: Parcel) -> Call:
    return Call(("scp", "-q", "-r", *_limit_kbit(parcel), "--", parcel.source, f"{parcel.address}:{parcel.start}/"))


def _sftp(parcel: Parcel, *commands: str) -> Call:
    batch = "".join(f"{command}\n" for command in commands)
    return Call(("sftp", "-q", *_limit_kbit(parcel), "-b", "-", parcel.address), batch)


def _limit_kbit(parcel: Parcel) -> tuple[str, ...]:
    return ("-l", str(parcel.rate * 8)) if parcel.rate else ()


def sftp_quoted(word: str) -> str:
    """As sftp(1) reads it: within quotes a backslash takes the meaning from a quote, a backslash and a pattern's."""
    return '"' + "".join(f"\\{letter}" if letter in '"\\' else letter for letter in word) + '"'


def sftp_put(parcel: Parcel) -> Call:
    return _sftp(parcel, f"put {sftp_quoted(parcel.source)} {sftp_quoted('./' + parcel.name)}")


def sftp_put_tree(parcel: Parcel) -> Call:
    return _sftp(parcel, f"put -r {sftp_quoted(parcel.source)}")


def sftp_put_and_rename(parcel: Parcel) -> Call:
    temporary = sftp_quoted(f"{parcel.name}.part")
    return _sftp(parcel, f"put {sftp_quoted(parcel.source)} {temporary}", f"rename {temporary} {parcel.name}")


def sftp_as_winscp(parcel: Parcel) -> Call:
    """WinSCP's way: a .filepart, the target removed, and SFTP's plain rename, which sftp-server makes by link and
    unlink."""
    temporary = f"{parcel.name}.filepart"
    return _sftp(
        parcel,
        f"put {sftp_quoted(parcel.source)} {temporary}",
        f"-rm {parcel.name}",
        f"rename -l {temporary} {parcel.name}",
    )


def sftp_reput(parcel: Parcel) -> Call:
    return _sftp(parcel, f"reput {sftp_quoted(parcel.source)} {sftp_quoted(parcel.name)}")


# --- rsync ---------------------------------------------------------------------------------------------------------


def rsync(*options: str) -> Way:
    def way(parcel: Parcel) -> Call:
        limit = (f"--bwlimit={parcel.rate}",) if parcel.rate else ()
        return Call(("rsync", "-a", *options, *limit, "--", parcel.source, f"{parcel.address}:/"))

    return way


# --- lftp ----------------------------------------------------------------------------------------------------------


def lftp(command: str, setting: str = "") -> Way:
    def way(parcel: Parcel) -> Call:
        limit = f"set net:limit-rate 0:{parcel.rate * 1000}; " if parcel.rate else ""
        script = (
            f"set cmd:fail-exit yes; set net:max-retries 1; {setting}{limit}"
            f"open -u {parcel.user}, sftp://{parcel.host}; cd {parcel.start}; "
            + command.format(source=_lftp_quoted(parcel.source), name=_lftp_quoted(parcel.name))
        )
        return Call(("lftp", "-c", script))

    return way


def _lftp_quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


# --- rclone, curl --------------------------------------------------------------------------------------------------


def rclone(parcel: Parcel) -> Call:
    server = f"host=127.0.0.1,port={parcel.port},user={parcel.user},key_file={KEY},shell_type=none"
    limit = (f"--bwlimit={parcel.rate}k",) if parcel.rate else ()
    remote = f":sftp,{server}:{parcel.start}/{parcel.name}"
    return Call(("rclone", "--config=", "--retries=1", *limit, "copyto", parcel.source, remote))


def curl(*options: str) -> Way:
    def way(parcel: Parcel) -> Call:
        limit = ("--limit-rate", f"{parcel.rate}k") if parcel.rate else ()
        remote = f"sftp://{parcel.user}@127.0.0.1:{parcel.port}{parcel.start}/{quote(os.fsencode(parcel.name))}"
        keys = ("--globoff", "--key", KEY, "--pubkey", f"{KEY}.pub", "--insecure")
        return Call(("curl", "-sS", *options, *limit, *keys, "-T", parcel.source, remote))

    return way


# -------------------------------------------------------------------------------------------------------------------

TEMPORARY_FILES = "set xfer:use-temp-file yes; "

CLIENTS = (
    Client("scp", scp, Left.SHORT, Left.MIXED),
    Client("scp -r", scp_tree, is_tree=True),
    Client("sftp put", sftp_put, Left.SHORT, Left.SHORT),
    Client("sftp put -r", sftp_put_tree, is_tree=True),
    Client("sftp put + rename", sftp_put_and_rename),
    Client("sftp as WinSCP", sftp_as_winscp),
    Client("sftp reput", sftp_put, Left.SHORT, Left.SHORT, resume=sftp_reput, is_blind=True),
    Client("rsync", rsync(), is_rsync=True),
    Client("rsync -P", rsync("-P"), Left.SHORT, Left.SHORT, is_rsync=True),
    Client("rsync --inplace", rsync("--inplace"), Left.SHORT, Left.MIXED, is_rsync=True),
    # A file that is as long as it should be is nothing to append to, whatever is in it, and rsync is content.
    Client("rsync --append-verify", rsync("--append-verify"), Left.SHORT, Left.MIXED, anew=rsync(), is_rsync=True),
    Client("rsync --delay-updates", rsync("--delay-updates"), is_rsync=True),
    Client("rsync --temp-dir", rsync("--temp-dir=/.incoming"), is_rsync=True),
    Client("rsync of a tree", rsync(), is_tree=True, is_rsync=True),
    Client(
        "lftp put",
        lftp("put {source} -o {name}"),
        Left.SHORT,
        Left.SHORT,
        resume=lftp("put -c {source} -o {name}"),
        is_blind=True,
    ),
    Client("lftp put, use-temp-file", lftp("put {source} -o {name}", TEMPORARY_FILES)),
    Client("lftp mirror -R", lftp("mirror -R {source} {name}"), is_tree=True),
    Client("rclone", rclone, Left.SHORT, Left.SHORT),
    Client("curl", curl(), Left.SHORT, Left.SHORT, resume=curl("-C", "-"), is_blind=True),
)

NAMES = {
    "spaces": " a build  of today .tar.gz",
    "quotes": """it's "so" `called`.tar.gz""",
    "newlines": "one\ntwo\n.tar.gz",
    "dash": "-rf.tar.gz",
    "emoji": "🚀 déjà vu.tar.gz",
    "shell": "$(id);a&b|c>*?[d]{e,f}~!#.tar.gz",
    "backslashes": "C:\\build\\n.tar.gz",
    "controls": "\t\x1b[31m\x7f.tar.gz",
    "not UTF-8": "latin-\udce9t\udce9.tar.gz",  # bytes as Python has them in names (PEP 383)
    "255 bytes": "x" * 248 + ".tar.gz",
    "255 bytes of emoji": "🚀" * 62 + ".tar.gz",
}
"""Odd names. All are files that Linux takes. A tree's are the same without the ending."""

NAMING_CLIENTS = ("scp", "scp -r", "sftp put", "rsync", "rsync of a tree", "lftp put", "rclone", "curl")

INEXPRESSIBLE = {
    ("sftp put", "newlines"),  # a command is a line
    ("lftp put", "newlines"),
}
