"""What an agent keeps on disk. Start with :mod:`beacond.store.datadir`."""

from beacond.store.datadir import DataDir
from beacond.store.durable import StoreError
from beacond.store.identity import INCARNATION_MAX, Identity, IdentityFile
from beacond.store.registrations import Registrations, RegistrationsFile
from beacond.store.snapshot import Snapshot, SnapshotFile

__all__ = [
    "INCARNATION_MAX",
    "DataDir",
    "Identity",
    "IdentityFile",
    "Registrations",
    "RegistrationsFile",
    "Snapshot",
    "SnapshotFile",
    "StoreError",
]
