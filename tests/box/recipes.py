"""What the Debian trees are made of that boxes boot from: a server for most tests, and where packages are tested."""

from __future__ import annotations

import os
from dataclasses import dataclass

SUITE = os.environ.get("DROPDEPLOY_BOX_SUITE", "bookworm")

BASE = (
    # a server as its administrator finds it
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "openssh-server",
    "openssh-client",
    "sudo",
    "ca-certificates",
    "iproute2",
    "procps",
)

# What wakes up by itself has no place in a test. {id} is the machine's identity: with one, no boot is a "first" boot
# and the journal outlives a reboot.
HOOKS = (
    'rm -f "$1"/etc/systemd/system/*/*.timer',
    'printf "127.0.0.1 localhost box\\n::1 localhost\\n" > "$1/etc/hosts"',
    'echo box > "$1/etc/hostname"',
    'echo {id} > "$1/etc/machine-id"',
    'mkdir -p "$1/var/log/journal"',
)

SMALL = tuple(f"path-exclude=/usr/share/{part}/*" for part in ("doc", "info", "locale", "man", "nodejs/npm", "icons"))


@dataclass(frozen=True)
class Recipe:
    """One tree. ``downloads``: packages that apt can install in the box, which has no network; apt keeps the lists and
    the packages of the distribution's own archive for that, as it would have them after a download. ``masked``: units
    that packages enable and nobody wants to run."""

    suite: str
    packages: tuple[str, ...]
    dpkg_options: tuple[str, ...] = SMALL
    downloads: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()

    @property
    def hooks(self) -> tuple[str, ...]:
        """Shell commands that finish the tree, whose directory is $1."""
        masks = (f'ln -sf /dev/null "$1/etc/systemd/system/{unit}"' for unit in self.masked)
        hooks = (*HOOKS, *masks)
        if not self.downloads:
            return hooks
        fetch = "apt-get -qq --yes --install-recommends --download-only install"
        return (*hooks, f'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" {fetch} {" ".join(self.downloads)}')


SERVER = Recipe(
    SUITE,
    (
        *BASE,
        "polkitd",
        "acl",
        # what the agent needs, as the distribution ships it
        "python3",
        "python3-aiohttp",
        "python3-gi",
        "python3-prometheus-client",
        "python3-pydbus",
        "python3-tomli-w",
        "python3-venv",
        "python3-watchdog",
        "python3-zstandard",
        # what its unit tests need
        "python3-hypothesis",
        "python3-pytest",
        "python3-pytest-asyncio",
        "python3-pytest-xdist",
        # apps, and clients that upload
        "nodejs",
        "curl",
        "dma",
        "lftp",
        "prometheus",
        "rclone",
        "rsync",
        "bzip2",
        "xz-utils",
        "zip",
        "zstd",
    ),
    masked=("prometheus.service",),
)
"""Everything is there but dropdeploy's own files."""

_PACKAGED = (
    "polkitd",
    "python3-aiohttp",
    "python3-gi",
    "python3-prometheus-client",
    "python3-pydbus",
    "python3-tomli-w",
    "python3-watchdog",
    "python3-zstandard",
)
_NEWER = {"bookworm": (), "trixie": ("python3-isal",)}


def fresh(suite: str) -> Recipe:
    """A server that has never heard of dropdeploy: what its package depends on, apt can get and has not installed.

    An administrator who runs an app has curl and its runtime.
    """
    return Recipe(suite, (*BASE, "curl", "nodejs"), (), downloads=(*_PACKAGED, *_NEWER[suite]))


def workshop(suite: str) -> Recipe:
    """Where the package is made and looked at, and the shells that complete its command."""
    tools = ("debhelper", "dh-python", "pybuild-plugin-pyproject", "python3-all", "python3-setuptools", "lintian")
    readers = ("man-db", "mandoc", "bash-completion", "zsh", "fish", "pipx", *_PACKAGED)
    return Recipe(suite, (*BASE, *tools, *(readers if suite == "bookworm" else ())))


CONTEST = Recipe(
    "trixie",
    (
        *BASE,
        *_PACKAGED,
        *_NEWER["trixie"],
        "acl",
        "curl",
        "nodejs",
        # what a user would run instead
        "ansible-core",
        "capistrano",
        "incron",
        "webhook",
    ),
)
"""Where dropdeploy and its neighbours deploy the same builds."""
