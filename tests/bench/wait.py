"""Waiting for a server to answer its first question, closely enough to time it."""

import http.client
import socket
import subprocess
import time

WITHIN_S = 60.0
TRY_EVERY_S = 0.005

Process = subprocess.Popen[str] | subprocess.Popen[bytes]


def until_answered(port: int, packet: bytes, process: Process) -> float:
    """Ask over DNS until an answer with records comes; `time.perf_counter()` of that moment."""
    deadline = time.monotonic() + WITHIN_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(TRY_EVERY_S)
        asker.connect(("127.0.0.1", port))
        while time.monotonic() < deadline and process.poll() is None:
            try:
                asker.send(packet)
                reply = asker.recv(4096)
                if reply[6:8] != b"\0\0":
                    return time.perf_counter()
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                pass
            time.sleep(TRY_EVERY_S)
    raise TimeoutError(f"no answer on port {port}; exit status {process.poll()}")


def until_served(port: int, path: str, process: Process) -> float:
    """Ask over HTTP until 200 comes; `time.perf_counter()` of that moment."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        asker = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
        try:
            asker.request("GET", path)
            if asker.getresponse().status == http.client.OK:
                return time.perf_counter()
        except ConnectionRefusedError:
            pass
        finally:
            asker.close()
        time.sleep(TRY_EVERY_S)
    raise TimeoutError(f"no answer on port {port}; exit status {process.poll()}")
