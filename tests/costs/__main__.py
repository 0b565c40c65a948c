"""Measure the unit costs of `beacond plan` again, about ten minutes:

python -m tests.costs [broker|agent|client]
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.costs import agent, broker, client
from tests.costs.messages import heartbeat
from tests.support import machine
from tests.support.rabbitmq import RabbitMQ

PARTS = ("broker", "agent", "client")


def main(parts: Sequence[str]) -> None:
    print(machine.facts(), "load", machine.load())
    with tempfile.TemporaryDirectory() as folder:
        for part in parts or PARTS:
            server = RabbitMQ()
            try:
                asyncio.run(server.start())
                match part:
                    case "broker":
                        rows = broker.measure(server, heartbeat())
                    case "client":
                        rows = client.measure(server, heartbeat())
                    case _:
                        rows = agent.measure(server, Path(folder))
            finally:
                asyncio.run(server.close())
            for what, value, unit in rows:
                print(f"{what:<45} {value:>12,.1f} {unit}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
