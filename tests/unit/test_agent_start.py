"""Garbage is collected again once the agent serves."""

import asyncio
import gc

from beacond.agent import _collect_garbage_after


async def test_agent_that_can_not_listen_collects_all_the_same() -> None:
    gc.disable()
    try:
        await _collect_garbage_after(asyncio.Event(), within_s=0.01)
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


async def test_collection_is_off_until_the_agent_listens_and_then_on() -> None:
    listening = asyncio.Event()
    gc.disable()
    try:
        waiting = asyncio.create_task(_collect_garbage_after(listening))
        await asyncio.sleep(0)
        assert not gc.isenabled()
        listening.set()
        await waiting
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.enable()
        gc.unfreeze()
