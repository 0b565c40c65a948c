"""Keeps what this host offers equal to what the files in `services_dir` declare.

A file with an error changes nothing: what it held before stays in force. A file that vanishes takes
its instances along. Of two files with one instance id the first by name has it.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from watchfiles import awatch

from beacond.core.local import RequestError
from beacond.core.model import InstanceSpec
from beacond.services_dir.folder import FILES_MAX, Folder, folder_id, read_folder
from beacond.services_dir.parsing import FileError, parse_file

REREAD_S = 30.0
"""Everything is read again so often: notifications can be lost (network file systems, overflow)."""
SETTLE_S = 0.3
"""A changed file is used once it stood still for so long: it may be half written."""
WATCH_RETRY_S = 2.0
"""How often a missing folder is looked for."""
WATCH_TURN_MS = 5000
"""How often the watched folder is compared with the one that has its name."""
LINES_MAX = 10
"""Log lines about one file at once."""

log = logging.getLogger("beacond.services_dir")

Specs = tuple[InstanceSpec, ...]


class FilesDoor(Protocol):
    """What the watcher needs of the driver."""

    async def replace_file(self, name: str, specs: Iterable[InstanceSpec]) -> list[str]: ...

    async def files_gone(self, kept: Iterable[str]) -> None: ...


@dataclass(slots=True)
class _File:
    seen: bytes | None = None
    """What it looked like at the last look: see `_looks`."""
    seen_since: float = 0.0
    dealt_with: bytes | None = None
    """What it looked like when it was last read for good."""
    specs: Specs = ()
    """In force: what its last good content declares."""
    wrong: tuple[str, ...] = ()
    """Why what it holds now is not in force."""
    applied: Specs | None = None
    """What the driver has taken, without refusing any."""


class ServicesDir:
    """Of one agent.

    `address`, an IP literal of this host, completes the URL of http checks with a path; with
    `allow_exec` files may hold checks that run programs.
    """

    def __init__(
        self,
        path: Path,
        door: FilesDoor,
        *,
        address: str,
        allow_exec: bool,
        reread_s: float = REREAD_S,
    ) -> None:
        self._path = path
        self._door = door
        self._address = address
        self._allow_exec = allow_exec
        self._reread_s = reread_s
        self._looking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._files: dict[str, _File] = {}
        self._kept: set[str] | None = None
        """The files that the driver knows to be there."""
        self._told: dict[tuple[str, str], tuple[str, ...]] = {}

    async def run(self) -> None:
        """Read everything, then follow changes until cancelled."""
        await self.reload()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            while True:
                self._wake.clear()
                wait_s = await self._look(at_once=False)
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()

    async def reload(self) -> None:
        """Read everything now, without waiting for files to stand still."""
        await self._look(at_once=True)

    # ---- notifications

    async def _watch(self) -> None:
        """Wake the reader whenever something moves in the folder."""
        while True:
            lines: tuple[str, ...] = ()
            try:
                with suppress(FileNotFoundError):
                    await self._watch_folder()
                # It may have vanished before it was watched.
                self._wake.set()
            except (OSError, RuntimeError) as error:
                # A RuntimeError is what watchfiles raises where the kernel's interface fails.
                lines = (f"read only every {self._reread_s:g} s: {error}",)
            self._tell("folder not watched", "", lines)
            await asyncio.sleep(WATCH_RETRY_S)

    async def _watch_folder(self) -> None:
        """Until another folder, or none, is in its place. Raises OSError."""
        watched = await asyncio.to_thread(folder_id, self._path)
        turns = awatch(
            self._path,
            watch_filter=None,
            recursive=False,
            rust_timeout=WATCH_TURN_MS,
            yield_on_timeout=True,
        )
        async with aclosing(turns):
            # What happened before the watching began is found at its first turn.
            first = True
            async for changes in turns:
                if changes or first:
                    self._wake.set()
                first = False
                # A new folder may well get the number of the deleted one.
                of_itself = any(Path(path) == self._path for _, path in changes)
                if of_itself or await asyncio.to_thread(folder_id, self._path) != watched:
                    return

    # ---- reading

    async def _look(self, *, at_once: bool) -> float:
        """Read the folder and bring what stands still into force; returns when to look again."""
        async with self._looking:
            try:
                folder = await asyncio.to_thread(read_folder, self._path)
            except OSError as error:
                # What can't be seen is not gone.
                self._tell("folder not read", "", (error.strerror or str(error),))
                return self._reread_s
            left_out = f"{len(folder.left_out)} files beyond the {FILES_MAX} allowed are not read"
            self._tell("folder not read", "", (left_out,) if folder.left_out else ())
            moving = False
            for name in sorted({*folder.contents, *folder.faults, *self._files}):
                if name not in folder.left_out:
                    moving |= await self._look_at(name, folder, at_once=at_once)
            await self._apply()
            return SETTLE_S if moving else self._reread_s

    async def _look_at(self, name: str, folder: Folder, *, at_once: bool) -> bool:
        """Deal with a file that has changed; True where it must stand still first."""
        file = self._files.setdefault(name, _File())
        now, looks = asyncio.get_running_loop().time(), _looks(name, folder)
        if file.seen != looks:
            file.seen, file.seen_since = looks, now
        if looks is not None and looks == file.dealt_with:
            return False
        if not at_once and now - file.seen_since < SETTLE_S:
            return True
        file.dealt_with = looks
        if looks is None:
            del self._files[name]
        elif name in folder.faults:
            file.wrong = (folder.faults[name],)
        else:
            await self._read(name, file, folder.contents[name])
        return False

    async def _read(self, name: str, file: _File, data: bytes) -> None:
        try:
            file.specs = await asyncio.to_thread(
                parse_file,
                data,
                default_address=self._address,
                allow_exec=self._allow_exec,
            )
        except FileError as error:
            file.wrong = error.lines
            return
        file.wrong = ()
        log.info("service file read", extra={"file": name, "instances": len(file.specs)})

    # ---- into force

    async def _apply(self) -> None:
        """Let the driver offer what is in force; whatever it refuses is tried at every look."""
        for key in [key for key in self._told if key[1] and key[1] not in self._files]:
            del self._told[key]
        await self._drop_vanished()
        specs, twice = _first_by_name(self._files)
        todo = [name for name, file in self._files.items() if file.applied != specs[name]]
        # Twice: an id that moved from one file to another is free only after its old one's turn.
        refused: dict[str, tuple[str, ...]] = {}
        for _ in range(2):
            refused = {name: await self._replace(name, specs[name]) for name in sorted(todo)}
            todo = [name for name, lines in refused.items() if lines]
            if not todo:
                break
        for name, file in sorted(self._files.items()):
            self._tell("service file not used", name, file.wrong)
            self._tell("instance refused", name, (*twice[name], *refused.get(name, ())))

    async def _replace(self, name: str, specs: Specs) -> tuple[str, ...]:
        """Returns the driver's refusals."""
        try:
            refusals = tuple(await self._door.replace_file(name, specs))
        except RequestError as error:
            refusals = (str(error),)
        self._files[name].applied = None if refusals else specs
        return refusals

    async def _drop_vanished(self) -> None:
        kept = set(self._files)
        if kept == self._kept:
            return
        try:
            await self._door.files_gone(kept)
        except RequestError as error:
            self._tell("vanished files not dropped", "", (str(error),))
            return
        self._kept = kept
        self._tell("vanished files not dropped", "", ())

    # ---- telling

    def _tell(self, what: str, name: str, lines: tuple[str, ...]) -> None:
        """Log what is wrong, when it is new."""
        if lines == self._told.get((what, name), ()):
            return
        self._told[what, name] = lines
        path = str(self._path / (name if name.isprintable() else ascii(name)))
        for line in lines[:LINES_MAX]:
            log.error(what, extra={"path": path, "reason": line})


def _looks(name: str, folder: Folder) -> bytes | None:
    """Equal where nothing has to be done about a file; None: it is not there."""
    if name in folder.faults:
        return b"fault " + folder.faults[name].encode()
    if name in folder.contents:
        return hashlib.blake2b(folder.contents[name]).digest()
    return None


def _first_by_name(files: Mapping[str, _File]) -> tuple[dict[str, Specs], dict[str, list[str]]]:
    """What of each file counts, and a line for each instance that an earlier file has too."""
    owners: dict[str, str] = {}
    counts: dict[str, Specs] = {}
    twice: dict[str, list[str]] = {}
    for name, file in sorted(files.items()):
        for spec in file.specs:
            owners.setdefault(spec.id, name)
        counts[name] = tuple(spec for spec in file.specs if owners[spec.id] == name)
        twice[name] = [
            f"{spec.id}: {owners[spec.id]} has an instance of this id already"
            for spec in file.specs
            if owners[spec.id] != name
        ]
    return counts, twice
