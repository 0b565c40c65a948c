"""What a start loads first, and that garbage is collected again once the agent serves."""

import asyncio
import gc
import subprocess
import sys

import pytest

from beacond.agent import _settle
from tests.support.agent_process import environment

LATE = ("aiohttp", "aio_pika", "pydantic", "rich", "watchfiles")


def test_dns_answers_before_what_it_does_not_need_is_loaded() -> None:
    loaded = f"import beacond.cli.agent, beacond.agent, sys; print({{*sys.modules}} & {{*{LATE}}})"
    done = subprocess.run(
        [sys.executable, "-c", loaded],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    assert done.stdout.strip() == "set()"


async def test_what_writes_need_is_loaded_before_the_first_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "beacond.spec.registration", raising=False)
    await _settle(asyncio.Event(), within_s=0.01)
    gc.unfreeze()
    assert "beacond.spec.registration" in sys.modules


async def test_agent_that_can_not_listen_collects_all_the_same() -> None:
    gc.disable()
    try:
        await _settle(asyncio.Event(), within_s=0.01)
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


async def test_collection_is_off_until_the_agent_listens_and_then_on() -> None:
    listening = asyncio.Event()
    gc.disable()
    try:
        waiting = asyncio.create_task(_settle(listening))
        await asyncio.sleep(0)
        assert not gc.isenabled()
        listening.set()
        await waiting
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.enable()
        gc.unfreeze()
