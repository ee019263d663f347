"""What can be said of it without a systemd; the rest is tests/box/inside."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_BINDINGS = """
import sys
sys.modules["pydbus"] = None
import dropdeploy.units.embedded
import dropdeploy.units.systemd as systemd
try:
    systemd.SystemdUnits("user")
except systemd.BindingsError as error:
    print(error)
"""


def test_without_bindings_the_packages_are_named() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_BINDINGS], check=True, capture_output=True, text=True)
    assert done.stdout.startswith('bus = "user" needs PyGObject and pydbus (')
    assert done.stdout.endswith("apt install python3-pydbus python3-gi, or pip install 'dropdeploy[gi]'\n")


def test_the_embedded_supervisor_needs_no_bindings() -> None:
    script = "import dropdeploy.units.embedded, sys; print({'gi', 'pydbus'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
