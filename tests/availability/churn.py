"""Services that change slowly, and a truth that is told before each change."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count

from tests.availability.asking import key_of
from tests.availability.tally import Tally
from tests.peers.base import ACT_WITHIN_S, Host, LookupFailed, Site
from tests.peers.processes import Failed
from tests.support.truth import Truth

SERVICES = ("api", "cart", "mail", "pay", "search", "web")
CHANGE_EVERY_S = 2.5
CHANGE_BUDGET_S = 5.0
"""A registration may be tried again, and has to be accepted, within this."""
RETRY_S = 0.1


class Population:
    """An instance of each service at each host, now and then replaced by a new one."""

    def __init__(self, site: Site, truth: Truth) -> None:
        self._site = site
        self._truth = truth
        self._numbers = count(1)
        self._turns = count()
        self._instances: dict[tuple[str, str], str] = {}

    async def settle_in(self) -> None:
        """Start what does not run: all at first, and later what a host lost. Raises Failed."""
        await asyncio.gather(*(self._settle_in(host) for host in self._site.hosts))

    async def _settle_in(self, host: Host) -> None:
        for service in SERVICES:
            if self._instances.get((host.name, service)) in host.programs:
                continue
            instance_id = self._new_id(host, service)
            program = await host.prepare(instance_id)
            self._truth.started(service, host.name, instance_id)
            announced = partial(host.announce, program, service, instance_id)
            if not await _in_time(announced):
                raise Failed(f"{instance_id} could not be registered")
            self._instances[host.name, service] = instance_id

    async def wrong(self) -> str:
        """What some host does not answer as it is now; empty: all is in order."""
        for host in self._site.hosts:
            for service in SERVICES:
                try:
                    answer = await host.lookup(service)
                except LookupFailed as error:
                    return str(error)
                wanted = {key.id for key in self._truth.running(service)}
                if answer.ids != wanted:
                    return f"{host.name}: {service} is {sorted(answer.ids)}, not {sorted(wanted)}"
                if answer.suspect:
                    return f"{host.name}: {sorted(answer.suspect)} are suspect"
        return ""

    async def churn(self, hosts: Sequence[Host], duration_s: float, tally: Tally) -> None:
        """One replacement after the other, at each of these hosts in turn; a slow one delays none.

        The last one begins early enough to have its time while the fault lasts.
        """
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in count():
                due_s = (number + 0.5) * CHANGE_EVERY_S
                if due_s > max(duration_s - CHANGE_BUDGET_S, CHANGE_EVERY_S):
                    return
                await asyncio.sleep(begin + due_s - time.monotonic())
                turn = next(self._turns)
                host = hosts[turn % len(hosts)]
                service = SERVICES[turn % len(SERVICES)]
                group.create_task(self._replace(host, service, tally))

    # ---- inside

    async def _replace(self, host: Host, service: str, tally: Tally) -> None:
        """A new program comes; once it is registered the old one goes, as in a deployment. One
        that is not accepted gives up and ends, and the old one stays."""
        instance_id = self._new_id(host, service)
        program = await host.prepare(instance_id)
        self._truth.started(service, host.name, instance_id)
        accepted = await _in_time(lambda: host.announce(program, service, instance_id))
        tally.registration(accepted=accepted)
        place = (host.name, service)
        leaving = self._instances.get(place) if accepted else instance_id
        if accepted:
            self._instances[place] = instance_id
        if leaving is not None:
            await self._leave(host, service, leaving)

    async def _leave(self, host: Host, service: str, instance_id: str) -> None:
        """Gracefully as far as the system lets it; the program ends in any case."""
        self._truth.stopped(service, host.name, instance_id)
        program = host.programs[instance_id]
        await _in_time(lambda: program.ask(ACT_WITHIN_S, do="deregister", id=instance_id))
        await host.crash_service(instance_id)

    def _new_id(self, host: Host, service: str) -> str:
        instance_id = f"{host.name}-{service}-{next(self._numbers)}"
        assert key_of(instance_id).node == host.name
        return instance_id


async def _in_time(act: Callable[[], Awaitable[object]]) -> bool:
    """Tried again until it is done, or its time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CHANGE_BUDGET_S):
            while True:
                try:
                    await act()
                except Failed:
                    await asyncio.sleep(RETRY_S)
                else:
                    return True
    return False
