"""A small shell process that ends what the agent runs, should the agent die without doing so itself.

It reads from a pipe which process groups there are; the pipe's end means that the agent is gone, however that came
about. PR_SET_PDEATHSIG would reach an app's first process only, and be forgotten by the next fork.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import Final

# SIGTERM first, for apps that have something to write down; a group that is gone is no error. The guardian's own
# group is not the agent's, so that Ctrl-C reaches it not.
_SCRIPT: Final = """
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
tries=20
while [ -n "$groups" ] && [ $tries -gt 0 ]; do
    left=
    for group in $groups; do ! kill -s 0 -- "-$group" || left="$left $group"; done
    groups=$left tries=$((tries - 1))
    [ -z "$groups" ] || sleep 0.1
done
for group in $groups; do kill -s KILL -- "-$group"; done
"""


class Guardian:
    """Started with the first group that needs it. Its pipe is written to by the new groups themselves, before they
    run anything of the app's, so there is no moment in which a group is unknown."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def pipe(self) -> int:
        """Where a new process group writes ``+<its id>`` and a newline."""
        if self._process is None or self._process.poll() is not None:
            self._close_pipe()
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    def forget(self, group: int) -> None:
        """The group has ended: its number may become another's."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._process.stdin.fileno(), b"-%d\n" % group)

    def close(self) -> None:
        """Let go of it; what it still guards is ended. Waits for its end."""
        self._close_pipe()
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _close_pipe(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
