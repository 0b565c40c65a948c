"""How the demo asks: an HTTP client, DNS packets, and the command line. None of it is beacond's
own reading of its answers, but for the last."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import aiohttp
import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rdatatype
from dns.message import Message
from dns.rcode import NOERROR, NXDOMAIN

from tests.support.agent_process import BEACOND, environment

DOMAIN = "beacon.internal"
ASK_S = 4.0
CLI_S = 20.0

Place = tuple[str, int]
"""Address and port."""


class NoAnswer(Exception):
    """Asked, and not answered as a client needs it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one agent said of one service."""

    places: tuple[Place, ...]
    stale: bool
    """HTTP: both head and body say so. DNS: answered with the TTL of stale answers."""
    freshness: tuple[tuple[str, str], ...] = ()
    """HTTP: (id@node, freshness) of each instance."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks one agent."""

    session: aiohttp.ClientSession
    url: str
    dns: Place

    async def get(self, path: str, **query: str) -> Any:
        return (await self._get(path, query))[0]

    async def _get(self, path: str, query: dict[str, str]) -> tuple[Any, str | None]:
        try:
            async with asyncio.timeout(ASK_S), self.session.get(self.url + path, params=query) as r:
                if r.status != 200:
                    raise NoAnswer(f"status {r.status}")
                return await r.json(), r.headers.get("X-Beacond-Stale")
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            raise NoAnswer(f"{type(error).__name__} {error}".strip()) from None

    async def put(self, path: str, body: dict[str, Any]) -> int:
        try:
            async with asyncio.timeout(ASK_S), self.session.put(self.url + path, json=body) as r:
                return r.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NoAnswer(f"{type(error).__name__} {error}".strip()) from None

    async def http(self, service: str) -> Answer:
        body, stale = await self._get(f"/v1/services/{service}", {})
        if (stale is not None and stale.isdecimal()) != (body["stale_since"] is not None):
            raise NoAnswer(f"X-Beacond-Stale {stale}, but stale_since {body['stale_since']}")
        found = body["instances"]
        return Answer(
            tuple(sorted((each["address"], each["port"]) for each in found)),
            stale is not None,
            tuple((f"{each['id']}@{each['node']}", each["freshness"]) for each in found),
        )

    async def stale_s(self) -> float:
        """For how long the agent says it has been stale; 0: not at all."""
        _, stale = await self._get("/v1/services", {})
        return float(stale or 0)

    async def srv(self, service: str, *, tcp: bool = False) -> Answer:
        """SRV, whose targets' addresses come along."""
        reply = await self._query(f"{service}.service.{DOMAIN}", "SRV", tcp=tcp)
        addresses: dict[dns.name.Name, list[str]] = {}
        for rrset in reply.additional:
            if rrset.rdtype == dns.rdatatype.A:
                addresses[rrset.name] = [record.address for record in rrset]
        places = [
            (address, record.port)
            for rrset in reply.answer
            for record in rrset
            for address in addresses.get(record.target, ["no address given"])
        ]
        return Answer(tuple(sorted(places)), _is_stale(reply))

    async def a(self, service: str) -> tuple[str, ...]:
        reply = await self._query(f"{service}.service.{DOMAIN}", "A")
        return tuple(sorted({record.address for rrset in reply.answer for record in rrset}))

    async def _query(self, name: str, kind: str, *, tcp: bool = False) -> Message:
        query = dns.message.make_query(name, kind, use_edns=True)
        ask = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        try:
            reply: Message = await ask(query, self.dns[0], ASK_S, port=self.dns[1])
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise NoAnswer(f"{type(error).__name__} {error}".strip()) from None
        if reply.rcode() not in (NOERROR, NXDOMAIN):
            raise NoAnswer(f"rcode {reply.rcode()}")
        return reply

    async def cli(self, *arguments: str) -> Any:
        """What `beacond ARGUMENTS --json` prints about this agent."""
        process = await asyncio.create_subprocess_exec(
            *(*BEACOND, *arguments, "--json", "--agent", self.url),
            env=environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(CLI_S):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise NoAnswer(f"beacond {arguments[0]}: not done in {CLI_S:.0f} s") from None
        if process.returncode != 0:
            raise NoAnswer(f"beacond {arguments[0]}: {err.decode().strip()}")
        return json.loads(out)


STALE_TTL = 30


def _is_stale(reply: Message) -> bool:
    return bool(reply.answer) and all(rrset.ttl == STALE_TTL for rrset in reply.answer)


async def fetch(session: aiohttp.ClientSession, place: Place) -> str:
    """Use what was found."""
    try:
        async with asyncio.timeout(ASK_S), session.get(f"http://{place[0]}:{place[1]}/") as r:
            return await r.text()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise NoAnswer(f"{type(error).__name__} {error}".strip()) from None
