"""What ``systemctl cat`` prints of the agent's unit, as the surroundings of something that is tried in its place."""

from __future__ import annotations

from pathlib import Path

from dropdeploy.cli.check.sandbox import configuration_directory, parse_settings, surroundings

UNIT = Path(__file__).parents[4] / "packaging/systemd/dropdeploy.service"

CAT = """\
# /etc/systemd/system/dropdeploy.service
[Unit]
Description=x
User=nobody

[Service]
# User=commented
User=dropdeploy
ExecStart=/usr/bin/python3 -m dropdeploy run --config /etc/other
SystemCallFilter=@system-service
SystemCallFilter=~@mount \\
    # a comment within
    @swap
BindPaths = /srv/drop
RuntimeDirectory=dropdeploy

# /etc/systemd/system/dropdeploy.service.d/app.conf
[Service]
BindPaths=
BindPaths=-/home/shop
[Install]
User=nobody
"""


def test_sections_comments_continued_lines_and_what_is_taken_back() -> None:
    assert surroundings(parse_settings(CAT)) == (
        ("User", "dropdeploy"),
        ("SystemCallFilter", "@system-service"),
        ("SystemCallFilter", "~@mount  @swap"),
        ("BindPaths", "-/home/shop"),
    )


def test_the_directory_that_the_unit_names() -> None:
    assert configuration_directory(parse_settings(CAT), "/etc/dropdeploy") == "/etc/other"
    assert configuration_directory(parse_settings(UNIT.read_text()), "/etc/dropdeploy") == "/etc/dropdeploy"


def test_every_setting_of_the_packaged_unit_is_thought_of() -> None:
    settings = parse_settings(UNIT.read_text())
    left_out = {key for key, _ in settings} - {key for key, _ in surroundings(settings)}
    assert left_out == {
        *("Type", "NotifyAccess", "ExecStart", "ExecReload", "Restart", "RestartSec", "RestartPreventExitStatus"),
        *("WatchdogSec", "OOMPolicy", "TimeoutStopSec", "KillMode", "SyslogIdentifier"),
        # It is the agent's own, and would go when what is tried has ended; RemoveIPC= likewise.
        *("RuntimeDirectory", "RemoveIPC"),
    }
