"""The fleet's shared keys: the first signs, all verify, so that keys can be changed while running.

A key proves that a message comes from someone who has the key, and is whole. It does not prove
which host spoke, and hides nothing. See `docs/security.md`.
"""

import base64
import binascii
import hmac
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from beacond.wire.limits import KEY_MAX, KEY_MIN, KEYS_FILE_MAX, KEYS_MAX

_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_MAKE_ONE = "make one with: head -c 32 /dev/urandom | base64"


class KeyringError(Exception):
    """A keys file that can't be used. Names file and line, never shows a key."""


class Keyring:
    """Keys by their id, in the order of their file."""

    __slots__ = ("_began", "by_id", "signing_id", "signing_key")

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises KeyringError for no key, too many, one too short or long, two of one id."""
        if not 1 <= len(keys) <= KEYS_MAX:
            raise KeyringError(f"{len(keys)} keys: 1 to {KEYS_MAX} are possible; {_MAKE_ONE}")
        self.by_id: dict[bytes, bytes] = {}
        for position, key in enumerate(keys, 1):
            complaint = _complaint(key, self.by_id)
            if complaint:
                raise KeyringError(f"key {position}: {complaint}")
            self.by_id[key_id(key)] = key
        self.signing_key = keys[0]
        self.signing_id = key_id(keys[0])
        # A copy of what the key alone gives takes a third less than beginning anew each time.
        self._began = {name: hmac.new(key, digestmod="sha256") for name, key in self.by_id.items()}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Keyring":
        """Read a keys file: a key a line in base64 or hex, `#` begins a comment.

        Raises KeyringError, naming the file and the line, also where others may read the file.
        """
        return cls.parse(_read(Path(path)), source=str(path))

    @classmethod
    def parse(cls, text: str, *, source: str) -> "Keyring":
        """The same from text; `source` is what errors call it."""
        keys: list[bytes] = []
        seen: dict[bytes, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            written = line.partition("#")[0].strip()
            if not written:
                continue
            key = _decode(written)
            complaint = "neither base64 nor hex" if key is None else _complaint(key, seen)
            if key is None or complaint:
                raise KeyringError(f"{source}:{number}: {complaint}")
            seen[key_id(key)] = key
            keys.append(key)
        if not 1 <= len(keys) <= KEYS_MAX:
            raise KeyringError(
                f"{source}: {len(keys)} keys: 1 to {KEYS_MAX} are possible; {_MAKE_ONE}"
            )
        return cls(keys)

    def digest(self, name: bytes, text: bytes) -> bytes | None:
        """HMAC-SHA256 with the key of that id; None: there is none."""
        began = self._began.get(name)
        if began is None:
            return None
        mac = began.copy()
        mac.update(text)
        return mac.digest()

    @property
    def key_ids(self) -> tuple[str, ...]:
        """In hex, the signing key's first: fit for a log."""
        return tuple(each.hex() for each in self.by_id)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.key_ids)})"


def key_id(key: bytes) -> bytes:
    """4 bytes that name a key and tell nothing of it."""
    return hmac.digest(key, b"beacond key id", "sha256")[:4]


def _complaint(key: bytes, before: dict[bytes, bytes]) -> str:
    if not KEY_MIN <= len(key) <= KEY_MAX:
        return f"{len(key)} bytes: a key has {KEY_MIN} to {KEY_MAX}; {_MAKE_ONE}"
    same = before.get(key_id(key))
    if same == key:
        return "the same key again"
    if same is not None:
        return "another key has the same id by chance; use a new key"
    return ""


def _decode(written: str) -> bytes | None:
    # Digits that are hex throughout are also base64, of another key: hex is meant.
    if _HEX.fullmatch(written):
        return bytes.fromhex(written)
    try:
        return base64.b64decode(written, validate=True)
    except (binascii.Error, ValueError):
        return None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            # Of the open file, so that it can't be exchanged between the two looks.
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(KEYS_FILE_MAX + 1)
    except OSError as error:
        raise KeyringError(f"{path}: {error.strerror}") from error
    if mode & stat.S_IRWXO:
        raise KeyringError(f"{path}: others on this host may read it; run: chmod o-rwx {path}")
    if len(data) > KEYS_FILE_MAX:
        raise KeyringError(f"{path}: larger than {KEYS_FILE_MAX} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise KeyringError(f"{path}:{line}: not UTF-8 text") from error
