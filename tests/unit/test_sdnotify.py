from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dropdeploy import sdnotify


@pytest.mark.parametrize("is_abstract", [False, True])
def test_assignments_arrive_in_one_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool) -> None:
    address = f"@dropdeploy-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1) if is_abstract else address)
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        sdnotify.notify("READY=1", "STATUS=watching 1 app")
        assert manager.recv(4096) == b"READY=1\nSTATUS=watching 1 app"
        sdnotify.notify("STATUS=shop: a\nMAINPID=1.tar.gz\udcff: extract")
        assert manager.recv(4096) == b"STATUS=shop: a MAINPID=1.tar.gz\\udcff: extract"


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    sdnotify.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/notify")
    sdnotify.notify("READY=1")


def test_the_watchdog_is_for_the_process_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert sdnotify.watchdog_s() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert sdnotify.watchdog_s() == 0.0
    monkeypatch.delenv("WATCHDOG_USEC")
    monkeypatch.delenv("WATCHDOG_PID")
    assert sdnotify.watchdog_s() == 0.0
