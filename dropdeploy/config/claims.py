"""What each app must have to itself: its directories, its unit, its listening address; and who claims them twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dropdeploy.config.address import TcpAddress, UnixAddress, parse_address
from dropdeploy.model.app import App
from dropdeploy.model.config import Bus, Settings


@dataclass(frozen=True, slots=True)
class Claim:
    """One value that must be its owner's alone.

    ``owner`` reads as in "is also the root of app "a"". ``thing`` is what is compared: a directory after links are
    followed where the caller did that, a unit's name or an address.
    """

    file: str
    key: str
    owner: str
    shown: str
    thing: Path | str | TcpAddress | UnixAddress


def claims_of_app(app: App, file: str, bus: Bus) -> Iterator[Claim]:
    """The app's claims. An embedded unit's address counts only where the embedded supervisor runs it."""
    of_app = f'of app "{app.name}"'
    yield from path_claims(app, file)
    yield Claim(file, "unit", f"the unit {of_app}", app.unit, app.unit)
    if bus is Bus.EMBEDDED and app.embedded is not None and (address := parse_address(app.embedded.listen)):
        yield Claim(file, "embedded.listen", f"the address {of_app}", app.embedded.listen, address)


def path_claims(app: App, file: str) -> tuple[Claim, Claim]:
    """The app's two directories, as they are written."""
    of_app = f'of app "{app.name}"'
    return (
        Claim(file, "root", f"the root {of_app}", str(app.root), app.root),
        Claim(file, "drop", f"the drop directory {of_app}", str(app.drop), app.drop),
    )


def claims_of_settings(settings: Settings, file: str) -> Iterator[Claim]:
    """The status page's address."""
    if address := parse_address(settings.listen):
        yield Claim(file, "listen", "the address of the status page", settings.listen, address)


def find_conflicts(claims: Iterable[Claim]) -> Iterator[tuple[Claim, str]]:
    """Each claim that an earlier one contradicts, or that lies inside another's directory, with what is wrong."""
    claims = list(claims)
    first: dict[object, Claim] = {}
    for claim in claims:
        # As text, which is hashed at once: no unit's name begins with a slash.
        other = first.setdefault(str(claim.thing) if isinstance(claim.thing, Path) else claim.thing, claim)
        if other is not claim:
            yield claim, _leading(claim) + f"also {other.owner} ({other.file}); each needs one of its own"
    directories = {str(claim.thing): claim for claim in first.values() if isinstance(claim.thing, Path)}
    for claim in claims:
        if isinstance(claim.thing, Path):
            outer = next((directories[parent] for parent in _parents(str(claim.thing)) if parent in directories), None)
            if outer is not None:
                yield (
                    claim,
                    _leading(claim) + f"inside {outer.owner}, {outer.thing} ({outer.file}); they must lie apart",
                )
    yield from _find_port_conflicts(claim for claim in first.values() if isinstance(claim.thing, TcpAddress))


def _parents(path: str) -> Iterator[str]:
    """As ``Path.parents`` of an absolute path, which takes ten times as long: there may be thousands of apps."""
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        yield path


def _find_port_conflicts(claims: Iterable[Claim]) -> Iterator[tuple[Claim, str]]:
    earlier: dict[int, list[Claim]] = {}
    for claim in claims:
        assert isinstance(claim.thing, TcpAddress)
        same_port = earlier.setdefault(claim.thing.port, [])
        other = next(
            (one for one in same_port if isinstance(one.thing, TcpAddress) and claim.thing.overlaps(one.thing)), None
        )
        if other is not None:
            yield claim, f"overlaps {other.owner}, {other.shown} ({other.file}); each needs one of its own"
        same_port.append(claim)


def _leading(claim: Claim) -> str:
    is_link = isinstance(claim.thing, Path) and str(claim.thing) != claim.shown
    return f"leads to {claim.thing}, which is " if is_link else "is "
