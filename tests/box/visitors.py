#!/usr/bin/env python3
"""A constant load of HTTP requests on one address, of which every single one is accounted for.

    visitors.py ADDRESS:PORT [--new N] [--keep-alive N] [--slow N] [--pause SECONDS]

runs until its standard input ends and prints what it saw as JSON (see ``Tally``). Clients of three kinds: a connection
for each request; one connection for all requests, for as long as the server lets it; and requests to /slow, a
connection each. Between two requests a client pauses for up to ``--pause``, at random, so that connections are idle,
busy or new whenever something happens. An answer has to name the release that gave it (YYYYMMDD-HHMMSS).

It uses the standard library only, and no garbage collection, so that its own pauses are not measured.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 30.0
RELEASE = re.compile(rb"\d{8}-\d{6}")
KINDS = ("new", "keep-alive", "slow")


class FailedError(Exception):
    """One request failed; its text is the class: refused, reset, truncated, timeout, status N, body, or raced.

    Raced: the server closed a connection that had been idle before the first byte of the answer. It may have done so
    before it saw the request (RFC 9112, 9.3.1 and 9.5): a client that repeats such requests by itself notices nothing.
    """


@dataclass
class Tally:
    """What clients of one kind saw. Latencies in seconds, from the connect (or, on an open connection, the request)
    to the last byte; of answers only, so that a failure is no quick one. ``closed``: idle connections that the server
    ended before anything was sent on them, which is no failure."""

    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
    closed: int = 0

    def summary(self) -> dict[str, Any]:
        """For JSON; latencies in milliseconds."""
        ordered = sorted(self.latencies)

        def quantile(share: float) -> float:
            return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

        return {
            "requests": len(ordered) + sum(self.failures.values()),
            "failures": dict(self.failures),
            "closed": self.closed,
            "median_ms": quantile(0.5),
            "p99_ms": quantile(0.99),
            "slowest_ms": quantile(1),
            "releases": dict(self.releases),
            "details": self.details[:20],
        }


@dataclass
class Connection:
    """An open connection, and whether it has carried a request."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_used: bool = False


class Client:
    """One client of one kind."""

    def __init__(self, kind: str, host: str, port: int, pause_s: float, tally: Tally) -> None:
        self.kind, self.host, self.port, self.pause_s, self.tally = kind, host, port, pause_s, tally
        path = "/slow" if kind == "slow" else "/"
        connection = "keep-alive" if kind == "keep-alive" else "close"
        self.request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: {connection}\r\n\r\n".encode()
        self.open: Connection | None = None

    async def run(self, until: asyncio.Event) -> None:
        """One request after the other. One that is under way when ``until`` is set is brought to its end."""
        while not until.is_set():
            began = time.perf_counter()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    release = await self._once()
            except TimeoutError:
                self._failed("timeout")
            except FailedError as failure:
                self._failed(str(failure))
            else:
                self.tally.latencies.append(time.perf_counter() - began)
                self.tally.releases[release] += 1
            await asyncio.sleep(random.uniform(0, self.pause_s))
        self._close()

    def _failed(self, reason: str) -> None:
        self.tally.failures[reason] += 1
        self.tally.details.append(f"{time.time():.3f} {self.kind}: {reason}")
        self._close()

    async def _once(self) -> str:
        if self.open is not None and self.open.reader.at_eof():
            self.tally.closed += 1
            self._close()
        if self.open is None:
            self.open = await self._connect()
        connection = self.open
        try:
            connection.writer.write(self.request)
            head = await connection.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise FailedError("truncated" if error.partial else self._ended(connection, "truncated")) from error
        except OSError as error:
            raise FailedError(self._ended(connection, "reset")) from error
        release = await self._answer(connection, head)
        connection.is_used = True
        if self.kind != "keep-alive" or b"\r\nconnection: close\r\n" in head.lower():
            self._close()
        return release

    @staticmethod
    def _ended(connection: Connection, otherwise: str) -> str:
        return "raced" if connection.is_used else otherwise

    async def _connect(self) -> Connection:
        try:
            return Connection(*await asyncio.open_connection(self.host, self.port))
        except ConnectionRefusedError as error:
            raise FailedError("refused") from error
        except OSError as error:
            raise FailedError("reset") from error

    async def _answer(self, connection: Connection, head: bytes) -> str:
        """The release that the rest of the answer names."""
        fields = dict(line.lower().partition(b": ")[::2] for line in head.split(b"\r\n")[1:-2])
        try:
            if fields.get(b"transfer-encoding") == b"chunked":
                body = b""
                while size := int(await connection.reader.readuntil(b"\r\n"), 16):
                    body += (await connection.reader.readexactly(size + 2))[:-2]
                await connection.reader.readexactly(2)
            else:
                body = await connection.reader.readexactly(int(fields[b"content-length"]))
        except asyncio.IncompleteReadError as error:
            raise FailedError("truncated") from error
        except OSError as error:
            raise FailedError("reset") from error
        status = head.split(b" ", 2)[1].decode()
        if status != "200":
            raise FailedError(f"status {status}")
        named = RELEASE.search(body)
        if named is None:
            raise FailedError("body")
        return named[0].decode()

    def _close(self) -> None:
        if self.open is not None:
            self.open.writer.close()
        self.open = None


async def run(asked: argparse.Namespace) -> dict[str, Tally]:
    """The load, until standard input ends."""
    host, _, port = asked.address.rpartition(":")
    tallies = {kind: Tally() for kind in KINDS}
    until = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), until.set)
    async with asyncio.TaskGroup() as clients:
        for kind, count in (("new", asked.new), ("keep-alive", asked.keep_alive), ("slow", asked.slow)):
            for _ in range(count):
                clients.create_task(Client(kind, host, int(port), asked.pause, tallies[kind]).run(until))
    return tallies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", metavar="ADDRESS:PORT")
    parser.add_argument("--new", type=int, default=4, help="clients with a connection for each request")
    parser.add_argument("--keep-alive", type=int, default=4, help="clients with one connection each")
    parser.add_argument("--slow", type=int, default=0, help="clients that ask for /slow")
    parser.add_argument("--pause", type=float, default=0.02, help="at most so many seconds between two requests")
    gc.disable()
    tallies = asyncio.run(run(parser.parse_args()))
    print(json.dumps({kind: tally.summary() for kind, tally in tallies.items()}))


if __name__ == "__main__":
    main()
