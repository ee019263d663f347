"""One run of an app under the embedded supervisor: its process, all that it forked, and what they print."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Self

from dropdeploy.units.failure import Exit
from dropdeploy.units.guardian import Guardian
from dropdeploy.units.listener import Listener
from dropdeploy.units.output import OutputRing
from dropdeploy.units.procfs import is_group_alive


class ProcessGroup:
    """A command that runs in a session of its own. ``ended`` is done when its first process has ended."""

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        directory: str,
        environment: Mapping[str, str],
        listener: Listener | None,
        output: OutputRing,
        guardian: Guardian,
    ) -> Self:
        """Raises OSError where the directory cannot be entered."""
        if listener is not None:
            # A property of the socket itself, so the run before may have changed it.
            listener.socket.setblocking(True)
        output_fd, app_output_fd = os.pipe()
        try:
            process = await guardian.spawn(
                command,
                directory=directory,
                environment=environment,
                listener_fd=None if listener is None else listener.socket.fileno(),
                output_fd=app_output_fd,
            )
        except BaseException:
            os.close(output_fd)
            raise
        finally:
            os.close(app_output_fd)
        try:
            return cls(process, output_fd, output, guardian)
        except OSError:  # no descriptor is left to see its end with: what nobody can look after must not run
            asyncio.get_running_loop().remove_reader(output_fd)
            os.close(output_fd)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.wait)
            guardian.forget(process.pid)
            raise

    def __init__(
        self, process: subprocess.Popen[bytes], output_fd: int, output: OutputRing, guardian: Guardian
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._guardian = guardian
        self._output = output
        self._output_fd = output_fd
        self._started = self._loop.time()
        self.pid = process.pid
        self.ended: asyncio.Future[Exit] = self._loop.create_future()
        os.set_blocking(output_fd, False)
        self._loop.add_reader(output_fd, self._read_output)
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._main_ended)

    def hang_up(self) -> None:
        """SIGHUP to the first process only, if it still runs."""
        if not self.ended.done():
            os.kill(self.pid, signal.SIGHUP)

    async def stop(self, timeout_s: float) -> Exit:
        """SIGTERM to the whole group, SIGKILL to what is left of it after ``timeout_s``. Returns when all are gone.

        Also to be called when the first process ended by itself: it may have left others.
        """
        self._signal_group(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                await self._all_gone()
        except TimeoutError:
            self._signal_group(signal.SIGKILL)
            await self._all_gone()
        self._guardian.forget(self.pid)
        self._read_output()
        self._close_output()
        return self.ended.result()

    async def _all_gone(self) -> None:
        await asyncio.shield(self.ended)
        # Nobody tells of the end of processes that are no children.
        pause_s = 0.005
        while await asyncio.to_thread(is_group_alive, self.pid):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.1)
        self._bury_orphans()

    def _bury_orphans(self) -> None:
        """They are the agent's children where it is a container's first process."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-self.pid, os.WNOHANG) != (0, 0):
                pass

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _main_ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        status = self._process.wait()
        self._read_output()  # its last words, before anybody asks why it ended
        ran_s = self._loop.time() - self._started
        end = Exit("exited", status, ran_s) if status >= 0 else Exit("killed", -status, ran_s)
        self.ended.set_result(end)

    def _read_output(self) -> None:
        if self._output_fd < 0:
            return
        # At most a pipe's full size a turn: an app that prints without end must not keep the loop from its work.
        for _ in range(4):
            try:
                data = os.read(self._output_fd, 16384)
            except BlockingIOError:
                return
            if not data:
                self._close_output()
                return
            self._output.feed(data)

    def _close_output(self) -> None:
        if self._output_fd >= 0:
            self._loop.remove_reader(self._output_fd)
            os.close(self._output_fd)
            self._output_fd = -1
            self._output.flush()
