"""Who waits is woken by what they wait for; a reader who is too slow is ended, never skipped."""

import asyncio

from beacond.core.events import Event, Kind
from beacond.core.tables import Tables
from beacond.readers import Readers


def event(seq: int) -> Event:
    return Event(seq, 0.0, Kind.BUS_UP)


def readers() -> Readers:
    return Readers(Tables(1).view)


async def test_a_waiter_is_not_woken_by_another_service():
    waiting = readers()
    task = asyncio.create_task(waiting.wait_index("web", 10**15))
    await asyncio.sleep(0)
    waiting.changed(("api",), everything=False)
    await asyncio.sleep(0)
    assert not task.done()
    waiting.end()
    await task


async def test_a_cancelled_waiter_leaves_nothing_behind():
    waiting = readers()
    task = asyncio.create_task(waiting.wait_index("web", 10**15))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert waiting._waiters == {}


async def test_a_reader_gets_every_event_in_order():
    waiting = readers()
    with waiting.events(10) as events:
        for seq in (1, 2, 3):
            waiting.tell(event(seq))
        assert [e.seq for e in await events.batch()] == [1, 2, 3]
        waiting.tell(event(4))
        assert [e.seq for e in await events.batch()] == [4]


async def test_a_reader_that_stops_waiting_loses_nothing():
    waiting = readers()
    with waiting.events(10) as events:
        for seq in range(20):
            task = asyncio.create_task(events.batch())
            await asyncio.sleep(0)
            waiting.tell(event(seq))
            # Before or after it was woken.
            for _ in range(seq % 3):
                await asyncio.sleep(0)
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            told = outcome if isinstance(outcome, list) else await events.batch()
            assert [e.seq for e in told] == [seq]


async def test_a_reader_too_slow_for_its_queue_gets_what_was_queued_and_then_the_end():
    waiting = readers()
    with waiting.events(2) as events:
        for seq in (1, 2, 3, 4):
            waiting.tell(event(seq))
        assert [e.seq for e in await events.batch()] == [1, 2]
        assert await events.batch() == []


async def test_streams_end_when_the_agent_stops_also_those_opened_after():
    waiting = readers()
    with waiting.events(2) as events:
        waiting.end()
        assert await events.batch() == []
    with waiting.events(2) as late:
        assert await late.batch() == []
