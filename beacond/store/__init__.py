"""What an agent keeps on disk. Start with :mod:`beacond.store.datadir`."""

from beacond.store.datadir import DataDir
from beacond.store.durable import StoreError
from beacond.store.identity import Identity, IdentityFile
from beacond.store.registrations import Registrations, RegistrationsFile
from beacond.store.snapshot import Snapshot, SnapshotFile

__all__ = [
    "DataDir",
    "Identity",
    "IdentityFile",
    "Registrations",
    "RegistrationsFile",
    "Snapshot",
    "SnapshotFile",
    "StoreError",
]
