"""Every client, and everything that can happen to its upload: never is half a build live, never is a whole one missed.

The table's cells are run by one thread for each client, several at once, and each is a test that waits for its own.
`pytest -s` shows the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.box.clients.cells import COLUMNS, run_cell
from tests.box.clients.ground import Place, lay_out
from tests.box.clients.table import CLIENTS
from tests.box.machine import Box
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
    places = lay_out(server, CLIENTS)
    yield {place.client.name: place for place in places}
    witness = places[0].witness
    assert witness.end() == ""
    assert witness.flaws == []


@pytest.fixture(scope="module")
def cells(places: dict[str, Place], request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, str], Future[str]]]:
    """What became of each cell that is asked for."""
    wanted = {
        (str(item.callspec.params["client"]), str(item.callspec.params["column"]))
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_cell"
    }
    cells = {cell: Future[str]() for cell in wanted}

    def run_client(client: str) -> None:
        for column in COLUMNS:
            if (client, column) in cells:
                cell = cells[client, column]
                try:
                    cell.set_result(run_cell(places[client], column))
                except BaseException as error:  # a failed test, or a defect of this one: the cell's own test shows it
                    cell.set_exception(error)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for client in places:
            pool.submit(run_client, client)
        yield cells
    print("\n" + table(cells))


def table(cells: dict[tuple[str, str], Future[str]]) -> str:
    """Client × interruption."""
    lines = [" | ".join(["client", *COLUMNS])]
    for client in CLIENTS:
        if any(name == client.name for name, _ in cells):
            row = [cells.get((client.name, column)) for column in COLUMNS]
            seen = ["-" if cell is None else "FAILED" if cell.exception() else cell.result() for cell in row]
            lines.append(" | ".join([client.name, *seen]))
    return "\n".join(lines)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("client", [client.name for client in CLIENTS])
def test_cell(cells: dict[tuple[str, str], Future[str]], client: str, column: str) -> None:
    assert cells[client, column].result()
