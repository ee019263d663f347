"""A long line: what goes to the server and what comes back takes a while, as it does from another continent.

    python3 -m tests.box.clients.far PORT DELAY_S

Listens on PORT and passes on to sshd, each way so much later. A log-in takes a dozen round trips that are of no
interest here: the line is short until so much has gone up it that an upload has begun.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

Arrived = tuple[float, bytes]
LOG_IN_BYTES = 32 << 10


class Line:
    """One connection. It becomes long with the upload."""

    def __init__(self, delay_s: float) -> None:
        self._long_s = delay_s
        self._went_up = 0

    def carried(self, piece: bytes, *, is_up: bool) -> float:
        """After so many seconds this arrives."""
        self._went_up += len(piece) * is_up
        return self._long_s if self._went_up > LOG_IN_BYTES else 0.0


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line, *, is_up: bool) -> None:
    """One direction. However much is under way, each piece arrives as much later as the line is long."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[Arrived] = asyncio.Queue()

    async def deliver() -> None:
        with suppress(OSError):
            while True:
                due, piece = await under_way.get()
                await asyncio.sleep(due - loop.time())
                if not piece:
                    break
                writer.write(piece)
                await writer.drain()
        writer.close()

    delivering = asyncio.create_task(deliver())
    piece = b"."
    while piece:
        try:
            piece = await reader.read(65536)
        except OSError:
            piece = b""
        under_way.put_nowait((loop.time() + line.carried(piece, is_up=is_up), piece))
    await delivering


async def main(port: int, delay_s: float) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", 22)
        line = Line(delay_s)
        await asyncio.gather(carry(reader, to_server, line, is_up=True), carry(from_server, writer, line, is_up=False))

    async with await asyncio.start_server(connect, "127.0.0.1", port) as server:
        print("listening", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
