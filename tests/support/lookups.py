"""Lookups without pause, to every agent that runs, over HTTP and DNS; each answer is judged.

    truth = Truth()                                       # tests/support/truth.py
    async with asking(truth, agents, services, window_s=9.0) as asked:
        truth.stopped_node("a")                           # note first, then do
        asked.part("a")                                   # killed or frozen on purpose
        ...
        asked.join(agent)                                 # back, or new
    asked.verdict()      # was called at the end of the block: counts, or AssertionError

The promise that is tested: during a fault no lookup fails, and each answer equals the truth at some
moment within the detection window. A lookup fails by a timeout, a refused connection, any status
but 200, any rcode but NOERROR and NXDOMAIN; NXDOMAIN is an empty answer, and wrong as such where
something ran. What is under way at an agent when it parts does not count; all else does.

An answer is judged against the window before it (see `Truth.wrong`), and time in which its agent
could not hear does not count as part of the window: neither what the agent itself says (it is stale
since then: over DNS by a TTL of 30, of which the last HTTP answer tells the beginning), nor the
time between `part` and `join`. When it hears again it may take the whole window once more, since it
gives everyone a new lease then.

All of it runs in the test's own event loop: a test that blocks the loop stops the asking.
"""

import asyncio
import json
import random
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import dns.exception
import dns.message
from dns.flags import TC
from dns.rcode import NOERROR, NXDOMAIN
from dns.rcode import to_text as rcode_text
from dns.rdatatype import SRV, A

from tests.support.truth import Key, Place, Truth

DOMAIN = "beacon.internal"
ASK_S = 5.0
"""As long as a resolver waits by default."""
PER_S = 40.0
"""Questions a second to each agent over each of HTTP and DNS, as far as one after another goes."""
STALE_TTL = 30
TOLD_MAX = 12
TEXT_MAX = 1500


