"""Resident memory of an agent's process before and after it has heard a whole fleet:
`python -m tests.bench.scale_memory`, frames on standard input; prints one line of JSON.

It has loaded what an agent that runs has, and what is told of it is the core's whole keep: the
view, records as they were signed, leases, the event log.
"""

import gc
import importlib
import json
import os
import struct
import sys
from collections.abc import Iterator
from typing import BinaryIO

from beacond.agent import _load_http, _load_rest
from beacond.core.model import AgentState
from tests.bench import process
from tests.bench.scale_load import Listener

HEAD = struct.Struct("!dI")
"""When, and how many octets follow."""
LIBRARIES = ("uvloop", "aio_pika", "beacond.bus.amqp")


def written(at: float, frame: bytes) -> bytes:
    return HEAD.pack(at, len(frame)) + frame


def read(stream: BinaryIO) -> Iterator[tuple[float, bytes]]:
    while head := stream.read(HEAD.size):
        at, size = HEAD.unpack(head)
        yield at, stream.read(size)


def main() -> None:
    _load_http()
    _load_rest()
    for library in LIBRARIES:
        importlib.import_module(library)
    listener = Listener()
    gc.collect()
    gc.freeze()
    before = process.rss_mib(os.getpid())
    listener.follow(read(sys.stdin.buffer))
    view = listener.node.view
    told = {
        "before": before,
        "after": process.rss_mib(os.getpid()),
        "instances": sum(len(each.instances) for each in view.services.values()),
        "alive": sum(each.state is AgentState.ALIVE for each in view.agents.values()),
        "relays": listener.node._relays.used,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
