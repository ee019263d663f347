"""Stops the unpacker of one app's upload in the middle of its work, so that something can happen meanwhile.

    python3 -m tests.box.clients.hunter AGENT_PID APP FILES

It stops when it has made FILES files of a release (0: before it has read anything). Prints its process id once it is
stopped, or "missed" when it was through before. As root, and of the highest priority: it has to be the quicker one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress


def find_unpacker(agent: str, app: str) -> int:
    """Wait for the child of the agent that has an upload to this app open."""
    while True:
        for pid in children(agent):
            with suppress(OSError):
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if b"dropdeploy.releases.unpacker" not in file.read():
                        continue
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(f"/srv/drop/{app}/"):
                        return int(pid)
        time.sleep(0.0005)


def children(agent: str) -> list[str]:
    with open(f"/proc/{agent}/task/{agent}/children") as file:
        return file.read().split()


def count_files(app: str) -> int:
    """Files that are in the staging directory."""
    with suppress(OSError):
        for name in os.listdir(f"/home/{app}/releases"):
            if name.startswith(".staging-"):
                return sum(len(names) for _, _, names in os.walk(f"/home/{app}/releases/{name}"))
    return 0


def main(agent: str, app: str, files: int) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    print("hunting", flush=True)
    pid = find_unpacker(agent, app)
    try:
        os.kill(pid, signal.SIGSTOP)
        # From here it may go on in small steps only.
        while count_files(app) < files:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.0005)
            os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        print("missed", flush=True)
        return
    print(pid, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
