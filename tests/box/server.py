"""What an administrator sets up on a server for dropdeploy, from the files in packaging/.

The agent runs as the unprivileged user ``dropdeploy``. Who may do what, for an app called ``shop``:

    /srv/drop            root                 0711  the chroot of every uploader, who cannot list it
    /srv/drop/shop       dropdeploy:drop-shop 2770  both write there; what the agent writes is in the uploaders' group
    /home/shop           dropdeploy:shop      2750  the agent makes releases and swaps the link, the app reads
    /home/shop/shared    dropdeploy:shop      2770  the app writes there too

Members of the group ``drop-shop`` may upload builds of shop: the uploader ``up-shop`` has a key, sftp, and nothing
else. An app may have several uploaders, and an uploader several apps. ``laptop`` is where uploads come from: a user
with that key. The agent's unit hides what is not listed in it; a drop-in for each app shows its root.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.box.machine import REPOSITORY, Box, Completed, wait_until

PACKAGING = REPOSITORY / "packaging"
AGENT_UNIT = "dropdeploy.service"

SET_UP = """
set -eu
useradd --system --user-group --no-create-home --home-dir /var/lib/dropdeploy --shell /usr/sbin/nologin dropdeploy
install -d -o root -g dropdeploy -m 0750 /etc/dropdeploy /etc/dropdeploy/apps.d
install -d -m 0711 /srv/drop
install -d -m 0755 /etc/ssh/authorized_keys.d
# As a package would: the module where Python looks, compiled, and the command.
python3 -m compileall -q /src/dropdeploy
ln -s /src/dropdeploy /usr/lib/python3/dist-packages/dropdeploy
printf '#!/bin/sh\\nexec /usr/bin/python3 -P -m dropdeploy "$@"\\n' > /usr/bin/dropdeploy
chmod 0755 /usr/bin/dropdeploy
install -m 0644 /src/packaging/systemd/dropdeploy.service /etc/systemd/system/
systemctl daemon-reload

useradd --create-home --shell /bin/bash laptop
install -d -o laptop -g laptop -m 0700 /home/laptop/.ssh
setpriv --reuid=laptop --regid=laptop --init-groups ssh-keygen -q -t ed25519 -N '' -f /home/laptop/.ssh/id_ed25519
cat > /home/laptop/.ssh/config <<END
Host server
    HostName 127.0.0.1
    BatchMode yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
END
"""

ADD_APP = """
set -eu
app=$1 root=$2 drop=$3
useradd --system --user-group --no-create-home --home-dir "$root" --shell /usr/sbin/nologin "$app"
usermod --append --groups "$app" dropdeploy
groupadd --system "drop-$app"
install -d -o dropdeploy -g "$app" -m 2750 "$root"
install -d -o dropdeploy -g "$app" -m 2770 "$root/shared"
install -d -o dropdeploy -g "drop-$app" -m 2770 "$drop"
"""

ADD_UPLOADER = """
set -eu
uploader=$1 group=$2
id "$uploader" > /dev/null 2>&1 ||
    useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin "$uploader"
usermod --append --groups "$group" "$uploader"
install -m 0644 /home/laptop/.ssh/id_ed25519.pub "/etc/ssh/authorized_keys.d/$uploader"
"""


@dataclass(frozen=True)
class Site:
    """One app's place on the server, and the account that uploads to it."""

    box: Box
    name: str

    @property
    def uploader(self) -> str:
        """Who may upload."""
        return f"up-{self.name}"

    @property
    def uploaders(self) -> str:
        """The group of those who may upload."""
        return f"drop-{self.name}"

    @property
    def unit(self) -> str:
        """The service that runs the app."""
        return f"{self.name}.service"

    @property
    def root(self) -> str:
        """Where releases live."""
        return f"/home/{self.name}"

    @property
    def drop(self) -> str:
        """Where uploads arrive."""
        return f"/srv/drop/{self.name}"

    def sftp(self, *commands: str, check: bool = True, timeout_s: float = 60.0) -> Completed:
        """Log in from the laptop and give sftp(1) these commands; it ends at the first that fails."""
        batch = "".join(f"{command}\n" for command in commands)
        address = f"{self.uploader}@server"
        return self.box.run("sftp", "-b", "-", address, user="laptop", stdin=batch, check=check, timeout_s=timeout_s)

    def result(self, upload: str, timeout_s: float = 60.0) -> dict[str, Any]:
        """The result file of this upload, once it is there."""
        path = self.box.path(f"{self.drop}/{upload}.result.toml")
        wait_until(path.exists, f"a result for {upload}", timeout_s)
        return tomllib.loads(path.read_text())


class Server:
    """A box with dropdeploy installed. Its agent is not started yet."""

    def __init__(self, box: Box) -> None:
        self.box = box
        box.run("sh", "-c", SET_UP)

    def add_app(self, name: str, config: str = "", units: Sequence[str] = (), *, is_sshd_told: bool = True) -> Site:
        """Accounts, directories, sshd block, polkit rule and configuration of an app; the agent is not told.

        The agent may manage ``units``, by default the app's service only. An agent that runs already has to be
        started anew, as it is in one more group now and sees one more directory.
        """
        site = Site(self.box, name)
        self.box.run("sh", "-c", ADD_APP, "add-app", name, site.root, site.drop)
        self.box.write(
            f"/etc/systemd/system/{AGENT_UNIT}.d/app-{name}.conf",
            packaged("systemd/dropdeploy-app.conf.in", APP=name, PATHS=f"-{site.root}"),
        )
        self.box.run("systemctl", "daemon-reload")
        self.add_uploader(site, site.uploader)
        # Not a reload: that closes the port for a moment, and does not tell when it is open again.
        # A unit may be restarted five times in ten seconds: whoever adds many apps does it at the end.
        if is_sshd_told:
            self.box.run("systemctl", "restart", "ssh.service")
        self.box.write(
            f"/etc/polkit-1/rules.d/50-dropdeploy-{name}.rules",
            packaged(
                "polkit/dropdeploy-app.rules.in",
                APP=name,
                UNITS=", ".join(f'"{unit}"' for unit in units or [site.unit]),
            ),
        )
        self.box.write(f"/etc/dropdeploy/apps.d/{name}.toml", config, mode=0o640, owner="root:dropdeploy")
        return site

    def add_uploader(self, site: Site, uploader: str) -> None:
        """An account that may upload to the site, with a block of its own in sshd's configuration; sshd is not told.

        The account may be there already and upload to another app: it starts where it did, and may go to both.
        """
        self.box.run("sh", "-c", ADD_UPLOADER, "add-uploader", uploader, site.uploaders)
        block = f"/etc/ssh/sshd_config.d/dropdeploy-{uploader}.conf"
        if not self.box.path(block).exists():
            self.box.write(
                block,
                packaged(
                    "sshd/dropdeploy-uploader.conf.in",
                    UPLOADER=uploader,
                    DROP=site.drop,
                    CHROOT="/srv/drop",
                    START=f"/{site.name}",
                ),
            )

    def add_unit(self, name: str, text: str) -> None:
        """Install a unit of the administrator's own."""
        self.box.write(f"/etc/systemd/system/{name}", text)
        self.box.run("systemctl", "daemon-reload")

    def agent(self, verb: str) -> None:
        """start, stop, restart or reload the agent; returns when it is done, as the agent tells systemd."""
        self.box.run("systemctl", verb, AGENT_UNIT, timeout_s=150)


def packaged(template: str, **values: str) -> str:
    """A template of packaging/ with its @NAMES@ filled in."""
    text = (PACKAGING / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
