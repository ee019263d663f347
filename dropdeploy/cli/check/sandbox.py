"""The text of a service's unit → the settings that make its processes' surroundings (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator

# systemd.exec(5), and of systemd.service(5) nothing: what is tried in the agent's place is another program that ends by
# itself. No RuntimeDirectory=: it would be the agent's own, and go with that program.
_SURROUNDINGS = re.compile(
    r"User|Group|DynamicUser|SupplementaryGroups|PAMName|UMask|WorkingDirectory|RootDirectory|RootImage|Limit[A-Z]+"
    r"|StateDirectory(Mode)?|Environment|EnvironmentFile|PassEnvironment|UnsetEnvironment"
    r"|AmbientCapabilities|CapabilityBoundingSet|NoNewPrivileges|SecureBits|KeyringMode|LockPersonality|Personality"
    r"|(BindReadOnly|Bind|ReadWrite|ReadOnly|Inaccessible|Exec|NoExec)Paths|TemporaryFileSystem|MountAPIVFS|MountFlags"
    r"|Private[A-Z][A-Za-z]+|Protect[A-Z][A-Za-z]+|ProcSubset|Restrict[A-Z][A-Za-z]+|MemoryDenyWriteExecute"
    r"|SystemCall(Filter|Architectures|ErrorNumber|Log)|AppArmorProfile|SELinuxContext|SmackProcessLabel"
    r"|NetworkNamespacePath|IPAddress(Allow|Deny)|Device(Allow|Policy)"
)


def parse_settings(text: str) -> tuple[tuple[str, str], ...]:
    """The [Service] section's settings, drop-ins included, as ``systemctl cat`` prints them (systemd.syntax(7)).

    An empty value takes back what was said before.
    """
    settings: list[tuple[str, str]] = []
    section = ""
    for line in _logical_lines(text):
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line:
            key, _, value = line.partition("=")
            key, value = key.strip(), value.strip()
            if value:
                settings.append((key, value))
            else:
                settings = [setting for setting in settings if setting[0] != key]
    return tuple(settings)


def surroundings(settings: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Those that another program must have to see and to be allowed what the service is."""
    return tuple(setting for setting in settings if _SURROUNDINGS.fullmatch(setting[0]))


def configuration_directory(settings: tuple[tuple[str, str], ...], default: str) -> str:
    """The directory that the service's command names."""
    commands = [value for key, value in settings if key == "ExecStart"]
    found = re.search(r"--config[= ](\S+)", commands[-1]) if commands else None
    return found[1] if found else default


def _logical_lines(text: str) -> Iterator[str]:
    begun = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not begun):
            continue
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        yield begun + line
        begun = ""
    if begun:
        yield begun
