"""Who speaks under our name, and who under an old incarnation of theirs.

An incarnation that went back (a lost disk, an early clock) is mended by raising it above what the
others hold, once a boot. Two agents with one name would go on raising: the second time, the one
with less says so and is quiet.
"""

import random

from beacond.core.catalog import Catalog
from beacond.core.effects import Publish, SaveIncarnation
from beacond.core.events import Kind
from beacond.core.messages import (
    Envelope,
    Goodbye,
    Heartbeat,
    Message,
    ShardDigest,
    Superseded,
)
from beacond.core.model import INCARNATION_MAX
from beacond.core.outbox import Outbox
from beacond.core.settings import Settings
from beacond.core.tables import Tables
from beacond.core.voice import Voice

INDEX_PER_INCARNATION = 2**20
"""Changes between two starts that keep the index growing; one incarnation is about a second."""
BOOT_ID_MAX = b"\xff" * 16
NOTICES_WANTED = 3
"""How many of all agents should tell a node that it speaks under an old incarnation."""


class Identity:
    def __init__(
        self,
        settings: Settings,
        *,
        out: Outbox,
        voice: Voice,
        catalog: Catalog,
        tables: Tables,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._out = out
        self._voice = voice
        self._catalog = catalog
        self._tables = tables
        self._rng = rng
        self._raised = False
        self._former = settings.former

    def own_name(self, envelope: Envelope, message: Message, now: float) -> float | None:
        """Take a message under our name; when it was sent, if it is our own heartbeat."""
        if isinstance(message, ShardDigest):
            message = message.beat
        if envelope.boot_id != self._out.boot_id:
            self.outdone_by(envelope.incarnation, envelope.boot_id, now)
        elif self._is_forked(envelope, message):
            self.outdone_by(envelope.incarnation, BOOT_ID_MAX, now)
        elif isinstance(message, Heartbeat):
            return self._voice.sent_at(message)
        return None

    def outdone_by(self, incarnation: int, boot_id: bytes, now: float) -> None:
        """Somebody holds, or is, a later boot of our name."""
        if (incarnation, boot_id) <= (self._out.incarnation, self._out.boot_id):
            return
        if self._out.muzzled or self._voice.silenced:
            return
        if self._raised or incarnation >= INCARNATION_MAX:
            self._out.muzzled = True
            agent = self._tables.view.agents.get(self._settings.node)
            self._out.emit(now, Kind.AGENT_CONFLICT, "superseded", agent=agent)
            return
        self._raised = True
        raised = incarnation + 1
        self._out.incarnation = raised
        self._voice.raise_incarnation(raised, now)
        self._tables.raise_index(raised * INDEX_PER_INCARNATION)
        self._catalog.put_own(self._voice.record, self._settings.ttl_s, now)
        self._out.add(SaveIncarnation(raised))

    def correct(self, envelope: Envelope, reason: str | None, now: float) -> str | None:
        """Tell a node that its incarnation is old; a few of all who hear it do.

        However many of its messages come, and over however many buses, one is judged an interval.
        """
        if reason not in ("old-incarnation", "after-goodbye"):
            return reason
        entry = self._catalog.entries[envelope.sender]
        if now < entry.corrected_at + self._settings.interval_s:
            return reason
        entry.corrected_at = now
        said_goodbye = envelope.incarnation <= entry.left_incarnation
        if self._rng.random() < NOTICES_WANTED / max(len(self._catalog.alive), 1):
            # A goodbye yields to a greater incarnation only, whatever the boot id.
            boot_id = BOOT_ID_MAX if said_goodbye else entry.boot_id
            incarnation = entry.left_incarnation if said_goodbye else entry.incarnation
            self._out.send(envelope.sender, Superseded(incarnation, boot_id))
        return reason

    def say_goodbye_for_former(self) -> None:
        """This agent ran under another name before: nobody else can end that node."""
        if self._former is not None:
            node, incarnation = self._former
            envelope = Envelope(node, incarnation, BOOT_ID_MAX, 1)
            for _ in range(2):
                self._out.add(Publish(envelope, Goodbye(seq=1, hold_ms=0)))
            self._former = None

    def _is_forked(self, envelope: Envelope, message: Message) -> bool:
        """Whether a copy of this very process speaks, as after cloning a machine that runs."""
        if envelope.incarnation != self._out.incarnation:
            return envelope.incarnation > self._out.incarnation
        return isinstance(message, Heartbeat) and message.seq > self._voice.seq
