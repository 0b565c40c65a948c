"""A bare aiohttp server that answers the same bytes as the agent, and does nothing else.

`python -m tests.bench.reference_http FILE`, with the answers by path as JSON; prints its port.
"""

import asyncio
import json
import sys
from pathlib import Path

import uvloop
from aiohttp import web

HEADS = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Beacond-Index": "1"}


async def main(path: Path) -> None:
    told: dict[str, str] = json.loads(path.read_text())
    answers = {path.rpartition("/")[2]: body.encode() for path, body in told.items()}

    async def lookup(request: web.Request) -> web.Response:
        return web.Response(body=answers[request.match_info["name"]], headers=HEADS)

    app = web.Application()
    app.add_routes([web.get("/v1/services/{name}", lookup)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
