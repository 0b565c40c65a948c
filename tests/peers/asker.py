"""A program that looks services up, on the host that it runs on: `python -m tests.peers.asker`."""

import json
import sys
import time

from tests.peers.clients import NotDone, client_for


def main() -> None:
    client = client_for(json.loads(sys.argv[1]))
    print("{}", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        told = {"number": asked["number"], "asked_at": time.monotonic()}
        try:
            if asked.get("do") == "leader":
                told["leader"] = client.leader()
            else:
                ids, suspect = client.lookup(asked["service"], asked["timeout_s"])
                told |= {"ids": sorted(ids), "suspect": sorted(suspect)}
        except NotDone as error:
            told["error"] = str(error) or type(error).__name__
        told["answered_at"] = time.monotonic()
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
