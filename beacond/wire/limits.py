"""Every limit of the protocol in one place; `proto/README.md` has the same table.

Sizes are bytes, `_MS` is milliseconds. A receiver refuses what is beyond them, so a sender that
exceeds one is not heard: raising a limit takes a new protocol version.
"""

from beacond.core.messages import SHARDS as SHARDS
from beacond.core.model import INCARNATION_MAX as INCARNATION_MAX
from beacond.core.model import INSTANCES_MAX as INSTANCES_MAX

FRAME_MAX = 60 * 1024
"""One message of the bus: below the 64 KiB at which some brokers and clients change their ways."""
CHUNK_MAX = 60_000
"""What one part carries of a larger message; leaves room for the longest envelope."""
MESSAGE_MAX = 2 * 1024 * 1024
"""A message's payload, all parts put together."""
RECORD_MAX = 1024 * 1024
PARTS_MAX = 64

PARTIALS_MAX = 64
"""Messages being put together at one time."""
PARTIALS_PER_SENDER_MAX = 2
PARTIAL_BYTES_MAX = 16 * 1024 * 1024
"""Chunks kept for messages that are not complete yet."""
FINISHED_MAX = 64
"""Completed messages remembered, so that a second copy's parts don't start them again."""

COUNT_MAX = 2**53 - 1
"""Versions, seqs, counters, stamps: what every JSON and Lua reader can hold exactly."""
TTL_MIN_MS = 1_000
TTL_MAX_MS = 3 * 3_600_000
HOLD_MAX_MS = 24 * 3_600_000
BOOT_ID_SIZE = 16
DIGEST_SIZE = 8

ADDRESSES_MAX = 2
PORTS_MAX = 32
TAGS_MAX = 64
META_MAX = 64
META_KEY_MAX = 128
META_VALUE_MAX = 512
PORT_MAX = 65535
WEIGHT_MAX = 65535
AGENT_VERSION_MAX = 64

KNOWN_MAX = 16_384
SYNC_ENTRIES_MAX = 4_096
TOMBSTONES_MAX = 16_384

KEY_MIN = 16
KEY_MAX = 1024
KEYS_MAX = 16
KEYS_FILE_MAX = 64 * 1024
EXCEPTED_MAX = 256
MEMBERS_MAX = 4_096
"""Of a shard, named in one message."""
OPINION_MAX = 64
"""Instances tried in one round."""
