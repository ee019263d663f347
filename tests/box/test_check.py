"""``dropdeploy check`` on a server that ``init`` has prepared: nothing to say, until something is broken.

Each case breaks one thing, reads what check tells as root, and mends it, by the command that check printed where there
is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.box.machine import REPOSITORY, Box, wait_until
from tests.box.server import Server

AGENT_DROP_IN = "/etc/systemd/system/dropdeploy.service.d/broken.conf"
APP_FILE = "/etc/dropdeploy/apps.d/shop.toml"
RULE = "/etc/polkit-1/rules.d/50-dropdeploy-shop.rules"
BLOCK = "/etc/ssh/sshd_config.d/dropdeploy-up-shop.conf"
UNITS = "/etc/systemd/system"
SLEEPER = "[Service]\\nExecStart=/bin/sleep infinity\\n"
PRINTED = ""
"""The mend is the first command that check prints."""


@dataclass(frozen=True)
class Broken:
    """``how`` it is broken, by a shell; ``told``: what check says, as a regular expression, with the level before it;
    ``mend``: how it is mended; ``code``: check's exit code. ``also``: what else may be said; ``after``: what is left to
    be put back when all is well again."""

    name: str
    how: str
    told: str
    mend: str = PRINTED
    code: int = 3
    also: str = "$^"
    after: str = "true"


def in_app_file(text: str) -> str:
    """``text`` at the top of the app's file, which is otherwise as it was, and read by the agent an hour ago."""
    return f"cp -p {APP_FILE} /root/kept.toml && {{ echo '{text}'; cat /root/kept.toml; }} > {APP_FILE} && {AGED}"


def below(text: str) -> str:
    """``text`` at its end, where the tables are."""
    return f"cp -p {APP_FILE} /root/kept.toml && printf '{text}\\n' >> {APP_FILE} && {AGED}"


AGED = f"touch -d '1 hour ago' {APP_FILE} /etc/dropdeploy/apps.d"
APP_FILE_BACK = f"cp -p /root/kept.toml {APP_FILE} && {AGED}"


def drop_in(text: str) -> str:
    """A drop-in of the agent's unit. The agent that runs is left as it is."""
    return f"printf '[Service]\\n{text}\\n' > {AGENT_DROP_IN} && systemctl daemon-reload"


UNCAPABLE = "CapabilityBoundingSet=~CAP_DAC_READ_SEARCH"
DROP_IN_GONE = f"rm {AGENT_DROP_IN} && systemctl daemon-reload"


def unit(name: str, text: str) -> str:
    return f"printf '{text}' > {UNITS}/{name} && systemctl daemon-reload"


HOOK = (
    unit("hook@.service", "[Service]\\n{}\\nExecStart=/bin/true %%i\\n")
    + " && "
    + below('[hooks]\\nbefore_swap = ["hook@.service"]').replace("{", "{{").replace("}", "}}")
)
HOOK_GONE = f"{APP_FILE_BACK} && rm {UNITS}/hook@.service && systemctl daemon-reload"
READ_AGAIN = "systemctl daemon-reload"
AGENT_UNIT_BACK = (
    f"mv /usr/lib/systemd/system/dropdeploy.service {UNITS}/ && {READ_AGAIN} && systemctl enable --quiet dropdeploy"
)
SERVICE_DROP_IN = f"{UNITS}/shop.service.d/broken.conf"
SERVICE_DROP_IN_GONE = f"rm -r {UNITS}/shop.service.d && systemctl daemon-reload"


def of_service(text: str) -> str:
    """A drop-in of the app's unit. The app that runs is left as it is."""
    lines = f"printf '[Service]\\n{text}\\n' > {SERVICE_DROP_IN}"
    return f"mkdir -p {UNITS}/shop.service.d && {lines} && systemctl daemon-reload"


