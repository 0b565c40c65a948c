"""The checker of the fault tests: it has to see each kind of wrong answer, and no other."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.message
import dns.rcode
import dns.rrset
import pytest
from aiohttp import web

from tests.support import lookups
from tests.support.lookups import Asked, Hearing, NoAnswer, asking, dns_answer, http_answer, judge
from tests.support.truth import Key, Truth

A, B = Key("a", "web-1"), Key("b", "web-2")
PLACES = {A: ("127.0.0.2", 1), B: ("127.0.0.3", 2)}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def truth(clock: Clock) -> Truth:
    """A and B run since 100; it is 200."""
    truth = Truth(clock)
    for key, place in PLACES.items():
        truth.started("web", key.node, key.id, place=place)
    clock.now = 200.0
    return truth


# ---- the truth


def test_what_runs_must_be_there_and_nothing_else(truth):
    assert truth.wrong("web", [A, B], 150, 200) == []
    assert truth.wrong("web", [A], 150, 200) == ["lacks web-2@b: runs since 100.00"]
    assert truth.wrong("web", [], 150, 200) != []
    other = [A, B, Key("c", "web-3")]
    assert truth.wrong("web", other, 150, 200) == ["has web-3@c, which never was web"]
    assert truth.wrong("db", [A], 150, 200) == ["has web-1@a, which never was db"]
    assert truth.wrong("db", [], 150, 200) == []


def test_what_came_within_the_window_may_be_lacking_and_not_after(truth, clock):
    clock.now = 203.0
    truth.started("web", "c", "web-3")
    both, all_three = [A, B], [A, B, Key("c", "web-3")]
    assert truth.wrong("web", both, 198, 208) == []
    assert truth.wrong("web", all_three, 198, 208) == []
    assert truth.wrong("web", both, 203.1, 208) == ["lacks web-3@c: runs since 203.00"]
    assert truth.wrong("web", all_three, 198, 202.9) != []


def test_what_went_within_the_window_may_be_told_and_not_after(truth, clock):
    clock.now = 203.0
    truth.stopped("web", "b", "web-2")
    assert truth.wrong("web", [A, B], 198, 208) == []
    assert truth.wrong("web", [A], 198, 208) == []
    (complaint,) = truth.wrong("web", [A, B], 203.1, 208)
    assert complaint == "has web-2@b: runs since 100.00, does not run since 203.00"
    assert truth.wrong("web", [A], 198, 202.9) != []


def test_a_node_takes_what_ran_on_it_along_and_brings_it_back(truth, clock):
    truth.started("web", "b", "web-3", place=("127.0.0.3", 3))
    truth.stopped("web", "b", "web-3")
    truth.stopped_node("b")
    clock.now = 210.0
    assert truth.running("web") == {A: PLACES[A]}
    assert truth.wrong("web", [A, B], 205, 210) != []
    truth.started_node("b")
    truth.started_node("a")
    clock.now = 220.0
    assert set(truth.running("web")) == {A, B}
    assert truth.wrong("web", [A], 215, 220) != []


def test_while_it_is_uncertain_both_are_right_and_a_window_longer(truth, clock):
    with truth.uncertain("b"):
        clock.now = 210.0
        truth.started("web", "b", "web-3")
        with truth.uncertain("b"):
            clock.now = 220.0
        assert truth.wrong("web", [A], 210, 220) == []
        assert truth.wrong("web", [A, B, Key("b", "web-3")], 210, 220) == []
        assert truth.wrong("web", [B], 210, 220) == ["lacks web-1@a: runs since 100.00"]
    clock.now = 230.0
    assert truth.wrong("web", [A], 219, 230) == []
    assert len(truth.wrong("web", [A], 221, 230)) == 2


def test_what_stops_while_it_is_uncertain_does_not_come_back_by_that(truth):
    with truth.uncertain("b"):
        truth.stopped("web", "b", "web-2")
    assert truth.running("web") == {A: PLACES[A]}
    with truth.uncertain("a"):
        truth.stopped_node("a")
    assert truth.running("web") == {}


def test_what_nobody_could_know_is_judged_once_they_can(truth, clock):
    truth.started("web", "a", "web-3")
    truth.stopped("web", "b", "web-2")
    truth.unknowable(Key("a", "web-3"), B)
    clock.now = 300.0
    assert truth.wrong("web", [A, B], 290, 300) == []
    assert truth.wrong("web", [A, Key("a", "web-3")], 290, 300) == []
    truth.knowable()
    clock.now = 320.0
    assert truth.wrong("web", [A, Key("a", "web-3")], 310, 320) == []
    assert len(truth.wrong("web", [A, B], 310, 320)) == 2


def test_a_timeline_that_contradicts_itself_is_refused(truth, clock):
    with pytest.raises(ValueError, match="is taken"):
        truth.started("web", "c", "web-9", place=PLACES[A])
    with pytest.raises(ValueError, match="was web"):
        truth.started("db", "a", "web-1", place=PLACES[A])
    with pytest.raises(ValueError, match="is no db"):
        truth.stopped("db", "a", "web-1")
    clock.now = 50.0
    with pytest.raises(ValueError, match="order of time"):
        truth.stopped("web", "a", "web-1")


# ---- time in which an agent could not hear


def test_the_window_of_an_agent_that_hears_is_the_window():
    assert Hearing().earliest(100, 10) == 90


def test_a_stale_answer_is_judged_by_the_window_before_it_became_stale():
    hearing = Hearing()
    hearing.stale(70)
    hearing.stale(71)
    assert hearing.earliest(100, 10) == 60
    assert hearing.earliest(60, 10) == 50


def test_after_its_return_an_agent_has_one_window_and_not_more():
    hearing = Hearing()
    hearing.stale(70)
    hearing.fresh(100)
    assert hearing.earliest(109.9, 10) == 60
    assert hearing.earliest(110.1, 10) == pytest.approx(100.1)


def test_going_deaf_again_and_again_does_not_renew_the_window():
    hearing = Hearing()
    for since in range(0, 100, 4):
        hearing.lost(since, since + 1)
    # Three of four seconds are heard: the last 10 of these, and one renewal.
    assert 100 - 2 * 10 * 4 / 3 < hearing.earliest(100, 10) < 100 - 10


# ---- what is said


def web_answer(*keys: Key, stale_since: str | None = None) -> str:
    found = [
        {"node": k.node, "id": k.id, "address": PLACES[k][0], "port": PLACES[k][1]} for k in keys
    ]
    return json.dumps({"stale_since": stale_since, "instances": found})


def test_an_http_answer_tells_how_stale_it_is_and_where_each_is(truth):
    answer = http_answer(None, web_answer(A, B))
    assert (answer.found, answer.stale_s) == (tuple(PLACES.items()), None)
    assert judge(truth, "web", answer, 150, 200) == []
    # Cut to whole seconds: at most one more.
    assert http_answer("7", web_answer(stale_since="2026-01-01T00:00:00Z")).stale_s == 8.0
    for head, since in (("7", None), (None, "2026-01-01T00:00:00Z")):
        with pytest.raises(NoAnswer, match="stale_since"):
            http_answer(head, web_answer(stale_since=since))
    with pytest.raises(NoAnswer, match="not JSON"):
        http_answer(None, "<html>")


def test_an_instance_at_another_place_than_its_own_is_wrong(truth):
    text = web_answer(A, B).replace("127.0.0.2", "127.0.0.9")
    (complaint,) = judge(truth, "web", http_answer(None, text), 150, 200)
    assert complaint == "web-1@a is said to be at ('127.0.0.9', 1)"


def test_an_instance_whose_place_nobody_noted_is_judged_without_it(truth):
    truth.started("db", "c", "db-1")
    text = json.dumps(
        {
            "stale_since": None,
            "instances": [{"node": "c", "id": "db-1", "address": "::1", "port": 9}],
        }
    )
    assert judge(truth, "db", http_answer(None, text), 200, 200) == []


def test_an_instance_told_twice_is_wrong(truth):
    answer = http_answer(None, web_answer(A, B, B))
    assert judge(truth, "web", answer, 150, 200) == ["tells the same twice"]


def srv_reply(
    query: dns.message.Message, *keys: Key, ttl: int = 0, rcode: int = 0
) -> dns.message.Message:
    reply = dns.message.make_response(query)
    reply.set_rcode(rcode)
    for key in keys:
        address, port = PLACES[key]
        target = f"{key.node}.test."
        name = query.question[0].name
        rrset = reply.find_rrset(reply.answer, name, 1, 33, create=True)
        rrset.update(dns.rrset.from_text(name, ttl, "IN", "SRV", f"1 1 {port} {target}"))
        reply.additional.append(dns.rrset.from_text(target, ttl, "IN", "A", address))
    return reply


QUERY = dns.message.make_query("web.service.beacon.internal", "SRV")


def test_a_dns_answer_is_told_apart_by_where_each_is(truth):
    answer = dns_answer(QUERY, srv_reply(QUERY, A, B).to_wire())
    assert answer.stale_s is None
    assert judge(truth, "web", answer, 150, 200) == []
    answer = dns_answer(QUERY, srv_reply(QUERY, A, ttl=30).to_wire())
    assert answer.stale_s is not None
    assert judge(truth, "web", answer, 150, 200) == ["lacks web-2@b: runs since 100.00"]


def test_nxdomain_is_an_empty_answer_and_wrong_while_something_runs(truth):
    answer = dns_answer(QUERY, srv_reply(QUERY, rcode=dns.rcode.NXDOMAIN).to_wire())
    assert answer.text.startswith("NXDOMAIN")
    assert len(judge(truth, "web", answer, 150, 200)) == 2
    assert judge(truth, "nowhere", answer, 150, 200) == []


def test_a_place_where_nothing_ever_ran_and_a_target_without_address_are_wrong(truth):
    reply = srv_reply(QUERY, A, B)
    reply.additional.pop()
    answer = dns_answer(QUERY, reply.to_wire())
    told = judge(truth, "web", answer, 150, 200)
    assert told[0] == "has no address given:2@?, which never was web"
    assert told[1].startswith("lacks web-2@b")


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_dns_errors_are_no_answers(rcode):
    with pytest.raises(NoAnswer, match=dns.rcode.to_text(rcode)):
        dns_answer(QUERY, srv_reply(QUERY, rcode=rcode).to_wire())


def test_packets_that_are_no_whole_answers_are_none():
    cut = srv_reply(QUERY)
    cut.flags |= dns.flags.TC
    for packet in (cut.to_wire(), QUERY.to_wire(), b"\0" * 7):
        with pytest.raises(NoAnswer):
            dns_answer(QUERY, packet)


# ---- all of it, against an agent that says what it is told to say


class Puppet(asyncio.DatagramProtocol):
    name = "p"

    def __init__(self) -> None:
        self.told: list[Key] = [A, B]
        self.status, self.rcode, self.stale_s = 200, 0, None
        self.mute = False
        self.over = asyncio.Event()
        self.url, self.dns = "", ("", 0)
        self._transport: asyncio.DatagramTransport

    async def http(self, _: web.Request) -> web.Response:
        if self.mute:
            await self.over.wait()
        since = None if self.stale_s is None else "2026-01-01T00:00:00Z"
        heads = {} if self.stale_s is None else {"X-Beacond-Stale": str(self.stale_s)}
        text = web_answer(*self.told, stale_since=since)
        return web.Response(text=text, status=self.status, headers=heads)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        if not self.mute:
            ttl = 0 if self.stale_s is None else 30
            query = dns.message.from_wire(data)
            reply = srv_reply(query, *self.told, ttl=ttl, rcode=self.rcode)
            self._transport.sendto(reply.to_wire(), address)


@asynccontextmanager
async def puppet() -> AsyncIterator[Puppet]:
    told = Puppet()
    app = web.Application()
    app.router.add_get("/v1/services/web", told.http)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: told, local_addr=("127.0.0.1", 0)
    )
    told.dns = transport.get_extra_info("sockname")
    try:
        yield told
    finally:
        told.over.set()
        transport.close()
        await runner.cleanup()


@asynccontextmanager
async def quick(truth: Truth, *agents: Puppet) -> AsyncIterator[Asked]:
    async with asking(truth, agents, ["web"], window_s=10, per_s=500) as asked:
        yield asked


@asynccontextmanager
async def failing(truth: Truth, agent: Puppet, *words: str) -> AsyncIterator[Asked]:
    """The same where the verdict has to be against it, in these words."""
    verdict = ""
    try:
        async with quick(truth, agent) as asked:
            yield asked
    except AssertionError as error:
        verdict = str(error)
    assert verdict, "nothing was found wrong"
    for each in words:
        assert each in verdict


async def told(asked: Asked, counter: str, number: int = 3) -> None:
    """Wait until both ways have so many more of these."""
    before = {way: getattr(asked.counts, counter)["p", way] for way in ("HTTP", "DNS")}
    async with asyncio.timeout(20):
        while any(
            getattr(asked.counts, counter)["p", way] < count + number
            for way, count in before.items()
        ):
            await asyncio.sleep(0.005)


async def test_right_answers_are_counted_and_pass(truth):
    async with puppet() as agent:
        async with quick(truth, agent) as asked:
            await told(asked, "answered")
            agent.stale_s = 3
            await told(asked, "stale")
        verdict = asked.verdict()
    assert not verdict.failed
    assert not verdict.wrong
    assert 0 < verdict.stale["p", "HTTP"] < verdict.answered["p", "HTTP"]


async def test_wrong_answers_fail_the_test_in_full(truth):
    words = ("p over HTTP: lacks web-2@b: runs since", "p over DNS", "127.0.0.2", "judged by")
    async with puppet() as agent, failing(truth, agent, *words) as asked:
        agent.told = [A]
        await told(asked, "wrong")


async def test_one_wrong_answer_among_many_right_ones_is_seen(truth):
    async with puppet() as agent, failing(truth, agent, "lacks web-1@a") as asked:
        await told(asked, "answered", 10)
        agent.told = [B]
        await told(asked, "answered", 1)
        agent.told = [A, B]
        await told(asked, "answered", 10)


async def test_who_says_that_it_is_stale_is_judged_by_what_was_then(truth, clock):
    """A stale answer is excused for what happened since, and for nothing else."""
    async with puppet() as agent, failing(truth, agent, "lacks web-1@a") as asked:
        agent.stale_s = 0
        await told(asked, "stale")
        truth.stopped_node("b")
        clock.now, agent.stale_s = 300.0, 100
        await told(asked, "answered")
        if asked.counts.wrong:
            raise RuntimeError(str(asked.counts))
        agent.told = [B]
        await told(asked, "wrong")


async def test_who_is_not_stale_is_not_excused(truth, clock):
    async with puppet() as agent, failing(truth, agent, "has web-2@b") as asked:
        await told(asked, "answered")
        truth.stopped_node("b")
        clock.now = 300.0
        await told(asked, "wrong")


async def test_errors_are_failures(truth):
    words = ("p over HTTP: web: status 500", "p over DNS: web: SERVFAIL")
    async with puppet() as agent, failing(truth, agent, *words) as asked:
        agent.status, agent.rcode = 500, dns.rcode.SERVFAIL
        await told(asked, "failed")


async def test_silence_is_a_failure(truth, monkeypatch):
    monkeypatch.setattr(lookups, "ASK_S", 0.05)
    words = ("p over HTTP: web: TimeoutError", "p over DNS: web: TimeoutError")
    async with puppet() as agent, failing(truth, agent, *words) as asked:
        agent.mute = True
        await told(asked, "failed")


async def test_a_dead_agent_is_a_failure_at_once(truth):
    async with puppet() as agent:
        pass
    words = ("p over HTTP: web: ClientConnectorError", "p over DNS: web: ConnectionRefusedError")
    async with failing(truth, agent, *words) as asked:
        await told(asked, "failed")


async def test_who_parted_is_not_asked_until_it_joins_again(truth, clock):
    async with puppet() as agent:
        async with quick(truth, agent) as asked:
            await told(asked, "answered")
            agent.mute = True
            await asyncio.sleep(0.02)
            asked.part("p")
            answered = asked.counts.answered.copy()
            agent.status, agent.rcode = 500, dns.rcode.SERVFAIL
            truth.stopped_node("b")
            clock.now = 300.0
            await asyncio.sleep(0.05)
            assert asked.counts.answered == answered
            agent.status, agent.rcode, agent.mute = 200, 0, False
            # It still believes what it did: for one window more that is no wonder.
            asked.join(agent)
            await told(asked, "answered")
            with pytest.raises(ValueError, match="already"):
                asked.join(agent)
        assert not asked.verdict().wrong


async def test_who_joined_again_is_not_excused_for_longer_than_a_window(truth, clock):
    async with puppet() as agent, failing(truth, agent, "has web-2@b") as asked:
        await told(asked, "answered")
        asked.part("p")
        truth.stopped_node("b")
        clock.now = 300.0
        asked.join(agent)
        await told(asked, "answered")
        if asked.counts.wrong:
            raise RuntimeError(str(asked.counts))
        clock.now = 311.0
        await told(asked, "wrong")


async def test_asking_nobody_or_without_an_answer_is_no_success(truth):
    nobody = asking(truth, [], ["web"], window_s=10)
    await nobody.__aenter__()
    with pytest.raises(AssertionError, match="nobody was asked"):
        await nobody.__aexit__(None, None, None)
    async with puppet() as agent, failing(truth, agent, "p never answered over DNS"):
        pass


async def test_another_error_in_the_block_is_told_with_what_was_seen(truth):
    notes: list[str] = []
    try:
        async with puppet() as agent, quick(truth, agent) as asked:
            agent.told = [A]
            await told(asked, "wrong")
            raise RuntimeError("by the way")
    except RuntimeError as error:
        notes = error.__notes__
    assert "lacks web-2@b" in "\n".join(notes)
