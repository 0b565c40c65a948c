"""What systemd wants to hear from a service of type notify (sd_notify(3))."""

import os
import socket
import time
from contextlib import suppress


def notify(state: str) -> None:
    """Tell the service manager, if one listens; it never fails us."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), address)


def reloading() -> None:
    monotonic_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify(f"RELOADING=1\nMONOTONIC_USEC={monotonic_us}")


def watchdog_interval_s() -> float | None:
    """How often to say WATCHDOG=1: twice as often as asked; None where nobody asks."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    if not usec.isdecimal() or int(usec) == 0:
        return None
    pid = os.environ.get("WATCHDOG_PID")
    if pid is not None and pid != str(os.getpid()):
        return None
    return int(usec) / 1e6 / 2