CASES = [
    # --- configuration
    Broken("typo", in_app_file("keeep = 3"), "FAIL config .*keeep", APP_FILE_BACK, 2),
    Broken(
        "not-reloaded", f"touch -d '1 hour' {APP_FILE}", "warn agent .*shop.toml changed after it was read", AGED, 0
    ),
    # --- directories
    Broken(
        "root-owner",
        "chown root /home/shop",
        "FAIL shop dropdeploy may not write in /home/shop, which belongs to root:shop 2750",
    ),
    Broken(
        "root-away",
        "mv /home/shop /home/away",
        'FAIL config .*root = "/home/shop": there is no such directory',
        "mv /home/away /home/shop",
        2,
        also=".",
    ),
    Broken(
        "root-read-only",
        "mount -t tmpfs -o ro,mode=0755 none /home/shop",
        "FAIL shop /home/shop is on a file system that is mounted read-only",
        "umount /home/shop",
        3,
        also="shared|health|3000|group",
    ),
    Broken(
        "root-full",
        "mount -t tmpfs -o size=8m,uid=dropdeploy,gid=shop none /home/shop",
        "FAIL shop [0-9] MiB are free in /home/shop for releases",
        "umount /home/shop",
        2,
    ),
    Broken(
        "releases-no-directory",
        "mv /home/shop/releases /home/shop/kept && touch /home/shop/releases",
        "FAIL shop /home/shop/releases is no directory",
        "rm /home/shop/releases && mv /home/shop/kept /home/shop/releases",
        2,
        also="leads to",
    ),
    Broken(
        "link-strays",
        "cp -P /home/shop/app /home/shop/kept && ln -sfn /usr/share /home/shop/app",
        "FAIL shop /home/shop/app leads to /usr/share",
        "mv -T /home/shop/kept /home/shop/app",
        2,
    ),
    Broken("group-left", "gpasswd -d dropdeploy shop", "warn shop dropdeploy is no member of the group shop", code=0),
    Broken(
        "shared-file",
        in_app_file('shared = [".env"]'),
        "FAIL shop the shared file /home/shop/shared/.env is not there",
        f"{APP_FILE_BACK}",
        2,
    ),
    Broken("drop-open", "chmod o+rwx /srv/drop/shop", "warn shop everybody on this machine may deploy", code=0),
    Broken("drop-closed", "chmod g-w /srv/drop/shop", "FAIL shop up-shop may not write in /srv/drop/shop"),
    Broken(
        "history-owner",
        "chown root:root /var/lib/dropdeploy/history.db",
        "FAIL state dropdeploy may not write /var/lib/dropdeploy/history.db",
    ),
    # --- the agent's unit
    Broken(
        "agent-masked",
        f"mv {UNITS}/dropdeploy.service /usr/lib/systemd/system/ && systemctl mask --quiet dropdeploy",
        "FAIL agent dropdeploy.service is masked",
        f"systemctl unmask --quiet dropdeploy && {AGENT_UNIT_BACK}",
    ),
    Broken("stopped", "systemctl stop dropdeploy", "FAIL agent it is not running"),
    Broken(
        "disabled",
        "systemctl disable --quiet dropdeploy",
        "warn agent dropdeploy.service does not start with the machine",
        code=0,
    ),
    Broken(
        "hidden",
        f"rm {UNITS}/dropdeploy.service.d/app-shop.conf && systemctl daemon-reload",
        "FAIL shop /home/shop is hidden from the agent by its unit",
    ),
    Broken(
        "read-only",
        drop_in("ReadOnlyPaths=/home/shop"),
        "FAIL shop /home/shop.* is read-only for the agent",
        DROP_IN_GONE,
    ),
    Broken(
        "no-lease",
        drop_in("CapabilityBoundingSet=~CAP_LEASE"),
        "warn shop leases only on the agent's own files",
        DROP_IN_GONE,
        0,
    ),
    Broken(
        "sandbox",
        drop_in("BindPaths=/nowhere"),
        "FAIL agent dropdeploy.service cannot be started by systemd .*/nowhere",
        DROP_IN_GONE,
    ),
    Broken("no-bus", drop_in("InaccessiblePaths=/run/dbus"), "FAIL bus ", DROP_IN_GONE),
    Broken(
        "no-journal",
        f"gpasswd --delete dropdeploy systemd-journal && {drop_in(UNCAPABLE + chr(92) + 'nSupplementaryGroups=')}",
        "warn journal dropdeploy may not read it",
        f"usermod --append --groups systemd-journal dropdeploy && {DROP_IN_GONE}",
        0,
        also="mode 0600",
    ),
    Broken(
        "app-file-closed",
        f"{drop_in(UNCAPABLE)} && chmod 0600 {APP_FILE}",
        "FAIL config .*shop.toml: cannot be read: permission denied .as dropdeploy",
        f"{DROP_IN_GONE} && chmod 0640 {APP_FILE}",
    ),
    # --- polkit
    Broken(
        "no-rule",
        f"rm {RULE}",
        "FAIL shop polkit does not let dropdeploy start, stop, restart, reload or reset-failed shop.service",
        also="shop.socket",
    ),
    Broken(
        "rule-of-another-unit",
        f'sed -i \'s/"shop.service"/"spoh.service"/\' {RULE}',
        "FAIL shop polkit does not let .* shop.service",
    ),
    Broken(
        "rule-without-a-verb",
        f"sed -i 's/\"restart\", //' {RULE}",
        "FAIL shop polkit does not let dropdeploy restart shop.service",
    ),
    Broken(
        "no-polkit",
        "systemctl mask --quiet --now polkit",
        "FAIL polkit polkit does not answer",
        "systemctl unmask --quiet polkit",
    ),
    # --- the app's units
    Broken(
        "unit-away",
        f"mv {UNITS}/shop.service /root/ && systemctl daemon-reload && systemctl stop shop",
        "FAIL shop there is no unit shop.service",
        f"mv /root/shop.service {UNITS}/ && systemctl daemon-reload && systemctl start shop",
        2,
        also="3000",
    ),
    Broken(
        "unit-masked",
        f"mv {UNITS}/shop.service /root/ && systemctl mask --quiet shop",
        "FAIL shop shop.service is masked",
        f"systemctl unmask --quiet shop && mv /root/shop.service {UNITS}/ && systemctl daemon-reload",
        2,
        also="3000",
    ),
    Broken(
        "unit-with-a-mistake",
        of_service("ExecStart="),
        "FAIL shop shop.service cannot be loaded",
        SERVICE_DROP_IN_GONE,
        2,
        also="3000",
    ),
    Broken(
        "trial-of-what-is-live",
        unit("try@.service", SLEEPER)
        + " && "
        + below('[trial]\\nunit = "try@.service"\\nurl = "unix:/run/try.sock:/"'),
        "warn shop try@.*.service does not name /home/shop/releases/%i",
        f"rm {UNITS}/try@.service && systemctl daemon-reload && {APP_FILE_BACK}",
        also="polkit",
    ),
    Broken(
        "hook-without-a-rule",
        HOOK.format("Type=oneshot"),
        "FAIL shop polkit does not let dropdeploy start, stop or reset-failed hook@.service",
        after=f"{HOOK_GONE} && sed -i 's/\"hook@.service\", //' {RULE}",
    ),
    Broken(
        "hook-not-awaited",
        HOOK.format("Type=exec"),
        "warn shop hook@.* has Type=exec",
        HOOK_GONE,
        also="polkit",
    ),
    Broken(
        "handover-that-blocks",
        f"{of_service('NonBlocking=no')} && {in_app_file('strategy = ' + chr(34) + 'handover' + chr(34))}",
        "FAIL shop a handover needs NonBlocking=yes in shop.service",
        f"{SERVICE_DROP_IN_GONE} && {APP_FILE_BACK}",
        2,
        also="polkit",
    ),
    # --- health, signatures, notices
    Broken(
        "health-port",
        f"sed -i 's|:3000|:3999|' {APP_FILE} && {AGED}",
        "warn shop http://127.0.0.1:3999/: a release is live, and nobody can be asked there",
        f"sed -i 's|:3999|:3000|' {APP_FILE} && {AGED}",
        0,
    ),
    Broken(
        "signer-of-git",
        "sed 's/^/ada namespaces=\"git\" /' /root/ada.pub > /etc/dropdeploy/allowed_signers && "
        + below('[accept]\\nsignature = "required"'),
        'FAIL shop .*line 1: signatures for "git" only',
        f"rm /etc/dropdeploy/allowed_signers && {APP_FILE_BACK}",
        2,
    ),
    Broken(
        "mail-unit",
        below('[notify]\\nemail = ["ada@example.org"]'),
        "FAIL shop there is no unit dropdeploy-mail@1.service",
        APP_FILE_BACK,
        2,
        also="polkit",
    ),
    # --- those who upload
    Broken(
        "sshd-mistake",
        "echo 'Bogus yes' > /etc/ssh/sshd_config.d/zz.conf",
        "FAIL sshd sshd's configuration has a mistake: .*Bogus",
        "rm /etc/ssh/sshd_config.d/zz.conf",
        2,
    ),
    Broken("sshd-stopped", "systemctl stop ssh", "FAIL sshd it does not run"),
    Broken(
        "sshd-reads-no-blocks",
        "sed -i '/^Include/d' /etc/ssh/sshd_config",
        "FAIL shop sshd does not take up .*up-shop is not confined",
    ),
    Broken(
        "chroot-open", "chmod g+w /srv/drop", "FAIL shop sshd lets up-shop not in: /srv/drop belongs to root:root 0731"
    ),
    Broken("start-elsewhere", f"sed -i 's|-d /shop |-d /spoh |' {BLOCK}", "FAIL shop up-shop cannot start in /spoh"),
    Broken(
        "no-key",
        "mv /etc/ssh/authorized_keys.d/up-shop /root/",
        "FAIL shop up-shop has no key",
        "mv /root/up-shop /etc/ssh/authorized_keys.d/",
    ),
    Broken(
        "key-open",
        "chmod 0666 /etc/ssh/authorized_keys.d/up-shop",
        "FAIL shop sshd does not believe /etc/ssh/authorized_keys.d/up-shop",
    ),
    Broken("uploader-left", "gpasswd -d up-shop drop-shop", "FAIL shop up-shop may not write in /srv/drop/shop"),
    Broken(
        "uploader-away",
        "userdel up-shop",
        "FAIL sshd .*is about the user up-shop, who is not there",
        "dropdeploy init shop --uploader up-shop",
    ),
]


