"""What agents say, each word to whom it concerns here."""

from beacond.core.catalog import Catalog
from beacond.core.identity import Identity
from beacond.core.messages import (
    Announce,
    AnnounceRequest,
    Envelope,
    Goodbye,
    Heartbeat,
    Message,
    Opinion,
    ShardDigest,
    ShardRequest,
    Superseded,
    SyncReply,
    SyncRequest,
)
from beacond.core.opinion import SecondOpinion
from beacond.core.relays import Relays
from beacond.core.sight import SightJudge
from beacond.core.sync import AnnounceAsker, SyncAnswerer, SyncAsker
from beacond.core.voice import Voice


class Intake:
    def __init__(
        self,
        node: str,
        *,
        catalog: Catalog,
        sight: SightJudge,
        identity: Identity,
        relays: Relays,
        voice: Voice,
        opinion: SecondOpinion,
        announces: AnnounceAsker,
        asker: SyncAsker,
        answerer: SyncAnswerer,
    ) -> None:
        self._node = node
        self._catalog = catalog
        self._sight = sight
        self._identity = identity
        self._relays = relays
        self._voice = voice
        self._opinion = opinion
        self._announces = announces
        self._asker = asker
        self._answerer = answerer

    def take(
        self, envelope: Envelope, message: Message, *, bus: str, received_at: float, now: float
    ) -> str | None:
        """Take one message that `bus` brought; why it was dropped, if it was."""
        if bus not in self._sight.buses:
            return "unknown-bus"
        if envelope.sender == self._node:
            self._of_our_name(envelope, message, bus, received_at, now)
            return None
        match message:
            case Heartbeat() | ShardDigest():
                return self._heartbeat(envelope, message, bus, received_at, now)
            case Announce():
                reason = self._catalog.announce(envelope, message.record, now)
                return self._identity.correct(envelope, reason, now)
            case Goodbye():
                return self._catalog.goodbye(envelope, message, now)
            case Superseded():
                self._identity.outdone_by(message.incarnation, message.boot_id, now)
                return None
            case SyncReply():
                return self._asker.answered(envelope.sender, message, now)
            case Opinion():
                return self._opinion.heard(envelope, message, now)
            case AnnounceRequest() | SyncRequest() | ShardRequest():
                return self._asked(envelope, message, bus, now)

    def _of_our_name(
        self, envelope: Envelope, message: Message, bus: str, received_at: float, now: float
    ) -> None:
        sent_at = self._identity.own_name(envelope, message, now)
        if sent_at is None:
            return
        sent_at = min(sent_at, now)
        self._sight.echoed(bus, sent_at)
        if isinstance(message, ShardDigest):
            self._relays.echoed(message, bus=bus, sent_at=sent_at, received_at=received_at)

    def _heartbeat(
        self,
        envelope: Envelope,
        said: Heartbeat | ShardDigest,
        bus: str,
        received_at: float,
        now: float,
    ) -> str | None:
        beat = said.beat if isinstance(said, ShardDigest) else said
        sent_at = self._catalog.heartbeat(envelope, beat, bus, received_at)
        if isinstance(sent_at, str):
            return self._identity.correct(envelope, sent_at, now)
        entry = self._catalog.entries[envelope.sender]
        if envelope.to:
            # What is for us alone says nothing of what is for all.
            self._relays.sent_to_us(entry, bus, now)
        else:
            expected = self._catalog.paths.expected(bus)
            self._sight.heard(bus, envelope.sender, sent_at, expected)
        if isinstance(said, ShardDigest) and not envelope.to:
            self._relays.told(envelope, said, bus=bus, sent_at=sent_at, received_at=received_at)
        self._announces.heard(entry, now)
        return None

    def _asked(
        self,
        envelope: Envelope,
        message: AnnounceRequest | SyncRequest | ShardRequest,
        bus: str,
        now: float,
    ) -> str | None:
        entry = self._catalog.entries.get(envelope.sender)
        if entry is not None and not entry.is_new_question(envelope.boot_id, envelope.counter):
            return "replayed"
        match message:
            case SyncRequest():
                return self._answerer.asked(envelope.sender, message, now)
            case ShardRequest():
                return self._relays.asked(message, bus, now)
            case AnnounceRequest():
                self._voice.announce_again(now)
                return None
