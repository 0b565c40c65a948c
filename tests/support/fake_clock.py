"""A wall clock for one agent, set while it runs; the host's is never touched.

libfaketime stands between the process and its C library. Only the wall clock is false: the
monotonic clocks, by which everything is timed, go on as they are on a host whose clock is set.
"""

import os
from contextlib import suppress
from pathlib import Path

_LIBRARIES = ("/usr/lib", "/usr/local/lib")


def find_library() -> Path | None:
    """The library that goes with the program `faketime`."""
    for folder in _LIBRARIES:
        for place in ("*/faketime", "faketime"):
            if found := sorted(Path(folder).glob(f"{place}/libfaketimeMT.so.1")):
                return found[0]
    return None


class FakeClock:
    def __init__(self, folder: Path, offset_s: int = 0) -> None:
        """`env` is for the process that should see it; `folder` is this clock's own."""
        library = find_library()
        assert library is not None
        folder.mkdir(exist_ok=True)
        self._file = folder / "offset"
        self._pids: list[int] = []
        self.set(offset_s)
        self.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset_s: int) -> None:
        """So many seconds ahead of the host's from now on."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{offset_s:+d}\n")
        beside.rename(self._file)

    def shown_to(self, pid: int) -> None:
        self._pids.append(pid)

    def close(self) -> None:
        """Remove what the library leaves of processes that were killed."""
        for pid in self._pids:
            for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
                with suppress(FileNotFoundError):
                    os.unlink(f"/dev/shm/{name}")
