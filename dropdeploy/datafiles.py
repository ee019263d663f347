"""Where the templates and clients are that come with dropdeploy.

A checkout has them in ``packaging/`` and ``contrib/``. Installed they are in ``share/dropdeploy`` below the prefix: a
virtual environment's own, or /usr for the distribution's package.
"""

from __future__ import annotations

import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]


def find(name: str) -> Path:
    """The directory of this name (apps, polkit, sshd, systemd, upload). Raises FileNotFoundError."""
    places = [share / name for share in (Path(sys.prefix, "share/dropdeploy"), Path("/usr/share/dropdeploy"))]
    # First of all, so that a checkout on a server that has the package too does not mix versions.
    if (_CHECKOUT / "packaging/polkit").is_dir():
        places = [_CHECKOUT / "packaging" / name, _CHECKOUT / "contrib" / name, *places]
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"dropdeploy's own files are not there; looked for {', '.join(map(str, places))}")


def fill(template: str, **values: str) -> str:
    """A template with its @NAMES@ filled in."""
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template
