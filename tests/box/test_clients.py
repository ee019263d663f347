"""Every client, and everything that can happen to its upload: never is half a build live, never is a whole one missed.

The table's cells are run by one thread for each client, several at once, and each is a test that waits for its own.
`pytest -s` shows the table.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.box.clients.builds import make_build
from tests.box.clients.cells import COLUMNS, run_cell, run_name
from tests.box.clients.ground import Place, laid_out
from tests.box.clients.table import CLIENTS, INEXPRESSIBLE, NAMES, NAMING_CLIENTS
from tests.box.clients.witness import Witness
from tests.box.machine import Box, wait_until
from tests.box.server import AGENT_UNIT, Server

AT_ONCE = 7


@pytest.fixture(scope="module")
def server(new_box: Callable[[], Box]) -> Iterator[Server]:
    """A box of this module's own."""
    server = Server(new_box())
    yield server
    diary = server.box.journal(AGENT_UNIT)
    assert "Traceback" not in diary, diary
    server.box.crash()


@pytest.fixture(scope="module")
def places(server: Server) -> Iterator[dict[str, Place]]:
    """By client, ready to be uploaded to."""
    with laid_out(server, CLIENTS) as places:
        yield {place.client.name: place for place in places}
        assert all(place.witness.is_watching for place in places)
    assert places[0].witness.flaws == []
    # What each app saw when it was started, whether the guard asked it then or not.
    boots = server.box.run("journalctl", "--identifier=python3", "--grep=^booting ", "-o", "cat").out.splitlines()
    assert [boot for boot in boots if not boot.endswith("flaws: []")] == []
    assert len(boots) >= sum(len(place.lives()) for place in places)


Cells = dict[tuple[str, str], Future[str]]


@pytest.fixture(scope="module")
def cells(places: dict[str, Place], request: pytest.FixtureRequest) -> Iterator[Cells]:
    """What becomes of each cell that is asked for, by client and column or name."""
    wanted = [
        (str(item.callspec.params["client"]), str(item.callspec.params["what"]))
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname in ("test_cell", "test_name")
    ]
    cells = {cell: Future[str]() for cell in wanted}

    def run_client(client: str) -> None:
        for (of, what), cell in cells.items():
            if of == client:
                try:
                    run = run_cell if what in COLUMNS else run_name
                    cell.set_result(run(places[client], what))
                except BaseException as error:  # a failed test, or a defect of this one: the cell's own test shows it
                    cell.set_exception(error)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for client in places:
            pool.submit(run_client, client)
        yield cells
    print("\n" + table(cells, list(COLUMNS)))
    print("\n" + table(cells, list(NAMES)))


def table(cells: Cells, columns: list[str]) -> str:
    """What was seen: client × column."""
    lines = [" | ".join(["client", *columns])]
    for client in CLIENTS:
        row = [cells.get((client.name, column)) for column in columns]
        if any(row):
            seen = ["" if cell is None else "FAILED" if cell.exception() else cell.result() for cell in row]
            lines.append(" | ".join([client.name, *seen]))
    return "\n".join(lines)


@pytest.mark.parametrize("what", COLUMNS)
@pytest.mark.parametrize("client", [client.name for client in CLIENTS])
def test_cell(cells: Cells, client: str, what: str) -> None:
    assert cells[client, what].result()


@pytest.mark.parametrize(
    ("client", "what"),
    [(client, name) for client in NAMING_CLIENTS for name in NAMES if (client, name) not in INEXPRESSIBLE],
)
def test_name(cells: Cells, client: str, what: str) -> None:
    assert cells[client, what].result() == "deployed"


def test_the_guard_sees_what_is_not_whole(server: Server) -> None:
    """Or it could not be relied on when it sees nothing."""
    box, releases = server.box, "/home/unguarded/releases"
    for release in ("20260101-000000", "20260101-000001"):
        box.run("mkdir", "-p", f"{releases}/{release}")
        make_build(release, 40, 4).unpack_into(box.path(f"{releases}/{release}"))
    box.run("ln", "-s", "releases/20260101-000000", "/home/unguarded/app")
    witness = Witness(box, {"unguarded": 7000})
    wait_until(lambda: witness.lives("unguarded") == ["20260101-000000"], "the first release to be seen")
    assert witness.flaws == []

    live, other = (box.path(f"{releases}/{release}") for release in ("20260101-000000", "20260101-000001"))
    (live / "payload/1.bin").write_bytes((other / "payload/1.bin").read_bytes())
    wait_until(lambda: len(witness.flaws) == 1, "a mixed build to be seen")
    (live / "payload/2.bin").unlink()
    wait_until(lambda: len(witness.flaws) == 2, "half a build to be seen")
    (live / "payload/9.bin").touch()
    wait_until(lambda: len(witness.flaws) == 3, "a file too many to be seen")
    shutil.copytree(live, live.with_name("20260101-000002"))
    wait_until(lambda: len(witness.flaws) == 6, "what is wrong with a release that is not live to be seen")
    box.run("ln", "-sfn", "releases/20260101-000001", "/home/unguarded/app")
    wait_until(lambda: witness.lives("unguarded") == ["20260101-000000", "20260101-000001"], "the swap to be seen")
    assert witness.flaws[:4] == [
        "unguarded: releases/20260101-000000: payload/1.bin is not the one of 20260101-000000",
        "unguarded: releases/20260101-000000: payload/2.bin: No such file or directory",
        "unguarded: releases/20260101-000000: payload/9.bin is too much",
        "unguarded: releases/20260101-000002: payload/9.bin is too much",
    ]
    assert len(witness.flaws) == 6
    assert witness.end() == ""
