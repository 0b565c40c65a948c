"""Three agents and a dozen web servers, each a process, and what should be known of them."""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.demo.looks import Answer, Asker, NoAnswer, Place
from tests.demo.processes import Processes, exit_status
from tests.demo.streams import Follower
from tests.support.agent_process import BEACOND
from tests.support.ports import free_ports

HEARTBEAT, TTL = "1s", "5s"
TTL_S = 5.0
HOSTS = {"alpha": "127.0.0.2", "beta": "127.0.0.3", "gamma": "127.0.0.4"}
SITE = Path(__file__).with_name("site.py")
CHECK = "http:/,interval=1s,timeout=3s,failures=2"
CHECK_JSON = {"type": "http", "path": "/", "interval": "1s", "timeout": "3s", "failures": 2}
CHECK_TOML = 'checks = [{ type = "tcp", interval = "1s", timeout = "3s", failures = 2 }]'


@dataclass(slots=True)
class Site:
    """One web server. `listed`: it is to be found."""

    service: str
    node: str
    port: int
    how: str
    """It is registered by: `run` (the command line), `api`, `file` (services_dir)."""
    process: subprocess.Popen[bytes] | None = None
    listed: bool = False

    @property
    def id(self) -> str:
        return f"{self.service}-{self.port}"

    @property
    def place(self) -> Place:
        return (HOSTS[self.node], self.port)

    @property
    def text(self) -> str:
        return f"{self.service} on {self.node}"

    @property
    def command(self) -> list[str]:
        # Without site-packages it is there in half the time.
        return [sys.executable, "-S", str(SITE), self.place[0], str(self.port), self.text]


@dataclass(slots=True)
class Agent:
    node: str
    asker: Asker
    process: subprocess.Popen[bytes]
    follower: Follower
    up: bool = field(default=True)


