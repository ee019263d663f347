"""Where the embedded supervisor's processes are born, and what ends them should the agent die without doing so.

That is a small shell process. It reads from a pipe which process groups there are, and the pipe's end means that the
agent is gone, however that came about. PR_SET_PDEATHSIG would reach an app's first process only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

# SIGTERM first, for apps that have something to write down; but not for long, as the next agent may be starting
# already. A group that is gone is no error.
_GUARD: Final = """
groups=
while read -r line; do
    case $line in
        +*) groups="$groups ${line#+}" ;;
        -*) left=
            for group in $groups; do [ "$group" = "${line#-}" ] || left="$left $group"; done
            groups=$left ;;
    esac
done
for group in $groups; do kill -s TERM -- "-$group"; done
tries=3
while [ -n "$groups" ] && [ $tries -gt 0 ]; do
    left=
    for group in $groups; do ! kill -s 0 -- "-$group" || left="$left $group"; done
    groups=$left tries=$((tries - 1))
    [ -z "$groups" ] || sleep 0.1
done
for group in $groups; do kill -s KILL -- "-$group"; done
"""

# A new group tells the guardian of itself before it runs anything of the app's: there is no moment in which it is
# unknown. LISTEN_PID is the app's own process id (sd_listen_fds(3)), which nobody knows before it exists: the shell
# sets it and becomes the app. The socket comes as standard input and the guardian's pipe as standard error, because
# a shell can only name descriptors of one digit.
_BIRTH: Final = """
echo "+$$" >&2
exec 2>&1
if [ -n "${LISTEN_FDS-}" ]; then exec 3<&0 0</dev/null; LISTEN_PID=$$; export LISTEN_PID; fi
exec "$@"
"""


class Guardian:
    """Its process is started with the first group that needs it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: set[int] = set()
        # fork and exec take their time on a busy machine, and the event loop has none. One at a time.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guardian")

    async def spawn(
        self,
        command: Sequence[str],
        *,
        directory: str,
        environment: Mapping[str, str],
        listener_fd: int | None,
        output_fd: int,
    ) -> subprocess.Popen[bytes]:
        """A command in a session of its own, guarded until ``forget``. ``listener_fd`` becomes its descriptor 3.

        Raises OSError where the directory cannot be entered. A program that does not exist ends with status 127.
        """

        def run() -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _BIRTH, "sh", *command],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL if listener_fd is None else listener_fd,
                stdout=output_fd,
                stderr=self._pipe(),
                start_new_session=True,
            )
            self._groups.add(process.pid)
            return process

        loop = asyncio.get_running_loop()
        birth = loop.run_in_executor(self._pool, run)
        try:
            return await asyncio.shield(birth)
        except asyncio.CancelledError:
            process = await birth
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await loop.run_in_executor(self._pool, process.wait)
            self.forget(process.pid)
            raise

    def forget(self, group: int) -> None:
        """The group has ended: its number may become another's."""
        self._groups.discard(group)
        self._tell(f"-{group}")

    async def close(self) -> None:
        """Let go of it; what it still guards is ended. Waits for its end."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._end)
        self._pool.shutdown()

    def _pipe(self) -> int:
        """The way to the guardian, who may have been killed meanwhile."""
        if self._process is None or self._process.poll() is not None:
            self._end()
            # In a session of its own: Ctrl-C is for the agent.
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
            for group in [*self._groups]:
                self._tell(f"+{group}")
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._process.stdin.fileno(), f"{line}\n".encode())

    def _end(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process = None
