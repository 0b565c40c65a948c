"""What is done and what is stated, step by step."""

import asyncio
import time

from tests.demo.asking import Asking
from tests.demo.fleet import TTL_S, Agent, Fleet, wrong
from tests.demo.looks import STALE_TTL, NoAnswer, fetch
from tests.demo.processes import exit_status
from tests.demo.report import Report
from tests.demo.streams import (
    part_of_story,
    replay_differs,
    same_story,
    told_again_differs,
)
from tests.support.rabbitmq import RabbitMQ

SERVICES = {
    "web": ("run", "alpha beta gamma"),
    "api": ("api", "alpha beta gamma"),
    "mail": ("file", "alpha beta gamma"),
    "search": ("run", "gamma"),
    "stock": ("api", "gamma"),
    "pay": ("file", "beta"),
}
AT_ONCE_S = 3.0
"""Less than any silence would take to be noticed as an end."""
RECONNECTED_S = 60.0
BLIND_AND_BACK = ["view.blind", "view.sighted"]


class Script:
    def __init__(self, report: Report, fleet: Fleet, broker: RabbitMQ) -> None:
        self._report = report
        self._fleet = fleet
        self._broker = broker

    async def play(self) -> None:
        await self._start()
        await self._find()
        await self._kill_server()
        await self._stop_program()
        await self._kill_agent()
        await self._stop_agent()
        await self._lose_broker()
        await self._compare_streams()

    # ---- the steps

    async def _start(self) -> None:
        report, fleet = self._report, self._fleet
        report.step("A RabbitMQ, three agents, a dozen web servers")
        fleet.add_sites(SERVICES)
        began_at = time.monotonic()
        await self._broker.start()
        took_s = time.monotonic() - began_at
        report.did(f"RabbitMQ listens on 127.0.0.1:{self._broker.port}, {took_s:.1f} s")
        for node in ("alpha", "beta", "gamma"):
            fleet.start_agent(node)
        for agent in fleet.up:
            at = f"HTTP {agent.asker.url[7:]}, DNS {agent.asker.dns[0]}:{agent.asker.dns[1]}"
            report.did(f"agent {agent.node}: {at}, pid {agent.process.pid}")
        await report.sees("each agent is ready and knows the others", fleet.not_ready)

    async def _find(self) -> None:
        report, fleet = self._report, self._fleet
        report.step("Register them, find them")
        await fleet.register_all()
        for how, what in HOWS.items():
            listed = ", ".join(site.text for site in fleet.sites if site.how == how)
            report.did(f"{what}: {listed}")
        await report.sees(
            f"all {len(fleet.sites)} servers of {len(SERVICES)} services are found from every"
            " agent, over HTTP and DNS",
            fleet.wrong_anywhere,
        )
        await report.sees("the same by DNS over TCP", self._wrong_over_tcp)
        await report.sees("`beacond services` says the same at every agent", self._wrong_in_cli)
        await report.sees("what was found answers, each with its own page", self._wrong_pages)

    async def _kill_server(self) -> None:
        report, fleet = self._report, self._fleet
        site = fleet.site("api", "beta")
        assert site.process is not None
        report.step(f"A server dies: kill -9 of {site.text}")
        marks = self._marks()
        site.process.kill()
        site.listed = False
        await report.sees("gone from all answers after its check", fleet.wrong_anywhere)
        told = self._stops(marks, "beta")
        report.seen("every stream says why: critical", told == [{"critical"}] * 3, str(told))
        fleet.start_site(site)
        site.listed = True
        await report.sees("started again, and back in all answers", fleet.wrong_anywhere)

    async def _stop_program(self) -> None:
        report, fleet = self._report, self._fleet
        site = fleet.site("web", "alpha")
        assert site.process is not None
        report.step(f"A program under `beacond run` is stopped: SIGTERM to {site.text}")
        site.process.terminate()
        site.listed = False
        await report.sees(
            "gone from all answers at once, without any check", fleet.wrong_anywhere,
            within_s=AT_ONCE_S,
        )  # fmt: skip
        status = await exit_status(site.process, within_s=5)
        report.seen("`beacond run` ends with its program's status", status == 143, f"{status}")

    async def _kill_agent(self) -> None:
        report, fleet = self._report, self._fleet
        gamma = fleet.agents["gamma"]
        report.step("An agent dies, then its host: kill -9 of gamma, then of all that runs there")
        marks = self._marks()
        gamma.process.kill()
        gamma.up = False
        killed_at = time.monotonic()
        suspected: set[str] = set()

        async def not_suspected() -> str:
            for agent in fleet.up:
                if not await self._suspects_gamma(agent, marks[agent.node]):
                    continue
                suspected.add(agent.node)
            missing = {agent.node for agent in fleet.up} - suspected
            return f"not so at {', '.join(sorted(missing))}" if missing else ""

        await report.sees(
            "alpha and beta suspect it, and go on answering with its services, marked suspect",
            not_suspected,
        )
        await asyncio.sleep(max(killed_at + TTL_S + 1 - time.monotonic(), 0))
        report.seen(
            f"and they still do after {TTL_S + 1:.0f} s, longer than its lease: both reach them",
            not (missing := await not_suspected()),
            missing,
        )
        await fleet.end_sites("gamma")
        ended_at = time.monotonic()
        self._list("gamma", False)
        await report.sees(
            "once nobody reaches them they are gone from all answers", fleet.wrong_anywhere
        )
        report.did(f"{time.monotonic() - ended_at:.1f} s after they ended")
        told = self._stops(marks, "gamma")
        report.seen(
            "both streams say why: agent-expired", told == [{"agent-expired"}] * 2, str(told)
        )
        fleet.start_sites("gamma")
        await self._start_gamma()

    async def _stop_agent(self) -> None:
        report, fleet = self._report, self._fleet
        gamma = fleet.agents["gamma"]
        report.step("An agent is stopped: SIGTERM to gamma")
        marks = self._marks()
        gamma.process.terminate()
        gamma.up = False
        self._list("gamma", False)
        await report.sees(
            "its services are gone from all answers at once", fleet.wrong_anywhere,
            within_s=AT_ONCE_S,
        )  # fmt: skip
        told = self._stops({node: marks[node] for node in ("alpha", "beta")}, "gamma")
        report.seen("both streams say why: agent-left", told == [{"agent-left"}] * 2, str(told))
        status = await exit_status(gamma.process, within_s=10)
        report.seen("it ends with status 0", status == 0, f"{status}")
        await self._start_gamma()

    async def _lose_broker(self) -> None:
        report, fleet = self._report, self._fleet
        report.step("The broker dies: kill -9 of RabbitMQ")
        report.did("from here on every agent is asked for every service without a pause")
        marks = self._marks()
        async with Asking(fleet) as asking:
            await self._broker.kill()
            began_at = time.monotonic()
            await report.sees(
                "every agent says that it is stale: X-Beacond-Stale, stale_since,"
                f" DNS TTL {STALE_TTL}; its bus is down",
                self._not_stale,
            )
            asking.must_be_stale = True
            await fleet.add("orders", "alpha")
            await report.sees(
                "a server registered at alpha meanwhile is found at alpha", self._orders_not_found
            )
            await report.sees(
                f"every agent has been stale for {TTL_S + 2:.0f} s, longer than a lease,"
                " and no stream told of a stop or a suspicion",
                lambda: self._outage_wrong(marks),
            )
            asking.must_be_stale = False
            report.step("The broker is back")
            await self._broker.start()
            back_at = time.monotonic()
            report.did(f"RabbitMQ listens again, {back_at - began_at:.1f} s after its death")
            await report.sees(
                "stale is over at every agent", self._still_stale, within_s=RECONNECTED_S
            )
            await report.sees(
                "what alpha took in meanwhile is found everywhere", fleet.wrong_anywhere
            )
            await fleet.add("tickets", "beta")
            await report.sees("a new server at beta is found everywhere", fleet.wrong_anywhere)
        untold = self._outage_untold(marks)
        report.seen(
            "every stream told of the bus lost and back, of blindness and of its end",
            not untold,
            untold,
        )
        for way, number in sorted(asking.asked.items()):
            answered, stale = asking.answered[way], asking.stale[way]
            report.seen(
                f"{way} lookups answered in full, from before the kill until now:"
                f" {answered} of {number} ({stale} of them said to be stale)",
                answered == number and stale > 0,
                asking.first_wrong,
            )

    async def _compare_streams(self) -> None:
        report, fleet = self._report, self._fleet
        report.step("The event streams, followed all along")
        alpha, beta, gamma = (agent.follower for agent in fleet.agents.values())
        for node, agent in fleet.agents.items():
            follower = agent.follower
            begun = len(follower.stretches)
            began = "one reset" if begun == 1 else f"{begun} resets"
            report.did(f"{node}: {len(follower.told)} events as {follower.form}, {began}")

        async def alpha_and_beta() -> str:
            return same_story(alpha, beta)

        async def gamma_and_alpha() -> str:
            return part_of_story(gamma, alpha)

        await report.sees(
            "alpha and beta tell the same starts and stops of every instance, in the same order",
            alpha_and_beta,
        )
        await report.sees(
            "gamma, which was killed and stopped in between, tells its parts of the same story",
            gamma_and_alpha,
        )
        for agent in fleet.agents.values():
            await self._replay(agent)

    async def _replay(self, agent: Agent) -> None:
        async def replayed() -> str:
            return await replay_differs(agent.asker, agent.follower)

        async def told_again() -> str:
            return await told_again_differs(agent.asker, agent.follower)

        await self._report.sees(
            f"replaying {agent.node}'s stream from its reset rebuilds what {agent.node} answers",
            replayed,
        )
        await self._report.sees(
            f"asked again for all after that reset, {agent.node} tells the same", told_again
        )

    # ---- what they are made of

    async def _start_gamma(self) -> None:
        fleet = self._fleet
        fleet.start_agent("gamma")
        self._list("gamma", True)

        async def not_back() -> str:
            return await fleet.not_ready() or await fleet.wrong_anywhere()

        await self._report.sees(
            "gamma, started again, brings its services back from its own disk", not_back
        )

    def _list(self, node: str, listed: bool) -> None:
        for site in self._fleet.sites:
            if site.node == node:
                site.listed = listed

    def _marks(self) -> dict[str, int]:
        return {agent.node: len(agent.follower.told) for agent in self._fleet.up}

    def _stops(self, marks: dict[str, int], node: str) -> list[set[str]]:
        """For each agent still up, why its stream says that instances of a node stopped."""
        return [
            {
                event["reason"]
                for event in agent.follower.told[marks[agent.node] :]
                if event["kind"] == "instance.stopped" and event["instance"]["node"] == node
            }
            for agent in self._fleet.up
        ]

    async def _wrong_over_tcp(self) -> str:
        for agent in self._fleet.up:
            for service in self._fleet.services():
                try:
                    answer = await agent.asker.srv(service, tcp=True)
                except NoAnswer as error:
                    return f"{agent.node} about {service}: {error}"
                if what := wrong(answer, self._fleet.wanted(service)):
                    return f"{agent.node} about {service}: {what}"
        return ""

    async def _wrong_in_cli(self) -> str:
        wanted = {name: len(self._fleet.wanted(name)) for name in self._fleet.services()}
        try:
            told = await asyncio.gather(*(a.asker.cli("services") for a in self._fleet.up))
        except NoAnswer as error:
            return str(error)
        for agent, answer in zip(self._fleet.up, told, strict=True):
            found = {each["name"]: each["passing"] for each in answer["services"]}
            if found != wanted:
                return f"{agent.node}: {found}, not {wanted}"
        return ""

    async def _wrong_pages(self) -> str:
        for site in self._fleet.sites:
            try:
                text = await fetch(self._fleet.session, site.place)
            except NoAnswer as error:
                return f"{site.text}: {error}"
            if text != site.text:
                return f"{site.text}: {text!r}"
        return ""

    async def _suspects_gamma(self, agent: Agent, mark: int) -> bool:
        """Told in its stream, and seen in its answers."""
        if not agent.follower.has("agent.suspect", after=mark, node="gamma"):
            return False
        for service in ("web", "stock"):
            site = self._fleet.site(service, "gamma")
            try:
                answer = await agent.asker.http(service)
            except NoAnswer:
                return False
            if dict(answer.freshness).get(f"{site.id}@gamma") != "suspect":
                return False
        return True

    async def _not_stale(self) -> str:
        for agent in self._fleet.up:
            try:
                http, srv = await agent.asker.http("api"), await agent.asker.srv("api")
                status = await agent.asker.get("/v1/status")
            except NoAnswer as error:
                return f"{agent.node}: {error}"
            states = [bus["state"] for bus in status["bus"]]
            if not (http.stale and srv.stale and status["stale_since"] and states == ["down"]):
                return f"{agent.node}: HTTP {http.stale}, DNS {srv.stale}, bus {states}"
        return ""

    async def _orders_not_found(self) -> str:
        alpha, wanted = self._fleet.agents["alpha"].asker, self._fleet.wanted("orders")
        try:
            return wrong(await alpha.http("orders"), wanted) or wrong(
                await alpha.srv("orders"), wanted
            )
        except NoAnswer as error:
            return str(error)

    async def _outage_wrong(self, marks: dict[str, int]) -> str:
        for agent in self._fleet.up:
            for kind in ("instance.stopped", "agent.suspect", "agent.expired"):
                if agent.follower.has(kind, after=marks[agent.node]):
                    return f"{agent.node} told {kind}"
            if not agent.follower.has("view.blind", after=marks[agent.node]):
                return f"{agent.node}'s stream did not tell that it is blind"
            try:
                stale_s = await agent.asker.stale_s()
            except NoAnswer as error:
                return f"{agent.node}: {error}"
            if stale_s < TTL_S + 2:
                return f"{agent.node} says {stale_s:.0f} s"
        return ""

    def _outage_untold(self, marks: dict[str, int]) -> str:
        for agent in self._fleet.up:
            kinds = [event["kind"] for event in agent.follower.told[marks[agent.node] :]]
            told = [kind for kind in kinds if kind.startswith(("bus.", "view."))]
            bus = [kind for kind in told if kind.startswith("bus.")]
            sight = [kind for kind in told if kind.startswith("view.")]
            if bus != ["bus.down", "bus.up"] or sight[:1] + sight[-1:] != BLIND_AND_BACK:
                return f"{agent.node} told {', '.join(told) or 'nothing'}"
        return ""

    async def _still_stale(self) -> str:
        for agent in self._fleet.up:
            try:
                http, srv = await agent.asker.http("api"), await agent.asker.srv("api")
            except NoAnswer as error:
                return f"{agent.node}: {error}"
            if http.stale or srv.stale:
                return f"{agent.node} is still stale"
        return await self._fleet.not_ready()


HOWS = {
    "run": "by `beacond run`",
    "api": "over HTTP",
    "file": "by a file in services_dir",
}
