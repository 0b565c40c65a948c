"""What every test may use: the servers it needs, or a skip that names what is missing."""

import asyncio
import inspect
import os
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.rabbitmq import RabbitMQ, missing_program

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
TASKS_END_WITHIN_S = 5.0
IN_CI = os.environ.get("CI", "").lower() == "true"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write the expected events of tests/sim/scenarios anew",
    )


def find_program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SBIN}")


def _need(missing: str | None) -> None:
    """Skip for want of a program; where everything was promised to be there, fail."""
    if missing is None:
        return
    if IN_CI:
        pytest.fail(f"{missing} is not installed, and with CI=true it has to be", pytrace=False)
    pytest.skip(f"{missing} is not installed")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("broker"):
        _need(missing_program())
    for marker in item.iter_markers("server"):
        _need(None if find_program(marker.args[0]) else marker.args[0])


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """One broker for all tests that only use it (and leave it as it was), one a worker."""
    yield from _running_broker()


@pytest.fixture(scope="module")
def second_rabbitmq() -> Iterator[RabbitMQ]:
    """Another one, for the tests of a module that need two."""
    yield from _running_broker()


def _running_broker() -> Iterator[RabbitMQ]:
    _need(missing_program())
    broker = RabbitMQ()
    with asyncio.Runner() as runner:
        try:
            runner.run(broker.start())
            yield broker
        finally:
            runner.run(broker.close())


@pytest.fixture
async def _tasks_end() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    deadline = asyncio.get_running_loop().time() + TASKS_END_WITHIN_S
    # A closed connection's own tasks end a few turns of the loop after its close().
    while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail("tasks outlive the test: " + ", ".join(map(repr, left)))
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    """Set up first, so looked at last, when the test's other fixtures are gone."""
    function = getattr(request.node, "function", None)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        request.getfixturevalue("_tasks_end")
