"""Files with keys: who may sign builds, who may read the page, and what webhooks are signed with. Read as the agent."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from dropdeploy.cli.check.findings import Finding, denied, wrong
from dropdeploy.cli.check.ground import Ground, own_name
from dropdeploy.cli.check.trying import unseen
from dropdeploy.cli.notify_mail import SENDMAIL_PLACES
from dropdeploy.cli.programs import tell
from dropdeploy.model.app import App

_MANUAL = "see ssh-keygen(1), ALLOWED SIGNERS"
# principals, perhaps options (which may hold spaces between quotes), the kind of the key and the key.
_SIGNER = re.compile(r'\S+\s+(?:(?P<options>(?:[^"\s]|"[^"]*")+)\s+)?(?P<key>(?:ssh-|ecdsa-|sk-)\S+\s+\S+)')
_NAMESPACES = re.compile(r'(?:^|,)namespaces="([^"]*)"', re.IGNORECASE)


def check_signers(app: App, ground: Ground) -> Iterator[Finding]:
    """Where signatures are required, they must be verifiable."""
    if app.accept.signature == "off":
        return
    if shutil.which("ssh-keygen") is None:
        yield wrong(app.name, "ssh-keygen is not installed", "`apt install openssh-client`")
        return
    signers = app.accept.allowed_signers
    text = _read(signers)
    if text is None:
        yield _unreadable(app, signers, ground, f"write there whose builds are taken: {_MANUAL}")
        return
    lines = [line.strip() for line in text.splitlines()]
    given = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    if not given:
        yield wrong(app.name, f"{signers} lists nobody, and every build must be signed", _MANUAL)
    for number, line in given:
        if (fault := _fault_of(line)) is not None:
            yield wrong(app.name, f"{signers}, line {number}: {fault}", f"`sed -i {number}d {signers}`, or {_MANUAL}")


def check_token(ground: Ground) -> Iterator[Finding]:
    """The agent does not start without the token that opens its page."""
    file = ground.config.settings.listen_token_file
    if file is None or os.access(file, os.R_OK):
        return  # what it holds is the configuration's own check
    agent = own_name()
    if file.exists():
        yield denied("listen", f"{file} cannot be read by {agent}", f"`chown root:{agent} {file} && chmod 0640 {file}`")
    elif ground.is_in_its_place:
        yield wrong("listen", f"{file} is not there, or hidden from the agent", f"have it below {ground.directory}")


def check_notify(app: App, ground: Ground) -> Iterator[Finding]:
    """What a notice needs beside a receiver."""
    secret = app.notify.secret_file
    if secret is not None and _read(secret) is None:
        yield _unreadable(app, secret, ground, "make one: `openssl rand -hex 32`")
    if app.notify.email and not ground.is_in_its_place and shutil.which("sendmail", path=SENDMAIL_PLACES) is None:
        yield wrong(app.name, "there is no sendmail for `notify.email`", "`apt install dma`, for one")


def _read(path: Path) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, encoding="utf-8", errors="replace") as file:
            return file.read(1024 * 1024)
    except OSError:
        return None


def _unreadable(app: App, path: Path, ground: Ground, how: str) -> Finding:
    agent = own_name()
    if path.exists():
        mend = f"`chown root:{agent} {path} && chmod 0640 {path}`"
        return denied(app.name, f"{path} cannot be read by {agent}", mend)
    if ground.is_in_its_place and not path.is_relative_to(ground.directory):
        hidden = unseen(app.name, path, ground)
        return wrong(
            app.name, f"{path} is not there, or hidden from the agent", f"{how}; if it is there, {hidden.mend}"
        )
    return wrong(app.name, f"there is no {path}", how)


def _fault_of(line: str) -> str | None:
    found = _SIGNER.match(line)
    if found is None:
        return "no signer: expected principals, options and a public key"
    namespaces = _NAMESPACES.search(found["options"] or "")
    if namespaces and "dropdeploy" not in namespaces[1].split(","):
        return f'signatures for "{namespaces[1]}" only, and builds are signed for "dropdeploy"'
    return "the public key is none" if tell("ssh-keygen", "-l", "-f", "-", given=found["key"]).code != 0 else None
