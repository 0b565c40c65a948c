"""Each agent's event stream, followed all along; replayed; and compared with the others'."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp

from tests.demo.looks import Asker, NoAnswer

AGAIN_S = 0.2
Happened = dict[str, Any]
Key = tuple[str, str]
"""Node and instance id."""


class Follower:
    """Reads one agent's stream, as SSE or as lines of JSON; where it breaks, it asks for what it
    missed, as any client should. `stretches`: lists of events that begin with a `reset` each."""

    def __init__(self, asker: Asker, media_type: str) -> None:
        self._asker = asker
        self._media_type = media_type
        self.stretches: list[list[Happened]] = []
        self.task = asyncio.create_task(self._follow())

    @property
    def form(self) -> str:
        return "SSE" if "event-stream" in self._media_type else "NDJSON"

    @property
    def told(self) -> list[Happened]:
        return [event for stretch in self.stretches for event in stretch]

    def has(self, kind: str, *, after: int, node: str | None = None) -> bool:
        """Was it told among what came after the first `after` events?"""
        return any(
            event["kind"] == kind and node in (None, event.get("agent", {}).get("node"))
            for event in self.told[after:]
        )

    async def _follow(self) -> None:
        while True:
            try:
                async for event in self._read():
                    if event["kind"] == "reset":
                        self.stretches.append([])
                    self.stretches[-1].append(event)
            except (aiohttp.ClientError, OSError):
                pass
            await asyncio.sleep(AGAIN_S)

    async def _read(self) -> AsyncIterator[Happened]:
        headers = {"Accept": self._media_type}
        if self.stretches:
            headers["Last-Event-ID"] = self.stretches[-1][-1]["id"]
        url = f"{self._asker.url}/v1/events"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=40)
        async with self._asker.session.get(url, headers=headers, timeout=timeout) as response:
            response.raise_for_status()
            async for line in response.content:
                if self.form == "SSE" and not line.startswith(b"data: "):
                    continue
                if text := line.removeprefix(b"data: ").strip():
                    yield json.loads(text)


def starts_and_stops(stretch: list[Happened]) -> dict[Key, list[str]]:
    """For each instance, in order: `started`, `stopped (REASON)`.

    Not why it started: who hears of an instance only once it is healthy, calls it registered.
    """
    story: dict[Key, list[str]] = {}
    for event in stretch:
        instance = event.get("instance", {})
        key = (instance.get("node", ""), instance.get("id", ""))
        if event["kind"] == "instance.started":
            story.setdefault(key, []).append("started")
        elif event["kind"] == "instance.stopped":
            story.setdefault(key, []).append(f"stopped ({event['reason']})")
    return story


def same_story(one: Follower, other: Follower) -> str:
    """Both never restarted. Empty, or what differs."""
    first, second = starts_and_stops(one.told), starts_and_stops(other.told)
    for key in sorted(first.keys() | second.keys()):
        if first.get(key) != second.get(key):
            return f"{key}: {first.get(key)} and {second.get(key)}"
    return ""


def part_of_story(part: Follower, whole: Follower) -> str:
    """Each stretch told between two restarts is a stretch of the whole, the last to its end."""
    full = starts_and_stops(whole.told)
    for number, stretch in enumerate(part.stretches, 1):
        last = number == len(part.stretches)
        for key, told in starts_and_stops(stretch).items():
            known = full.get(key, [])
            fits = known[-len(told) :] == told if last else _is_within(told, known)
            if not fits:
                return f"{key}: in stretch {number} {told}, and in all {known}"
    return ""


def _is_within(part: list[str], whole: list[str]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


# ---- what a reader knows who only ever read the stream


class Replayed:
    """The state of a `reset`, moved on by the events after it."""

    def __init__(self, stretch: list[Happened]) -> None:
        reset, *events = stretch
        self.agents = {each["node"]: each["state"] for each in reset["agents"]}
        self.instances: dict[Key, Happened] = {
            (each["node"], each["id"]): each
            for service in reset["services"]
            for each in service["instances"]
        }
        for event in events:
            self._apply(event)

    def services(self) -> dict[str, list[Happened]]:
        found: dict[str, list[Happened]] = {}
        for _, instance in sorted(self.instances.items()):
            found.setdefault(instance["service"], []).append(instance)
        return found

    def _apply(self, event: Happened) -> None:
        kind: str = event["kind"]
        if agent := event.get("agent"):
            self._agent(agent["node"], kind, agent["state"])
        elif instance := event.get("instance"):
            key = (instance["node"], instance["id"])
            if kind == "instance.deregistered":
                self.instances.pop(key, None)
            elif kind not in ("instance.started", "instance.stopped"):
                self.instances[key] = instance

    def _agent(self, node: str, kind: str, state: str) -> None:
        self.agents[node] = state
        freshness = {
            "agent.suspect": "suspect",
            "agent.recovered": "fresh",
            "agent.joined": "fresh",
        }
        if kind in freshness:
            for key, instance in self.instances.items():
                if key[0] == node:
                    self.instances[key] = instance | {"freshness": freshness[kind]}


async def replay_differs(asker: Asker, follower: Follower) -> str:
    """Compare what the stream rebuilds with what its agent answers; empty: the same."""
    try:
        agents = {each["node"]: each["state"] for each in (await asker.get("/v1/agents"))["agents"]}
        names = [each["name"] for each in (await asker.get("/v1/services"))["services"]]
        answers = {
            name: (await asker.get(f"/v1/services/{name}", health="any"))["instances"]
            for name in names
        }
    except NoAnswer as error:
        return str(error)
    replayed = Replayed(follower.stretches[-1])
    if replayed.agents != agents:
        return f"agents: replayed {replayed.agents}, answered {agents}"
    return "; ".join(_differences(replayed.services(), answers))


def _differences(
    replayed: dict[str, list[Happened]], answers: dict[str, list[Happened]]
) -> Iterator[str]:
    for name in sorted(replayed.keys() | answers.keys()):
        if replayed.get(name) != answers.get(name):
            yield f"{name}: replayed {replayed.get(name)}, answered {answers.get(name)}"


async def told_again_differs(asker: Asker, follower: Follower) -> str:
    """Ask for what came after the reset, in one page: is it what was told live?"""
    reset, *events = follower.stretches[-1]
    try:
        page = await asker.get("/v1/events", since=reset["id"])
    except NoAnswer as error:
        return str(error)
    if page["gap"]:
        return "a gap"
    return "" if page["events"] == events else f"{len(page['events'])} of {len(events)} events"
