"""The keys file: what it may hold, and what is said where it does not."""

import base64
from pathlib import Path

import pytest

from beacond.wire import Keyring, KeyringError

ONE, TWO = b"1" * 32, b"2" * 16
ONE_TEXT, TWO_TEXT = base64.b64encode(ONE).decode(), TWO.hex()


def keys_file(folder: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def complaint(path: Path) -> str:
    with pytest.raises(KeyringError) as caught:
        Keyring.load(path)
    return str(caught.value)


def test_the_first_key_signs_and_all_are_known(tmp_path: Path) -> None:
    text = f"# keys of the fleet\n\n{ONE_TEXT}  # of May\n  {TWO_TEXT.upper()}\n"
    ring = Keyring.load(keys_file(tmp_path, text))
    assert ring.signing_key == ONE
    assert sorted(ring.by_id.values()) == [ONE, TWO]
    assert ring.key_ids[0] == ring.signing_id.hex()


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o440])
def test_a_file_may_be_read_by_its_owner_and_group(tmp_path: Path, mode: int) -> None:
    assert Keyring.load(keys_file(tmp_path, ONE_TEXT, mode)).signing_key == ONE


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601])
def test_a_file_open_to_others_is_refused_with_the_command_that_helps(
    tmp_path: Path, mode: int
) -> None:
    path = keys_file(tmp_path, ONE_TEXT, mode)
    assert complaint(path).endswith(f"run: chmod o-rwx {path}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n\nnot a key!\n", ":3: neither base64 nor hex"),
        (f"{ONE_TEXT}\nc2hvcnQ=\n", ":2: 5 bytes: a key has 16 to 1024"),
        (f"{ONE_TEXT}\n# again\n{ONE.hex()}\n", ":3: the same key again"),
        ("ab" * 1025, ":1: 1025 bytes"),
        ("", ": 0 keys: 1 to 16"),
        ("# nothing but this\n", ": 0 keys: 1 to 16"),
        ("\n".join(f"{number:032x}" for number in range(17)), ": 17 keys: 1 to 16"),
        ("#" * 70_000, ": larger than 65536 bytes"),
        (b"# fine\n\xff\xfe\n", ":2: not UTF-8 text"),
        ("schlüssel-in-worten", ":1: neither base64 nor hex"),
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = keys_file(tmp_path, text)
    assert complaint(path).startswith(f"{path}{said}")


def test_two_keys_of_one_id_are_refused_naming_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two such keys take 2**32 tries to find: the id is made shorter instead.
    monkeypatch.setattr("beacond.wire.keyring.key_id", lambda key: key[:1])
    path = keys_file(tmp_path, f"{'11' * 16}\n11{'22' * 15}\n")
    assert complaint(path).startswith(f"{path}:2: another key has the same id")


def test_what_is_no_readable_file_is_said_so(tmp_path: Path) -> None:
    assert complaint(tmp_path / "none").endswith("none: No such file or directory")
    assert complaint(tmp_path).endswith(": Is a directory")


def test_no_key_is_ever_shown(tmp_path: Path) -> None:
    ring = Keyring.load(keys_file(tmp_path, ONE_TEXT))
    assert ONE_TEXT not in repr(ring)
    assert repr(ring) == f"Keyring({ring.signing_id.hex()})"
    text = complaint(keys_file(tmp_path, f"{ONE_TEXT}\n{ONE_TEXT}\n"))
    assert ONE_TEXT not in text
    assert ONE.hex() not in text


def test_keys_given_as_bytes_keep_to_the_same_rules() -> None:
    assert Keyring([ONE, TWO]).signing_key == ONE
    for keys in ([], [b"short"], [ONE, ONE], [bytes([n]) * 16 for n in range(17)]):
        with pytest.raises(KeyringError):
            Keyring(keys)
