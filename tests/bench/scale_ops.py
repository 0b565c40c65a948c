"""What each operation costs one agent, in CPU time, in a fleet of that size:
`python -m tests.bench.scale_ops HOSTS`.

Says on its first line that it is ready; each line on its standard input is a round, answered by
one line of JSON: operation → microseconds.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from statistics import median

from aiohttp.http import SERVER_SOFTWARE

from beacond.core.messages import SHARDS, Heartbeat
from beacond.core.view import View
from beacond.dns.packet import Responder
from beacond.dns.zone import parse_domain
from beacond.http.front import Front, _Known
from beacond.http.replies import Replies
from beacond.http.services import _PLAIN, ServiceRoutes, _Question
from beacond.http.waits import Waits
from tests.bench.population import DOMAIN, Population, service_name
from tests.bench.questions import question
from tests.bench.scale_load import GAP_S, INTERVAL_S, OWN, Listener, Load

BEATS, CHANGES, DEATHS = 2000, 200, 4
WORKING_SET, LOOKUPS, COLD_LOOKUPS = 100, 5000, 100
"""A host asks for some services again and again, and sometimes for one that it never asked for."""
REST_S = 30.0
APART_S = 1e-6
"""Between two messages where no timer is to be due."""
SILENT_S = 13.0


@dataclass(slots=True)
class _Reader:
    """What HTTP needs of a driver to answer lookups."""

    view: View

    def now_unix(self) -> float:
        return time.time()


class Fleet:
    """A fleet at rest, and an agent that knows all of it."""

    def __init__(self, population: Population) -> None:
        self.population = population
        self.load = Load(population)
        gc.collect()
        # As `beacond agent` does at its start; and what the load keeps is no agent's garbage.
        gc.freeze()
        self.listener = Listener()
        self.listener.follow(self.load.joining(), self.load)
        assert self.listener.node._relays.used, "no relays"
        shown = sum(len(each.instances) for each in self._view.services.values())
        assert shown == population.instances, shown
        self.rng = Random(2)

    def round(self) -> dict[str, float]:
        """Microseconds by operation."""
        costs = {
            **self.heartbeats(),
            "announce": self.announces(),
            **self.lookups(),
            **self.rest(),
            "digest": self.digests(),
            **self.deaths(),
        }
        return {operation: 1e6 * seconds for operation, seconds in costs.items()}

    @property
    def _view(self) -> View:
        return self.listener.node.view

    # ---- what is heard

    def heartbeats(self) -> dict[str, float]:
        """Of nodes at random; and of that what the wire takes."""
        self._be_quiet(BEATS * APART_S)
        now = self.listener.now
        moments = [now + number * APART_S for number in range(1, BEATS + 1)]
        said = [(at, self.load.heartbeat(self.rng.choice(self.load.nodes), at)) for at in moments]
        began = time.process_time()
        for _, frame in said:
            self.listener.codec.decode(frame)
        decoded_s = time.process_time() - began
        took_s = self.listener.hear_all(said)
        self.listener.reply(self.load)
        return {"heartbeat": took_s / BEATS, "heartbeat, decoding": decoded_s / BEATS}

    def announces(self) -> float:
        """Of nodes at random, each with another weight of one instance."""
        self._be_quiet(CHANGES * APART_S)
        now = self.listener.now
        moments = [now + number * APART_S for number in range(1, CHANGES + 1)]
        said = [(at, self.load.change(self.rng.choice(self.load.nodes))) for at in moments]
        index = self._view.index
        took_s = self.listener.hear_all(said)
        assert self._view.index == index + CHANGES
        self.listener.reply(self.load)
        return took_s / CHANGES

    def digests(self) -> float:
        """That agree, one for each shard."""
        shards = self.listener.node._catalog.shards.all
        self._be_quiet(1.0)
        self._catch_up()
        before = [shard.renewals for shard in shards]
        took_s = self.listener.hear_all(self._all_digests())
        assert [shard.renewals - 1 for shard in shards] == before
        self.listener.reply(self.load)
        return took_s / SHARDS

    def rest(self) -> dict[str, float]:
        """A second in which nothing happens: relays' digests, own heartbeats, timers."""
        listener = self.listener
        listener.tick_s = listener.hear_s = listener.longest_s = 0.0
        self._rest(REST_S)
        second = {
            "tick": listener.tick_s / REST_S,
            "second": (listener.tick_s + listener.hear_s) / REST_S,
        }
        per_host = second["second"] / self.population.nodes
        return {**second, "second, per host": per_host, "longest call": listener.longest_s}

    def deaths(self) -> dict[str, float]:
        """Some nodes in turn: each is silent, found gone by two others, and comes back; with what
        our own next heartbeat costs more for it."""
        dead, back, beat = [], [], []
        usual_s = self._own_beat()
        for node in self.rng.sample(self.load.others, DEATHS):
            self._catch_up()
            dead.append(sum(map(self._hear_at_once, self._dying(node))))
            assert node not in self.listener.node._catalog.alive
            beat.append(self._own_beat())
            self._catch_up()
            said = self.load.reboot(node, self.listener.now)
            back.append(sum(map(self._hear_at_once, said)))
            assert node in self.listener.node._catalog.alive
            beat.append(self._own_beat())
        more_s = max(median(beat) - usual_s, 0.0)
        return {
            "death": median(dead) + more_s,
            "return": median(back) + more_s,
            "heartbeat of ours after it": median(beat),
        }

    def _dying(self, node: str) -> Iterator[bytes]:
        yield self.load.silence(node, SILENT_S, self.listener.now)
        others = [each for each in self.rng.sample(self.load.others, 3) if each != node]
        for prober in others[:2]:
            yield self.load.opinion(prober, node)

    def _hear_at_once(self, frame: bytes) -> float:
        """And do what is due then."""
        took_s = self.listener.hear(frame) + self.listener.tick()
        self.listener.reply(self.load)
        return took_s

    # ---- what is asked

    def lookups(self) -> dict[str, float]:
        names = [service_name(number) for number in range(self.population.services)]
        usual = self.rng.sample(names, min(WORKING_SET, len(names)))
        drawn = self.rng.choices(usual, k=LOOKUPS)
        cold = self.rng.sample(names, min(COLD_LOOKUPS, len(names)))
        found = {}
        for kind, ask in (("HTTP", _http(self._view, names)), ("DNS", _dns(self._view, names))):
            found[f"lookup, {kind}, not kept"] = _timed(ask, cold)
            for name in usual:
                ask(name)
            found[f"lookup, {kind}"] = _timed(ask, drawn)
        return found

    # ---- time

    def _rest(self, seconds: float) -> None:
        now = self.listener.now
        self.listener.follow(self.load.resting(now, now + seconds), self.load)

    def _all_digests(self) -> list[tuple[float, bytes]]:
        at = self.listener.now + APART_S
        return [(at, self.load.digest(shard, at)) for shard in range(SHARDS)]

    def _catch_up(self) -> None:
        """Do all that was due until now, so that what is timed next need not."""
        self.listener.follow(self._all_digests(), self.load)
        self.listener.tick()

    def _be_quiet(self, seconds: float) -> None:
        """Until for so long no timer is due."""
        for _ in range(SHARDS):
            self.listener.tick()
            if self.listener.node.next_deadline() > self.listener.now + seconds:
                return
            self._rest(GAP_S)
        raise AssertionError("there is always some timer due")

    def _own_beat(self) -> float:
        """The CPU seconds of our next heartbeat."""
        listener = self.listener
        for at, frame in self.load.resting(listener.now, listener.now + 3 * INTERVAL_S):
            while listener.node.next_deadline() <= at:
                listener.now = max(listener.now, listener.node.next_deadline())
                took_s = listener.tick()
                if any(isinstance(sent.message, Heartbeat) for sent in listener.sent):
                    listener.reply(self.load)
                    return took_s
            listener.now = at
            listener.hear(frame)
            listener.reply(self.load)
        raise AssertionError("no heartbeat of ours")


