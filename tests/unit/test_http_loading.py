"""What is loaded when."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def test_the_client_is_loaded_when_it_is_wanted_and_not_before() -> None:
    program = textwrap.dedent("""
        import asyncio, sys, threading
        import dropdeploy.process
        assert "aiohttp" not in sys.modules
        from dropdeploy.http_loading import begin_loading, load_client
        for _ in range(3):
            begin_loading()
        assert threading.active_count() <= 2
        assert asyncio.run(load_client()).__name__ == "Client"
        assert "aiohttp" in sys.modules
    """)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