class Fleet:
    """Starts and ends things, and knows what every agent should answer."""

    def __init__(self, folder: Path, bus: str, session: aiohttp.ClientSession) -> None:
        self.processes = Processes(folder)
        self.session = session
        self._folder = folder
        self._bus = bus
        self._http_port, self._dns_port = free_ports(HOSTS.values(), 2)
        self.agents: dict[str, Agent] = {}
        self.sites: list[Site] = []

    @property
    def up(self) -> list[Agent]:
        return [agent for agent in self.agents.values() if agent.up]

    # ---- agents

    def start_agent(self, node: str) -> None:
        """For the first time, or again with the data and at the addresses that it had."""
        address = HOSTS[node]
        services_dir = self._folder / node / "services"
        services_dir.mkdir(parents=True, exist_ok=True)
        process = self.processes.start(
            f"agent-{node}",
            [
                *(*BEACOND, "agent", "--node", node, "--advertise", address, "--fleet", "demo"),
                *("--http", f"{address}:{self._http_port}"),
                *("--dns", f"{address}:{self._dns_port}"),
                *("--data-dir", str(self._folder / node / "data")),
                *("--services-dir", str(services_dir)),
                *("--heartbeat", HEARTBEAT, "--ttl", TTL, "--zone", f"zone-{node}"),
            ],
            BEACOND_BUS=self._bus,
        )
        if node in self.agents:
            self.agents[node].process, self.agents[node].up = process, True
            return
        url = f"http://{address}:{self._http_port}"
        asker = Asker(self.session, url, (address, self._dns_port))
        form = "application/x-ndjson" if node == "beta" else "text/event-stream"
        self.agents[node] = Agent(node, asker, process, Follower(asker, form))

    async def not_ready(self) -> str:
        for agent in self.up:
            if (status := agent.process.poll()) is not None:
                return f"{agent.node} ended with status {status}"
            try:
                await agent.asker.get("/readyz")
                known = (await agent.asker.get("/v1/agents"))["agents"]
            except NoAnswer as error:
                return f"{agent.node}: {error}"
            alive = {each["node"] for each in known if each["state"] == "alive"}
            if missing := {each.node for each in self.up} - alive:
                return f"{agent.node} does not know {', '.join(sorted(missing))} as alive"
            if not agent.follower.stretches:
                return f"{agent.node}'s event stream has not begun"
        return ""

    # ---- sites

    def add_sites(self, services: dict[str, tuple[str, str]]) -> None:
        """`services`: name → (how it is registered, the nodes it runs on)."""
        wanted = [
            (name, node, how) for name, (how, nodes) in services.items() for node in nodes.split()
        ]
        ports = free_ports(HOSTS.values(), len(wanted))
        for (name, node, how), port in zip(wanted, ports, strict=True):
            self.sites.append(Site(name, node, port, how))
        for site in self.sites:
            if site.how != "run":
                self.start_site(site)

    def start_site(self, site: Site) -> None:
        site.process = self.processes.start(f"site-{site.id}", site.command)

    async def end_sites(self, node: str) -> None:
        """As when its host is lost. `beacond run` is asked to end: killed, it leaves its server."""
        ended = [s.process for s in self.sites if s.node == node and s.process is not None]
        for process in ended:
            process.terminate()
        for process in ended:
            await exit_status(process, within_s=5)

    def start_sites(self, node: str) -> None:
        for site in self.sites:
            if site.node == node:
                self._start_run(site) if site.how == "run" else self.start_site(site)

    async def register_all(self) -> None:
        for node in HOSTS:
            listed = [site for site in self.sites if (site.node, site.how) == (node, "file")]
            path = self._folder / node / "services" / "sites.toml"
            path.write_text("\n".join(map(_table, listed)))
        for site in self.sites:
            if site.how == "run":
                self._start_run(site)
            elif site.how == "api":
                await self.register(site)
            site.listed = True

    async def register(self, site: Site) -> None:
        """Over HTTP. Raises NoAnswer."""
        body = {"service": site.service, "port": site.port, "checks": [CHECK_JSON]}
        status = await self.agents[site.node].asker.put(f"/v1/instances/{site.id}", body)
        if status not in (200, 201):
            raise NoAnswer(f"registering {site.id}: status {status}")
        site.listed = True

    def _start_run(self, site: Site) -> None:
        """`beacond run` starts the server itself."""
        command = [
            *(*BEACOND, "run", "--name", site.service, "--port", str(site.port)),
            *("--check", CHECK, "--agent", self.agents[site.node].asker.url, "--", *site.command),
        ]
        site.process = self.processes.start(f"run-{site.id}", command)

    def site(self, service: str, node: str) -> Site:
        return next(s for s in self.sites if (s.service, s.node) == (service, node))

    async def add(self, service: str, node: str) -> None:
        """One more server, registered over HTTP. Raises NoAnswer."""
        site = Site(service, node, free_ports(HOSTS.values(), 1)[0], "api")
        self.start_site(site)
        await self.register(site)
        self.sites.append(site)

    async def end(self) -> list[int | None]:
        """Servers first, then the agents, whose exit statuses these are."""
        for agent in self.agents.values():
            agent.follower.task.cancel()
        agents = [agent.process for agent in self.up]
        await self.processes.end(but=agents)
        await self.processes.end()
        return [agent.poll() for agent in agents]

    # ---- what should be answered

    def wanted(self, service: str) -> tuple[Place, ...]:
        return tuple(sorted(s.place for s in self.sites if s.service == service and s.listed))

    def services(self) -> list[str]:
        return sorted({site.service for site in self.sites})

    async def wrong_anywhere(self) -> str:
        """Ask every agent for every service, over HTTP and DNS: the first wrong answer."""
        found = await asyncio.gather(*(self._wrong_at(agent) for agent in self.up))
        return "; ".join(filter(None, found))

    async def _wrong_at(self, agent: Agent) -> str:
        for service in self.services():
            wanted = self.wanted(service)
            try:
                http, srv = await asyncio.gather(
                    agent.asker.http(service), agent.asker.srv(service)
                )
                addresses = await agent.asker.a(service)
            except NoAnswer as error:
                return f"{agent.node} about {service}: {error}"
            if what := wrong(http, wanted):
                return f"{agent.node} about {service} over HTTP: {what}"
            if what := wrong(srv, wanted):
                return f"{agent.node} about {service} over DNS: {what}"
            if addresses != tuple(sorted({address for address, _ in wanted})):
                return f"{agent.node} about {service} over DNS, type A: {addresses}"
        return ""


def wrong(answer: Answer, wanted: tuple[Place, ...]) -> str:
    return "" if answer.places == wanted else f"{list(answer.places)}, not {list(wanted)}"


def _table(site: Site) -> str:
    fields = {"id": site.id, "service": site.service, "port": site.port}
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
    return "\n".join(["[[instance]]", *lines, CHECK_TOML, ""])
