"""systemd held to the contract, on the bus of whoever runs this: root the system's, anybody else their own."""

from __future__ import annotations

from tests.unit.units.contract import UnitsContract


class TestContract(UnitsContract):
    pass