def _http(view: View, names: list[str]) -> Callable[[str], object]:
    """What is done between the two sockets' calls where a request is one already answered."""
    reader = _Reader(view)
    replies = Replies(reader)  # type: ignore[arg-type]
    front = Front(replies, 60.0)
    routes = ServiceRoutes(reader, replies, Waits(1, lambda taken: None), Random(1))
    asked = {}
    for name in names:
        asked[name] = f"GET /v1/services/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        question = _Question(routes, name, _PLAIN)
        front.known[asked[name]] = _Known(question, lambda seconds: None)

    def ask(name: str) -> object:
        known = front.known[asked[name]]
        return front.answer(known)

    head, body = ask(names[0])  # type: ignore[misc]
    assert SERVER_SOFTWARE.encode() in head
    assert body.count(b'"id"') == 10
    return ask


def _dns(view: View, names: list[str]) -> Callable[[str], object]:
    packets = {name: question(f"{name}.service.{DOMAIN}", "A") for name in names}
    counts: dict[tuple[str, str], int] = {}

    def count(qtype: str, rcode: str) -> None:
        counts[qtype, rcode] = counts.get((qtype, rcode), 0) + 1

    responder = Responder(
        domain=parse_domain(DOMAIN),
        node=OWN.node,
        ttl_s=0,
        stale_ttl_s=30,
        recursive=False,
        view=view,
        count=count,
        rng=Random(1),
    )

    def ask(name: str) -> object:
        return responder.respond(packets[name], tcp=False)

    ask(names[0])
    assert counts == {("A", "NOERROR"): 1}
    return ask


def _timed(ask: Callable[[str], object], names: list[str]) -> float:
    """CPU seconds of one, on average."""
    began = time.process_time()
    for name in names:
        ask(name)
    return (time.process_time() - began) / len(names)


def main() -> None:
    hosts = int(sys.argv[1])
    fleet = Fleet(Population(nodes=hosts, per_node=10, services=hosts))
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(fleet.round()), flush=True)


if __name__ == "__main__":
    main()
