"""Units run by systemd, through its D-Bus API (org.freedesktop.systemd1(5)).

The only importer of pydbus and PyGObject. Signals arrive on GLib's main loop, which runs in a thread of its own and
hands over with call_soon_threadsafe; calls block, so they run in a small pool, each with a timeout (pydbus' default
is to wait for ever).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Literal, Self, TypeVar

from dropdeploy.units.systemd_jobs import BusAwayError, RefusedError, UnitsByJobs
from dropdeploy.units.systemd_terms import PROPERTIES, is_away

_import_error: ImportError | None = None
with warnings.catch_warnings():
    # PyGObject 3.42's importer is of the kind that Python is about to drop, and is warned about where warnings count.
    warnings.simplefilter("ignore", ImportWarning)
    try:
        import pydbus  # noqa: F401 - gives connections their `pydbus`
        from gi.repository import Gio, GLib
    except ImportError as error:
        _import_error = error

CALL_TIMEOUT_S: Final = 25.0
BUS_RETURN_S: Final = 60.0  # how long a bus that went away is waited for

_NAME: Final = "org.freedesktop.systemd1"
_PATH: Final = "/org/freedesktop/systemd1"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"

T = TypeVar("T")


class BindingsError(Exception):
    """PyGObject or pydbus cannot be imported; the text names the packages."""


class SystemdUnits(UnitsByJobs):
    """The port ``Units`` on the machine's systemd (``bus="system"``) or the user's (``bus="user"``).

    Raises BindingsError at construction, and BusAwayError from ``open`` where there is no systemd to talk to. A bus
    that goes away later is waited for.
    """

    def __init__(self, bus: Literal["system", "user"] = "system") -> None:
        if _import_error is not None:
            raise BindingsError(
                f'bus = "{bus}" needs PyGObject and pydbus ({_import_error}): '
                "apt install python3-pydbus python3-gi, or pip install 'dropdeploy[gi]'"
            ) from _import_error
        self._line = _Line(bus, self.job_removed)
        super().__init__(self._line, is_user=bus == "user")

    async def open(self) -> Self:
        """Connect. Once, on the loop that will use it."""
        await self._line.open()
        return self

    async def close(self) -> None:
        """Disconnect and end the threads. Calls under way end with BusAwayError."""
        await self._line.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Line:
    """The ``Bus``: a connection that is made anew when it breaks, the threads, and the way back to the loop."""

    def __init__(self, bus: str, job_removed: Callable[[str, str], None]) -> None:
        self._address = _bus_address(bus)
        self._job_removed = job_removed
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="systemd-dbus")
        self._link: _Link | None = None
        self._linking = asyncio.Lock()
        self._is_closing = False

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._glib = GLib.MainLoop()
        self._glib_thread = threading.Thread(target=self._glib.run, name="glib", daemon=True)
        self._glib_thread.start()
        try:
            await self._connected()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._is_closing = True
        if self._link is not None:
            await self._in_thread(self._link.close)
        # Inside the loop itself: a quit() that comes before run() has begun is forgotten.
        GLib.idle_add(self._glib.quit)
        await self._in_thread(self._glib_thread.join, CALL_TIMEOUT_S)
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def call(self, method: str, *arguments: Any) -> Any:
        return await self._ask(lambda link: link.call(method, *arguments))

    async def properties(self, path: str) -> Mapping[str, Any]:
        return await self._ask(lambda link: link.properties(path))

    def watch(self, path: str, changed: Callable[[Mapping[str, Any]], None]) -> _Subscribed:
        assert self._link is not None
        return self._link.watch(path, self._threadsafe(changed))

    async def _ask(self, question: Callable[[_Link], T]) -> T:
        """Ask in a thread, and again while the bus is away."""
        give_up = self._loop.time() + BUS_RETURN_S
        pause_s = 0.05
        while True:
            try:
                link = await self._connected()
                return await self._in_thread(question, link)
            except BusAwayError:
                if self._is_closing or self._loop.time() + pause_s > give_up:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)

    async def _connected(self) -> _Link:
        async with self._linking:
            if self._is_closing:
                raise BusAwayError("the connection to systemd is closed")
            if self._link is None or self._link.is_closed:
                self._link = await self._connect()
            return self._link

    async def _connect(self) -> _Link:
        cancellable = Gio.Cancellable()
        making = self._pool.submit(_Link, self._address, cancellable, self._threadsafe(self._job_removed))
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await asyncio.wrap_future(making)
        except (TimeoutError, asyncio.CancelledError) as gave_up:
            cancellable.cancel()
            making.add_done_callback(_close_unwanted)
            if isinstance(gave_up, TimeoutError):
                raise BusAwayError(f"the bus does not answer within {CALL_TIMEOUT_S:.0f} s") from gave_up
            raise

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await self._loop.run_in_executor(self._pool, function, *arguments)

    def _threadsafe(self, function: Callable[..., None]) -> Callable[..., None]:
        def hand_over(*arguments: Any) -> None:
            with contextlib.suppress(RuntimeError):  # a last signal after the loop was closed
                self._loop.call_soon_threadsafe(function, *arguments)

        return hand_over


class _Link:
    """One connection to the bus with a proxy of systemd's Manager. Its methods block; of no use once it is closed."""

    def __init__(self, address: str, cancellable: Any, job_removed: Callable[[str, str], None]) -> None:
        flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
        with _translated():
            # Private: GLib's shared connection (pydbus.SystemBus()) ends the process when the bus goes away.
            self._connection = Gio.DBusConnection.new_for_address_sync(address, flags, None, cancellable)
        try:
            with _translated():
                self._bus = self._connection.pydbus
                # get() introspects and builds a class: once a connection.
                self._manager = self._bus.get(_NAME, _PATH, timeout=CALL_TIMEOUT_S)[f"{_NAME}.Manager"]
                self._removals = self._manager.JobRemoved.connect(
                    lambda _id, path, _unit, result: job_removed(path, result)
                )
                self._manager.Subscribe(timeout=CALL_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    @property
    def is_closed(self) -> bool:
        return bool(self._connection.is_closed())

    def close(self) -> None:
        with contextlib.suppress(AttributeError):
            self._removals.disconnect()
        with contextlib.suppress(GLib.Error):  # closed by the other side
            self._connection.close_sync(None)

    def call(self, method: str, *arguments: Any) -> Any:
        with _translated():
            return getattr(self._manager, method)(*arguments, timeout=CALL_TIMEOUT_S)

    def properties(self, path: str) -> dict[str, Any]:
        """All from one moment, so not one by one; and not through a proxy, which unpacks all 400: 10 ms of Python.

        An empty interface name means all of a unit's interfaces.
        """
        with _translated():
            answer = self._connection.call_sync(
                _NAME,
                path,
                _PROPERTIES,
                "GetAll",
                GLib.Variant("(s)", ("",)),
                GLib.VariantType.new("(a{sv})"),
                Gio.DBusCallFlags.NONE,
                int(CALL_TIMEOUT_S * 1000),
                None,
            )
        every = answer.get_child_value(0)
        found = {name: every.lookup_value(name, None) for name in PROPERTIES}
        return {name: value.unpack() for name, value in found.items() if value is not None}

    def watch(self, path: str, changed: Callable[[Mapping[str, Any]], None]) -> _Subscribed:
        subscription = self._bus.subscribe(
            sender=_NAME,
            iface=_PROPERTIES,
            signal="PropertiesChanged",
            object=path,
            signal_fired=lambda _sender, _path, _iface, _signal, about: changed(about[1]),
        )
        return _Subscribed(self, subscription.disconnect)


class _Subscribed:
    """The ``Watch``."""

    def __init__(self, link: _Link, end: Callable[[], None]) -> None:
        self._link = link
        self.end = end

    @property
    def is_live(self) -> bool:
        return not self._link.is_closed


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """GLib's errors as RefusedError and BusAwayError."""
    try:
        yield
    except GLib.Error as error:
        name = Gio.DBusError.get_remote_error(error)
        if name is None or is_away(name):
            raise BusAwayError(f"systemd does not answer on the bus: {error.message}") from error
        raise RefusedError(name, error.message.removeprefix(f"GDBus.Error:{name}: ")) from error


def _close_unwanted(making: Future[_Link]) -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().close()


def _bus_address(bus: str) -> str:
    """As sd-bus finds it: the environment, else the well-known socket (GLib would start a bus of its own)."""
    if bus == "system":
        return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or "unix:path=/run/dbus/system_bus_socket"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return os.environ.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={runtime}/bus"
