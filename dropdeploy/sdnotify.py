"""Telling the service manager how the agent is: the datagrams of sd_notify(3), which are stable and this simple."""

from __future__ import annotations

import os
import socket
import time


def notify(*assignments: str) -> None:
    """Send ``VARIABLE=value`` lines to the service manager, if there is one. A manager that is gone is no error.

    A newline in a value would begin another assignment, and an uploaded file's name may have one: it becomes a blank.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract namespace, unix(7)
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            lines = (assignment.replace("\n", " ") for assignment in assignments)
            channel.sendall("\n".join(lines).encode(errors="backslashreplace"))
    except OSError:
        return


def watchdog_s() -> float:
    """``WatchdogSec=`` in seconds, 0 when there is none for this process (sd_watchdog_enabled(3))."""
    is_ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6 if is_ours else 0.0


def monotonic_usec() -> str:
    """What ``Type=notify-reload`` wants beside RELOADING=1."""
    return f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
