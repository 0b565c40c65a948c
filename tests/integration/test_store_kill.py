"""An agent killed in the middle of writing: what it finds at its next start is whole."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from beacond.store import DataDir, SnapshotFile

WRITER = """
import sys
from pathlib import Path
from beacond.core.local import Registration
from beacond.core.model import InstanceSpec
from beacond.store import DataDir, Registrations, Snapshot

data_dir = DataDir.open(Path(sys.argv[1]))
data_dir.identity.next_incarnation(1, node="n", fleet="f")
count = 0
while True:
    count += 1
    own = Registration(InstanceSpec(f"i-{count}", "web", 80, tags=("x" * 200,) * count), "http")
    data_dir.registrations.save(Registrations((own,)))
    data_dir.snapshot.save(Snapshot((bytes(1000),) * count, (), count, {}, 0.0))
    data_dir.identity.raise_to(count)
    print(count, flush=True)
"""


def write_until_killed(path: Path, rounds: int) -> int:
    """The last round that the writer said was done."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(rounds):
            writer.stdout.readline()
        writer.kill()
        said = [int(line) for line in writer.stdout.read().splitlines() if line]
    return max(said, default=rounds)


def test_after_a_kill_every_file_loads_and_nothing_confirmed_is_lost(tmp_path: Path) -> None:
    incarnation = 0
    for rounds in (1, 4, 9, 16):
        done = write_until_killed(tmp_path, rounds)
        with closing(DataDir.open(tmp_path)) as data_dir:
            [own] = data_dir.registrations.load().instances
            loaded = SnapshotFile(tmp_path / "snapshot").load()
            assert loaded is not None
            number = int(own.spec.id.removeprefix("i-"))
            assert number in (done, done + 1)
            assert len(own.spec.tags) == number
            assert len(loaded.records) == loaded.index
            assert loaded.index in (done, done + 1)
            identity = data_dir.identity.next_incarnation(1, node="n", fleet="f")
            assert identity.incarnation > max(incarnation, done)
            incarnation = identity.incarnation
    assert not list(tmp_path.glob("*.damaged-*"))
