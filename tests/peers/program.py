"""A program that offers a service and registers itself: `python -m tests.peers.program`.

It accepts connections at a free port of its host's address, closes each at once, and ends, without
a word to anybody, when its standard input does.
"""

import json
import os
import socket
import sys
import threading
import time
from typing import Any

from tests.peers.clients import Client, NotDone, client_for


def main() -> None:
    config = json.loads(sys.argv[1])
    listener = socket.create_server((config["address"], config.get("port", 0)), backlog=64)
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    address, port = listener.getsockname()
    client = client_for(config)
    print(json.dumps({"pid": os.getpid(), "ready_at": time.monotonic()}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        told = {"number": asked["number"], "asked_at": time.monotonic()}
        try:
            _act(client, asked, address, port)
        except NotDone as error:
            told["error"] = str(error) or type(error).__name__
        told["answered_at"] = time.monotonic()
        print(json.dumps(told), flush=True)
    os._exit(0)


def _act(client: Client, asked: dict[str, Any], address: str, port: int) -> None:
    if asked["do"] == "register":
        client.register(asked["service"], asked["id"], address, port, asked["way"])
    else:
        client.deregister(asked["id"])


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.close()


if __name__ == "__main__":
    main()
