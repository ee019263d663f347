"""The Debian trees that boxes boot from: made once by mmdebstrap, then kept and never written to.

``python3 -m tests.box.tree`` makes the server's (under a minute) and prints where it is. Which Debian it is,
DROPDEPLOY_BOX_SUITE in the environment tells: bookworm (the default) or trixie.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from tests.box import cache
from tests.box.recipes import SERVER, Recipe

_WAY = 2
"""How ``_build`` goes about it: another number when it makes other trees of the same recipes."""


class TreeError(Exception):
    """mmdebstrap did not make the tree; the message holds its last lines."""


def tree(recipe: Recipe = SERVER) -> Path:
    """The tree of this recipe, made when it is not in the cache yet."""
    text = json.dumps([_WAY, recipe.suite, recipe.packages, recipe.dpkg_options, recipe.hooks])
    trees = cache.directory("trees")
    with cache.entry(trees, f"{recipe.suite}-{hashlib.sha256(text.encode()).hexdigest()[:12]}") as place:
        if not place.exists():
            building = trees / f".building-{place.name}"
            shutil.rmtree(building, ignore_errors=True)
            _build(recipe, building)
            building.rename(place)
    return place


def _build(recipe: Recipe, place: Path) -> None:
    hooks = [hook.replace("{id}", uuid.uuid4().hex) for hook in recipe.hooks]
    sources = _sources(recipe.suite)
    if any(source.startswith("deb https:") for source in sources):
        # apt in the tree fetches before the tree has certificates of its own.
        bundle = "/etc/ssl/certs/ca-certificates.crt"
        hooks_first = [f'mkdir -p "$1/etc/ssl/certs" && cp {bundle} "$1{bundle}"']
    else:
        hooks_first = []
    command = [
        # Its mounts vanish with it, whatever interrupts it.
        *("unshare", "--mount", "--"),
        *("mmdebstrap", "--mode=root", "--variant=apt", "--format=directory"),
        f"--include={','.join(recipe.packages)}",
        *(("--skip=cleanup/apt",) if recipe.downloads else ()),
        *(f"--dpkgopt={option}" for option in recipe.dpkg_options),
        *(f"--aptopt={option}" for option in _apt_options()),
        *(f"--setup-hook={hook}" for hook in hooks_first),
        *(f"--customize-hook={hook}" for hook in hooks),
        *(recipe.suite, str(place), *sources),
    ]
    # Packages of Python modules are not compiled where PYTHONDONTWRITEBYTECODE is set: each start of the agent would
    # compile all that it imports.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-25:])
        raise TreeError(f"{shlex.join(command)}\nended with {done.returncode}:\n{tail}")


def _sources(suite: str) -> list[str]:
    """sources.list lines that use the mirrors this machine uses; empty (mmdebstrap's default) where it is no Debian."""
    release = Path("/etc/os-release").read_text()
    codename = re.search(r'^VERSION_CODENAME="?(\w+)', release, re.MULTILINE)
    if not re.search(r'^ID="?debian"?$', release, re.MULTILINE) or codename is None:
        return []
    targets = _index_targets()
    if not targets:
        # apt tells its targets only once it has fetched their lists.
        subprocess.run(["apt-get", "-qq", "update"], stdin=subprocess.DEVNULL, check=True)
        targets = _index_targets()
    lines = []
    for kind in ("", "-updates", "-security"):
        for uri, name, component, origin in targets:
            if (name, component, origin) == (codename[1] + kind, "main", "Debian"):
                lines.append(f"deb {uri} {suite}{kind} main")
    return list(dict.fromkeys(lines))


def _index_targets() -> list[list[str]]:
    form = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [line.split("|") for line in listed.splitlines()]


def _apt_options() -> list[str]:
    """How this machine's apt reaches its mirrors: proxies, certificates, and checks that it was told to leave out."""
    dump = subprocess.run(["apt-config", "dump", "--no-empty"], capture_output=True, text=True, check=True).stdout
    return re.findall(r'^(Acquire::(?:https?::|Check-|Retries).*".*");$', dump, re.MULTILINE)


if __name__ == "__main__":
    os.umask(0o022)
    try:
        print(tree())
    except TreeError as error:
        sys.exit(str(error))
