"""Where the hosts of a site are: addresses of loopback, or small networks of their own.

On loopback a dead host's ports refuse connections, and nobody can be cut off. `Lan` has a network
namespace for each host and a bridge between them, all of it gone with this process; it needs
`unshare`, `nsenter` and `ip`, and root or user namespaces.
"""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import ports

NAMES = ("alpha", "beta", "gamma")
BROKER = "broker"
NETWORK = "10.77.0"
MADE_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """A host's name and address, and the command that starts programs there."""

    name: str
    address: str
    enter: tuple[str, ...] = ()

    @property
    def local(self) -> str:
        """Where programs of the host reach its agent, if nobody else is to."""
        return "127.0.0.1" if self.enter else self.address


def loopback() -> tuple[Place, ...]:
    """Three addresses in a /24 of 127.0.0.0/8 that hardly anybody else draws."""
    network = f"127.{random.randrange(64, 250)}.{random.randrange(1, 250)}"
    return tuple(Place(name, f"{network}.{place}") for place, name in enumerate(NAMES, 2))


def free_ports(places: Iterable[Place], number: int) -> list[int]:
    """Free at all of these; in a network of their own all are."""
    return ports.free_ports([place.address for place in places if not place.enter], number)


class Lan:
    """`with Lan() as lan:` has `places` for three hosts and `broker` for one more.

    Each has its own loopback besides, and no way to any other network.
    """

    def __init__(self) -> None:
        self._namespaces: dict[str, subprocess.Popen[bytes]] = {}
        self.places: tuple[Place, ...] = ()
        self.broker = Place(BROKER, "")

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """The namespaces end with their last process, and the links with them."""
        for namespace in self._namespaces.values():
            namespace.kill()
            namespace.communicate()
        self._namespaces = {}

    def cut(self, place: Place) -> None:
        """Nothing goes to or from this host any more, and nobody is told."""
        self._ip("switch", "link", "set", f"to-{place.name}", "down")

    def heal(self, place: Place) -> None:
        self._ip("switch", "link", "set", f"to-{place.name}", "up")

    # ---- inside

    def _make(self) -> None:
        as_root = os.geteuid() == 0
        self._unshare("switch", [] if as_root else ["--user", "--map-root-user"], ())
        self._ip("switch", "link", "add", "lan", "type", "bridge")
        self._ip("switch", "link", "set", "lan", "up")
        inside = self._enter("switch")
        places = []
        for number, name in enumerate((*NAMES, BROKER), 2):
            self._unshare(name, [], inside)
            port, address = f"to-{name}", f"{NETWORK}.{number}"
            peer = ("peer", "name", "eth0", "netns", str(self._namespaces[name].pid))
            self._ip("switch", "link", "add", port, "type", "veth", *peer)
            self._ip("switch", "link", "set", port, "master", "lan", "up")
            self._ip(name, "address", "add", f"{address}/24", "dev", "eth0")
            self._ip(name, "link", "set", "eth0", "up")
            self._ip(name, "link", "set", "lo", "up")
            places.append(Place(name, address, self._enter(name)))
        self.places, self.broker = tuple(places[:-1]), places[-1]

    def _unshare(self, name: str, flags: list[str], within: tuple[str, ...]) -> None:
        """A process that does nothing but have a network namespace, and ends with us."""
        before = _network_of(os.getpid() if not within else self._namespaces["switch"].pid)
        command = [*within, "unshare", *flags, "--net", "cat"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self._namespaces[name] = process
        deadline = time.monotonic() + MADE_WITHIN_S
        while Path(f"/proc/{process.pid}/comm").read_text() != "cat\n":
            if process.poll() is not None or time.monotonic() > deadline:
                raise OSError("no network namespace can be had here")
            time.sleep(0.005)
        assert _network_of(process.pid) != before

    def _enter(self, name: str) -> tuple[str, ...]:
        user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
        return ("nsenter", f"--target={self._namespaces[name].pid}", *user, "--net")

    def _ip(self, name: str, *arguments: str) -> None:
        subprocess.run([*self._enter(name), "ip", *arguments], check=True, capture_output=True)


def _network_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def missing_for_lan() -> str | None:
    """What `Lan` needs and this machine lacks; None: nothing."""
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return program
    try:
        with Lan():
            return None
    except (OSError, subprocess.CalledProcessError):
        return "root, or user namespaces"