class Agent(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def dns(self) -> Place: ...


class NoAnswer(Exception):
    """Asked, and not answered as a client needs it."""


@dataclass(frozen=True, slots=True)
class Answer:
    found: tuple[tuple[Key, Place], ...]
    stale_s: float | None
    """For how many seconds at most it is stale; None: it is not. DNS does not tell: 0."""
    text: str


class Hearing:
    """When an agent could not hear: by its own word, and by what the test did to it."""

    def __init__(self) -> None:
        self._deaf: list[tuple[float, float]] = []
        self._since: float | None = None

    def stale(self, since: float) -> None:
        """It says that it has been stale since then."""
        self._since = since if self._since is None else self._since

    def fresh(self, now: float) -> None:
        if self._since is not None:
            self.lost(self._since, now)
            self._since = None

    def lost(self, since: float, until: float) -> None:
        self._deaf.append((since, until))

    def earliest(self, at: float, window_s: float) -> float:
        """Where the window of an answer asked for at this moment begins."""
        now_deaf = [] if self._since is None else [(self._since, at)]
        left, renewed = window_s, False
        for since, until in sorted([*self._deaf, *now_deaf], key=lambda span: -span[1]):
            heard_s = max(at - until, 0.0)
            if since >= at:
                continue
            if heard_s >= left:
                break
            left, renewed = (left - heard_s if renewed else window_s), True
            at = since
        return at - left


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts by (agent, "HTTP" or "DNS")."""

    answered: Counter[tuple[str, str]]
    stale: Counter[tuple[str, str]]
    """Of these, said to be stale."""
    failed: Counter[tuple[str, str]]
    wrong: Counter[tuple[str, str]]
    slowest_s: float

    def __str__(self) -> str:
        told = {"stale": self.stale, "failed": self.failed, "wrong": self.wrong}
        counts = ", ".join(f"{counter.total()} {what}" for what, counter in told.items())
        return f"{self.answered.total()} answered ({counts}), the slowest in {self.slowest_s:.2f} s"


@dataclass(slots=True)
class _Asked:
    agent: Agent
    hearing: Hearing
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    parted_at: float | None = None


class Asked:
    """Made by `asking`. `counts` may be looked at any time."""

    def __init__(
        self,
        truth: Truth,
        session: aiohttp.ClientSession,
        services: Sequence[str] | None,
        *,
        window_s: float,
        per_s: float,
    ) -> None:
        self._truth = truth
        self._session = session
        self._services = services
        self._window_s = window_s
        self._pause_s = 1 / per_s
        self._members: dict[str, _Asked] = {}
        self._ended: list[asyncio.Task[None]] = []
        self._began_at = truth.clock()
        self._told: list[str] = []
        self._expected: set[tuple[str, str]] = set()
        self._slowest_s = 0.0
        self._answered: Counter[tuple[str, str]] = Counter()
        self._stale: Counter[tuple[str, str]] = Counter()
        self._failed: Counter[tuple[str, str]] = Counter()
        self._wrong: Counter[tuple[str, str]] = Counter()

    # ---- who is asked
    def join(self, agent: Agent) -> None:
        """Ask this one from now on; it answers already. Where it was asked before and parted, the
        time between is one in which it could not hear."""
        member = self._members.get(agent.name)
        if member is not None and member.parted_at is None:
            raise ValueError(f"{agent.name} is asked already")
        hearing = Hearing() if member is None else member.hearing
        if member is not None and member.parted_at is not None:
            hearing.fresh(member.parted_at)
            hearing.lost(member.parted_at, self._truth.clock())
        joined = self._members[agent.name] = _Asked(agent, hearing)
        for ways in (_Http(agent, self._session), _Dns(agent)):
            self._expected.add((agent.name, ways.name))
            joined.tasks.append(asyncio.create_task(self._ask(joined, ways)))

    def part(self, name: str) -> None:
        """Stop asking this one; to be called before it is killed, frozen or stopped."""
        member = self._members[name]
        if member.parted_at is None:
            member.parted_at = self._truth.clock()
            for task in member.tasks:
                task.cancel()
            self._ended += member.tasks

    async def underway(self) -> None:
        """Wait until each has answered in both ways, before you part with one of them."""
        async with asyncio.timeout(4 * ASK_S):
            while any(not self._answered[who] for who in self._expected):
                await asyncio.sleep(self._pause_s)

    async def close(self) -> None:
        for name in self._members:
            self.part(name)
        results = await asyncio.gather(*self._ended, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    # ---- what came of it
    @property
    def counts(self) -> Verdict:
        counters = (self._answered, self._stale, self._failed, self._wrong)
        return Verdict(*map(Counter, counters), self._slowest_s)

    def verdict(self) -> Verdict:
        """Raises AssertionError unless every agent was asked in both ways, nothing failed and
        nothing was wrong."""
        counts = self.counts
        told = list(self._told)
        for agent, way in sorted(self._expected):
            if not counts.answered[agent, way]:
                told.append(f"{agent} never answered over {way}")
        assert self._expected, "nobody was asked"
        assert not told, "\n".join([str(counts), *told])
        return counts

    def _tell(self, counter: Counter[tuple[str, str]], who: tuple[str, str], what: str) -> None:
        counter[who] += 1
        if len(self._told) < TOLD_MAX:
            after_s = self._truth.clock() - self._began_at
            self._told.append(f"after {after_s:.2f} s, {who[0]} over {who[1]}: {what}")

    # ---- asking
    async def _ask(self, member: _Asked, way: "_Http | _Dns") -> None:
        who = (member.agent.name, way.name)
        number = 0
        try:
            while True:
                services = self._services or self._truth.services()
                if services:
                    service = services[number % len(services)]
                    number += 1
                    await self._ask_once(member, way, who, service)
                await asyncio.sleep(self._pause_s)
        finally:
            way.close()

    async def _ask_once(
        self, member: _Asked, way: "_Http | _Dns", who: tuple[str, str], service: str
    ) -> None:
        asked_at = self._truth.clock()
        try:
            answer = await way.ask(service)
        except NoAnswer as error:
            self._tell(self._failed, who, f"{service}: {error}")
            return
        now = self._truth.clock()
        self._slowest_s = max(self._slowest_s, now - asked_at)
        self._answered[who] += 1
        if answer.stale_s is not None:
            self._stale[who] += 1
        if way.name == "HTTP":
            if answer.stale_s is None:
                member.hearing.fresh(now)
            else:
                member.hearing.stale(asked_at - answer.stale_s)
        begin = member.hearing.earliest(asked_at, self._window_s)
        if complaints := judge(self._truth, service, answer, begin, now):
            window = f"judged by [{begin:.2f}, {now:.2f}]"
            self._tell(
                self._wrong, who, f"{'; '.join(complaints)}; {window}; {answer.text[:TEXT_MAX]}"
            )


def judge(truth: Truth, service: str, answer: Answer, begin: float, end: float) -> list[str]:
    """What is wrong with it, if it should be the truth of some moment of [begin, end]."""
    keys, complaints = [], []
    for key, place in answer.found:
        there = truth.at(place)
        if key.node == "?":
            key = there or key
        elif there not in (key, None) or truth.place(key) not in (place, None):
            complaints.append(f"{key} is said to be at {place}")
        keys.append(key)
    if len(set(keys)) < len(keys):
        complaints.append("tells the same twice")
    return truth.wrong(service, keys, begin, end) + complaints


@asynccontextmanager
async def asking(
    truth: Truth,
    agents: Iterable[Agent],
    services: Sequence[str] | None = None,
    *,
    window_s: float,
    per_s: float = PER_S,
) -> AsyncIterator[Asked]:
    """Ask all along the block, and give the verdict at its end. `services`: None means whatever
    `truth` has heard of by then. `window_s`: seconds within which a change is to be known."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        asked = Asked(truth, session, services, window_s=window_s, per_s=per_s)
        try:
            for agent in agents:
                asked.join(agent)
            yield asked
        except BaseException as error:
            await asked.close()
            error.add_note("\n".join(["lookups so far:", str(asked.counts), *asked._told]))
            raise
        await asked.close()
    asked.verdict()


# ---- the two ways of asking


class _Http:
    name = "HTTP"

    def __init__(self, agent: Agent, session: aiohttp.ClientSession) -> None:
        self._url = agent.url
        self._session = session

    async def ask(self, service: str) -> Answer:
        url = f"{self._url}/v1/services/{service}"
        try:
            async with asyncio.timeout(ASK_S), self._session.get(url) as response:
                text = await response.text()
                if response.status != 200:
                    raise NoAnswer(f"status {response.status}: {text}")
                return http_answer(response.headers.get("X-Beacond-Stale"), text)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NoAnswer(f"{type(error).__name__} {error}".strip()) from None

    def close(self) -> None:
        pass


def http_answer(stale: str | None, text: str) -> Answer:
    """Raises NoAnswer where head and body disagree."""
    body: dict[str, Any] = _json(text)
    if (stale is None) != (body["stale_since"] is None):
        raise NoAnswer(f"X-Beacond-Stale {stale}, but stale_since {body['stale_since']}")
    found = tuple(
        (Key(each["node"], each["id"]), (each["address"], each["port"]))
        for each in body["instances"]
    )
    # The header has whole seconds, cut.
    return Answer(found, None if stale is None else int(stale) + 1.0, text.strip())


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise NoAnswer(f"not JSON: {text}") from None


class _Dns(asyncio.DatagramProtocol):
    """Real packets from one socket; who is not there is told by the kernel."""

    name = "DNS"

    def __init__(self, agent: Agent) -> None:
        self._place = agent.dns
        self._transport: asyncio.DatagramTransport | None = None
        self._number = random.randrange(0x10000)
        self._reply: asyncio.Future[bytes] | None = None

    async def ask(self, service: str) -> Answer:
        loop = asyncio.get_running_loop()
        if self._transport is None:
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: self, remote_addr=self._place
            )
        self._number = (self._number + 1) % 0x10000
        query = dns.message.make_query(f"{service}.service.{DOMAIN}", SRV, use_edns=True)
        query.id = self._number
        self._reply = loop.create_future()
        self._transport.sendto(query.to_wire())
        try:
            async with asyncio.timeout(ASK_S):
                packet = await self._reply
            return dns_answer(query, packet)
        except (OSError, TimeoutError) as error:
            raise NoAnswer(f"{type(error).__name__} {error}".strip()) from None

    def datagram_received(self, data: bytes, _address: object) -> None:
        waits = self._reply is not None and not self._reply.done()
        if waits and data[:2] == struct.pack("!H", self._number):
            self._reply.set_result(data)

    def error_received(self, error: Exception) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def dns_answer(query: dns.message.Message, packet: bytes) -> Answer:
    """Raises NoAnswer. SRV bears no names of ours: keys are unknown, and told by the places."""
    try:
        reply = dns.message.from_wire(packet)
    except dns.exception.DNSException as error:
        raise NoAnswer(f"{type(error).__name__} {error}: {packet.hex()}") from None
    if not query.is_response(reply) or reply.flags & TC:
        raise NoAnswer(f"no whole answer to this: {reply}")
    if reply.rcode() not in (NOERROR, NXDOMAIN):
        raise NoAnswer(rcode_text(reply.rcode()))
    addresses = {rrset.name: rrset[0].address for rrset in reply.additional if rrset.rdtype == A}
    found, ttls = [], []
    for rrset in reply.answer:
        ttls.append(rrset.ttl)
        for record in rrset:
            place = (addresses.get(record.target, "no address given"), record.port)
            found.append((Key("?", f"{place[0]}:{place[1]}"), place))
    stale = bool(ttls) and all(ttl == STALE_TTL for ttl in ttls)
    text = f"{rcode_text(reply.rcode())} {sorted(place for _, place in found)} TTL {ttls}"
    return Answer(tuple(found), 0.0 if stale else None, text)
