"""A receiver of webhooks: a real server on a socket, as well or ill as its replies say."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """What came. Names of headers are in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """``replies`` are those to the first, second, … request, the last one goes on for ever.

    A reply is a whole status line with headers, such as "200 OK" or "302 Found\\r\\nLocation: /", or "hang" or "drop".
    """

    def __init__(self, *replies: str) -> None:
        self._replies = replies or ("204 No Content",)
        self._busy: set[asyncio.Task[None]] = set()
        self.requests: list[Request] = []
        self.arrived = asyncio.Condition()
        self.open_at_most = self._open = 0

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for _ in range(5):  # a connection that was accepted just now is served some turns of the loop later
            await asyncio.sleep(0)
            for task in self._busy:
                task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/T0K3N"

    async def wait_for(self, count: int) -> None:
        """Until so many requests have come in all."""
        async with asyncio.timeout(20), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        self._open += 1
        self.open_at_most = max(self.open_at_most, self._open)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                await self._answer(reader, writer)
            finally:
                self._open -= 1
                writer.close()
                await writer.wait_closed()
        self._busy.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        async with self.arrived:
            self.requests.append(Request(line, headers, body))
            number = len(self.requests)
            self.arrived.notify_all()
        reply = self._replies[min(number, len(self._replies)) - 1]
        if reply == "hang":
            await asyncio.sleep(3600)
        if reply != "drop":
            writer.write(f"HTTP/1.1 {reply}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
