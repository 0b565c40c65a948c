"""What every agent must reckon alike. The figures themselves are in proto/vectors."""

from collections import Counter
from hashlib import blake2b

import pytest

from beacond.core import hashing
from beacond.core.hashing import live_share_of, rank_in, shard_of, share_of
from beacond.core.messages import SHARDS
from beacond.core.model import Body, Mode, Record

BOOT, OTHER_BOOT = b"\x01" * 16, b"\x02" * 16
NAMES = [f"host-{number}" for number in range(2000)]


def record(**changes: object) -> Record:
    given = {"node": "a", "incarnation": 3, "boot_id": BOOT, "version": 5, "body": Body()}
    return Record(**(given | changes))


def reckoned(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def test_share_is_the_hash_of_name_boot_and_version() -> None:
    text = b"a\0" + (3).to_bytes(8, "big") + BOOT + (5).to_bytes(8, "big")
    assert share_of(record()) == reckoned(text)


def test_live_share_is_the_same_without_the_version() -> None:
    assert live_share_of("a", 3, BOOT) == reckoned(b"a\0" + (3).to_bytes(8, "big") + BOOT)


@pytest.mark.parametrize(
    "changes", [{"node": "b"}, {"incarnation": 4}, {"boot_id": OTHER_BOOT}, {"version": 6}]
)
def test_share_is_another_for_another_name_boot_or_version(changes: dict[str, object]) -> None:
    assert share_of(record(**changes)) != share_of(record())


def test_share_says_nothing_of_what_is_published_for_the_version_does() -> None:
    assert share_of(record(body=Body(mode=Mode.DRAINING))) == share_of(record())


def test_live_share_is_another_for_another_name_or_boot() -> None:
    boots = [("a", 3, BOOT), ("b", 3, BOOT), ("a", 4, BOOT), ("a", 3, OTHER_BOOT)]
    assert len({live_share_of(*boot) for boot in boots}) == len(boots)


def test_shard_is_the_first_four_bits_of_the_hash_of_the_name() -> None:
    assert [shard_of(name) for name in NAMES] == [reckoned(name.encode()) >> 60 for name in NAMES]


def test_names_spread_evenly_over_all_shards() -> None:
    sizes = Counter(shard_of(name) for name in NAMES)
    assert len(sizes) == SHARDS
    assert max(sizes.values()) < 1.5 * len(NAMES) / SHARDS


def test_rank_is_the_hash_of_shard_and_name() -> None:
    assert rank_in(10, "host-a") == reckoned(b"\x0ahost-a")


def test_each_shard_has_other_relays_whatever_shard_they_are_in() -> None:
    first = Counter(max(NAMES, key=lambda name: rank_in(shard, name)) for shard in range(SHARDS))
    assert len(first) == SHARDS


def test_who_goes_leaves_the_order_of_the_others_as_it_was() -> None:
    def order(names: list[str]) -> list[str]:
        return sorted(names, key=lambda name: rank_in(7, name))

    whole = order(NAMES)
    gone = whole[::3]
    assert order([n for n in NAMES if n not in gone]) == [n for n in whole if n not in gone]


def test_nothing_hashes_to_zero_for_that_is_nobodys_share(monkeypatch: pytest.MonkeyPatch) -> None:
    class Zero:
        def digest(self) -> bytes:
            return bytes(8)

    monkeypatch.setattr(hashing, "blake2b", lambda *_, **__: Zero())
    assert (share_of(record()), live_share_of("a", 3, BOOT), rank_in(0, "a")) == (1, 1, 1)
