"""A Starlette app; uvicorn serves it."""

import asyncio
import json
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

behaviour = json.loads(Path("behaviour.json").read_text())


async def index(request):
    return JSONResponse({"version": behaviour["version"], "pid": os.getpid(), "cwd": os.getcwd()})


async def health(request):
    return PlainTextResponse("fine\n")


async def slow(request):
    await asyncio.sleep(behaviour.get("slow_s", 1.5))
    return PlainTextResponse(os.getcwd())


app = Starlette(routes=[Route("/", index), Route("/health", health), Route("/slow", slow)])
