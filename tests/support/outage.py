"""What has to hold in a fleet while its bus is broken, whatever breaks it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tests.support.fleet_of_agents import FleetOfAgents
from tests.support.lookups import PER_S, Asked
from tests.support.truth import Key

ENDS = ("instance.stopped", "instance.deregistered", "agent.left", "agent.expired")


async def populate(fleet: FleetOfAgents, *, listening: bool = False) -> None:
    """A service on every node, one that only runs on each, and one to be changed; all agents know
    them."""
    for node in fleet.nodes:
        await fleet.register("web", node, listening=listening)
        await fleet.register(f"only-{node}", node, listening=listening)
    for _ in range(2):
        await fleet.register("changing", "b", listening=listening)
    await fleet.agree()


@asynccontextmanager
async def nothing_is_lost(fleet: FleetOfAgents, *, per_s: float = PER_S) -> AsyncIterator[Asked]:
    """Break the bus in the block, and mend it. All along it every agent is asked, and never fails
    or is wrong. When all see again, they agree within the detection window; and none of them told
    of the end of anything that ran all the time."""
    began_at, since = fleet.truth.clock(), await fleet.mark()
    async with fleet.asking(per_s=per_s) as asked:
        yield asked
        await recovered(fleet)
    ends = await false_ends(fleet, since, began_at)
    assert not ends, "\n".join(ends)


async def recovered(fleet: FleetOfAgents) -> None:
    """When all see and speak again, they agree within the detection window."""
    await fleet.sighted()
    fleet.truth.knowable()
    await fleet.agree(within_s=fleet.window_s)


async def false_ends(fleet: FleetOfAgents, since: Mapping[str, str], began_at: float) -> list[str]:
    """What running agents told since that mark of the end of what has not ended."""
    found = []
    now = fleet.truth.clock()
    for event in await fleet.events(since, *ENDS):
        instance, agent = event.get("instance"), event.get("agent")
        if instance is not None:
            false = fleet.truth.ran(Key(instance["node"], instance["id"]), began_at, now)
        else:
            false = fleet.truth.node_ran(agent["node"], began_at, now)
        if false:
            found.append(f"{event['told_by']} told {event}")
    return found


async def answered(fleet: FleetOfAgents, name: str, service: str) -> dict[str, str]:
    """One agent's answer right now: id → freshness."""
    found = (await fleet.get(name, f"/v1/services/{service}"))["instances"]
    return {each["id"]: each["freshness"] for each in found}


async def change_while_blind(fleet: FleetOfAgents) -> tuple[str, str]:
    """One instance comes at a, the first of "changing" goes at b; nobody else can know until
    `recovered`.

    Their ids. Each agent goes on answering what it knew, and what it knows of its own.
    """
    gone = next(iter(await answered(fleet, "b", "changing")))
    come = await fleet.register("web", "a")
    await fleet.deregister(gone, "b")
    fleet.truth.unknowable(Key("a", come), Key("b", gone))
    for name, service, instance_id, there in (
        ("a", "web", come, True),
        ("b", "web", come, False),
        ("a", "changing", gone, True),
        ("b", "changing", gone, False),
    ):
        told = await answered(fleet, name, service)
        assert (instance_id in told) == there, f"{name} tells of {service}: {told}, not {there}"
    return come, gone


def all_were_stale(asked: Asked, *names: str) -> bool:
    """Each of these agents said so, over HTTP and over DNS."""
    return all(asked.counts.stale[name, way] for name in names for way in ("HTTP", "DNS"))
