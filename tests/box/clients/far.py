"""A long line: what goes to the server and what comes back takes a while, as it does from another continent.

    python3 -m tests.box.clients.far PORT DELAY_S

Listens on PORT and passes on to sshd, each way so much later.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

Arrived = tuple[float, bytes]


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """One direction. However much is under way, each piece arrives ``delay_s`` after it was sent."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[Arrived] = asyncio.Queue()

    async def deliver() -> None:
        with suppress(OSError):
            while True:
                sent, piece = await under_way.get()
                await asyncio.sleep(sent + delay_s - loop.time())
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
        under_way.put_nowait((loop.time(), piece))
    await delivering


async def main(port: int, delay_s: float) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", 22)
        await asyncio.gather(carry(reader, to_server, delay_s), carry(from_server, writer, delay_s))

    async with await asyncio.start_server(connect, "127.0.0.1", port) as server:
        print("listening", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
