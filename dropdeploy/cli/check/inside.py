"""What is tried in the agent's place: with its user, groups, capabilities and view of the disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from dropdeploy.cli.check import drop, inotify, keys, paths, reach, state
from dropdeploy.cli.check.findings import Finding, denied
from dropdeploy.cli.check.ground import Ground, own_name
from dropdeploy.config.directory import read_config

MACHINE_CHECKS = (
    state.check_state,
    reach.check_bus,
    reach.check_journal,
    reach.check_listen,
    keys.check_token,
    inotify.check_inotify,
)
APP_CHECKS = (
    paths.check_root,
    paths.check_link,
    paths.check_group,
    paths.check_shared,
    paths.check_space,
    drop.check_drop,
    drop.check_modes,
    drop.check_lease,
    keys.check_signers,
    keys.check_notify,
    reach.check_health,
)


def try_all(ground: Ground, names: Iterable[str]) -> Iterator[Finding]:
    """Everything that the agent itself will do; of the apps only these."""
    for check in MACHINE_CHECKS:
        yield from check(ground)
    wanted = frozenset(names)
    for app in ground.config.apps:
        if app.name in wanted:
            for app_check in APP_CHECKS:
                yield from app_check(app, ground)


def main(directory: Path, names: list[str]) -> list[Finding]:
    """What is found here. The caller has read the same configuration and found no mistakes."""
    config = read_config(directory)
    if isinstance(config, tuple):
        agent = own_name()
        mend = f"`chgrp -R {agent} {directory} && chmod -R g+rX {directory}`"
        return [denied("config", f"{mistake} (as {agent})", mend) for mistake in config]
    return list(try_all(Ground.of(config, directory, is_in_its_place=True), names))
