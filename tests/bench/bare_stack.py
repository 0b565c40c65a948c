"""The libraries that an agent has loaded, and an aiohttp server that nobody asks: nothing else.

`python -m tests.bench.bare_stack [MODULE]...`, with what else to import; prints its port. What an
agent needs beyond this is its own.
"""

import asyncio
import importlib
import sys

import click  # noqa: F401
import msgpack  # noqa: F401
import prometheus_client  # noqa: F401
import uvloop
from aiohttp import web
from pydantic import BaseModel
from pythonjsonlogger.json import JsonFormatter  # noqa: F401


class _Anything(BaseModel):
    """pydantic loads most of itself for the first model."""

    name: str


async def main() -> None:
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