@pytest.fixture(scope="module")
def box(new_box: Callable[[], Box]) -> Iterator[Box]:
    """A server as ``init`` makes it, with an app that was uploaded to it."""
    box = new_box()
    Server(box)
    box.run("cp", "/home/laptop/.ssh/id_ed25519.pub", "/root/ada.pub")
    box.run("dropdeploy", "init", "shop", "--units", "python", "--port", "3000", "--key", "/root/ada.pub")
    box.copy_in(REPOSITORY / "contrib/apps/python/main.py", "/home/laptop/shop/main.py", owner="laptop")
    box.run("tar", "-czf", "v1.tar.gz", "-C", "shop", ".", user="laptop")
    box.run("sftp", "-b", "-", "up-shop@server", user="laptop", stdin="put v1.tar.gz\n")
    result = box.path("/srv/drop/shop/v1.tar.gz.result.toml")
    wait_until(result.exists, "a result", 60)
    assert 'status = "deployed"' in result.read_text()
    box.run("sh", "-c", AGED)
    yield box
    box.crash()


def check(box: Box) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and what is not as it should be."""
    done = box.run("dropdeploy", "check", "--json", check=False)
    assert done.err == "", done
    return done.code, [finding for finding in json.loads(done.out)["findings"] if finding["level"] != "ok"]


def line(finding: dict[str, Any]) -> str:
    level = finding["level"]
    return f"{'FAIL' if level == 'fail' else level} {finding['subject']} {finding['what']}"


def test_clean(box: Box) -> None:
    assert check(box) == (0, [])


@pytest.mark.parametrize("broken", CASES, ids=[broken.name for broken in CASES])
def test_broken(box: Box, broken: Broken) -> None:
    box.run("sh", "-euc", broken.how)
    try:
        code, findings = check(box)
        found = next((finding for finding in findings if re.match(broken.told, line(finding))), None)
        assert found is not None, findings
        assert found["mend"]
        others = [line(finding) for finding in findings if not re.search(f"{broken.told}|{broken.also}", line(finding))]
        assert others == []
        assert code == broken.code
    finally:
        printed = [command for finding in findings for command in re.findall("`([^`]+)`", finding["mend"])[:1]]
        box.run("sh", "-euc", broken.mend or printed[0])
    if not broken.mend:
        wait_until(lambda: check(box) == (0, []), "all is well again", 30)
    box.run("sh", "-euc", broken.after)
