"""Writes to many sockets, one after the other, and nothing else.

`python -m tests.bench.reference_writes SOCKETS OCTETS` prints its port. The first connection is the
one whose each octet is the word for one write to each of the others.
"""

import socket
import sys


def main(sockets: int, octets: int) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        control, *others = (listener.accept()[0] for _ in range(1 + sockets))
        data = bytes(octets)
        while control.recv(1):
            for each in others:
                each.send(data)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
