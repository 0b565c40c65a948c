"""Load on a DNS server over UDP: `python -m tests.bench.load_dns PORT PID TYPE SECONDS SEED`.

One socket with a fixed number of questions under way; the next is asked when an answer comes. It
counts only answers that are whole: no error, not cut, the right number of records.
"""

import json
import socket
import struct
import sys
import time
from random import Random

from tests.bench.population import LOOKED_UP
from tests.bench.process import cpu_s

TYPES = {"A": 1, "SRV": 33}
UNDER_WAY = 32
DRAWN = 4096
"""Questions drawn beforehand, then asked in a circle."""
UDP_OCTETS = 1232
LOST_AFTER_S = 0.5
WARM_UP_S = 0.3
LOOK_AT_CLOCK = 64
ANSWERS = LOOKED_UP.per_service.to_bytes(2, "big")


def question(name: str, qtype: int, number: int) -> bytes:
    """A packet as a stub resolver sends it, with EDNS."""
    labels = [label.encode() for label in name.split(".")]
    encoded = b"".join(len(label).to_bytes(1, "big") + label for label in labels) + b"\0"
    head = struct.pack("!6H", number, 0x0100, 1, 0, 0, 1)
    opt = b"\0" + struct.pack("!HHIH", 41, UDP_OCTETS, 0, 0)
    return head + encoded + struct.pack("!HH", qtype, 1) + opt


def is_whole(reply: bytes) -> bool:
    return not reply[2] & 0x02 and not reply[3] & 0x0F and reply[6:8] == ANSWERS


class Asker:
    def __init__(self, port: int, qtype: int, seed: int) -> None:
        names = LOOKED_UP.dns_names()
        rng = Random(seed)
        self._packets = [question(rng.choice(names), qtype, n) for n in range(DRAWN)]
        self._asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(LOST_AFTER_S)
        self.answers = self.wrong = self.lost = 0

    def _ask(self) -> None:
        self._socket.send(self._packets[self._asked % DRAWN])
        self._asked += 1

    def ask_for(self, seconds: float) -> float:
        """Keep asking for so long; how long it was."""
        self.answers = self.wrong = self.lost = 0
        receive, ask = self._socket.recv, self._ask
        began_at = now = time.perf_counter()
        while now - began_at < seconds:
            try:
                for _ in range(LOOK_AT_CLOCK):
                    if is_whole(receive(4096)):
                        self.answers += 1
                    else:
                        self.wrong += 1
                    ask()
            except TimeoutError:
                self.begin()
                self.lost += UNDER_WAY
            now = time.perf_counter()
        return now - began_at

    def begin(self) -> None:
        for _ in range(UNDER_WAY):
            self._ask()

    def close(self) -> None:
        self._socket.close()


def main(port: int, pid: int, qtype: str, seconds: float, seed: int) -> None:
    asker = Asker(port, TYPES[qtype], seed)
    try:
        asker.begin()
        asker.ask_for(WARM_UP_S)
        used_s, own_s = cpu_s(pid), time.process_time()
        wall_s = asker.ask_for(seconds)
        used_s, own_s = cpu_s(pid) - used_s, time.process_time() - own_s
    finally:
        asker.close()
    told = {"answers": asker.answers, "wrong": asker.wrong, "lost": asker.lost}
    print(json.dumps(told | {"wall_s": wall_s, "cpu_s": used_s, "own_cpu_s": own_s}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
