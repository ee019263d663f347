"""The HTTP client, loaded when a deploy comes near to wanting it: aiohttp is most of what the agent has to load.

Whoever recovers a deploy begins without it, and has most often to wait for systemd before anything is asked.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dropdeploy.http_client import Client

_MODULE = "dropdeploy.http_client"
_is_begun = threading.Event()


def begin_loading() -> None:
    """It will be wanted soon: load it in a thread, beside whatever else goes on. May be called time and again."""
    if not _is_begun.is_set() and _MODULE not in sys.modules:
        threading.Thread(target=importlib.import_module, args=(_MODULE,), name="loading").start()
    _is_begun.set()


async def load_client() -> type[Client]:
    """The class ``Client`` of ``http_client``; nothing is held up while it is loaded."""
    module = await asyncio.to_thread(importlib.import_module, _MODULE)
    client: type[Client] = module.Client
    return client
