"""The HTTP client, loaded when it is first wanted and not before: aiohttp is most of what the agent has to load.

Whoever recovers a deploy begins without it, and has most often to wait for systemd first.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dropdeploy.http_client import Client


async def load_client() -> type[Client]:
    """The class ``Client`` of ``http_client``. Loaded in a thread, so that everybody else goes on."""
    module = await asyncio.to_thread(importlib.import_module, "dropdeploy.http_client")
    client: type[Client] = module.Client
    return client
