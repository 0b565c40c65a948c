"""The runner over real servers and processes, against a driver that only writes down."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from beacond.core.local import CheckState, LocalInstance, ModeState
from beacond.core.model import Check, CheckType, InstanceSpec, Status
from beacond.health import HealthRunner
from beacond.health.runner import EXEC_REFUSED

Result = tuple[str, str, Status, str]


class Recorder:
    """The part of the driver that the runner uses."""

    def __init__(self) -> None:
        self.instances: tuple[LocalInstance, ...] = ()
        self.results: list[Result] = []
        self._callbacks: list[Callable[[], None]] = []
        self._came = asyncio.Event()

    def local_instances(self) -> tuple[LocalInstance, ...]:
        return self.instances

    def check_result(self, instance_id: str, check: str, status: Status, output: str) -> None:
        self.results.append((instance_id, check, status, output))
        self._came.set()

    def on_local_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def offer(self, *instances: LocalInstance) -> None:
        self.instances = instances
        for callback in self._callbacks:
            callback()

    async def wait_for(self, enough: Callable[[list[Result]], bool]) -> None:
        async with asyncio.timeout(20):
            while not enough(self.results):
                self._came.clear()
                await self._came.wait()

    async def next_result(self) -> Result:
        seen = len(self.results)
        await self.wait_for(lambda results: len(results) > seen)
        return self.results[seen]


def instance(instance_id: str, *checks: Check, port: int = 1) -> LocalInstance:
    return LocalInstance(
        spec=InstanceSpec(instance_id, "web", port, checks=checks),
        origin="http",
        addresses=("127.0.0.1",),
        status=Status.CRITICAL,
        mode=ModeState(),
        checks=tuple(CheckState(check, Status.CRITICAL) for check in checks),
    )


@asynccontextmanager
async def running(
    recorder: Recorder, *, allow_exec: bool = True, concurrency: int = 64
) -> AsyncIterator[None]:
    runner = HealthRunner(
        recorder, allow_exec=allow_exec, rng=random.Random(3), concurrency=concurrency
    )
    task = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        task.cancel()
        [ended] = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError)


@asynccontextmanager
async def tcp_server(handle: Callable[[asyncio.StreamWriter], object]) -> AsyncIterator[int]:
    """A listening port; `handle` sees each connection. All are closed at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        handle(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(w.wait_closed() for w in writers), return_exceptions=True)


def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def hang(writer: asyncio.StreamWriter) -> None:
    """Never answer."""


def script(text: str, **settings: object) -> Check:
    return Check(CheckType.EXEC, "script", command=("/bin/sh", "-c", text), **settings)  # type: ignore[arg-type]


async def test_what_a_check_saw_is_told() -> None:
    recorder = Recorder()
    async with tcp_server(close) as port, running(recorder):
        recorder.offer(instance("web-80", Check(CheckType.TCP, "tcp"), port=port))
        assert await recorder.next_result() == ("web-80", "tcp", Status.PASSING, "connected")


async def test_what_was_there_before_the_start_is_run() -> None:
    recorder = Recorder()
    async with tcp_server(close) as port:
        recorder.offer(instance("web-80", Check(CheckType.TCP, "tcp", port=port)))
        async with running(recorder):
            assert (await recorder.next_result())[2] is Status.PASSING


async def test_a_check_runs_again_and_again() -> None:
    recorder = Recorder()
    async with running(recorder):
        recorder.offer(instance("a", script("exit 1", interval_s=0.05)))
        await recorder.wait_for(lambda results: len(results) >= 3)
    assert set(recorder.results) == {("a", "script", Status.WARNING, "exit 1")}


async def test_a_ttl_check_is_not_run() -> None:
    recorder = Recorder()
    async with running(recorder):
        ttl = Check(CheckType.TTL, "ttl", interval_s=0.01, ttl_s=1)
        recorder.offer(instance("a", ttl, script("exit 0", interval_s=0.02)))
        await recorder.wait_for(lambda results: len(results) >= 3)
    assert {result[1] for result in recorder.results} == {"script"}


async def test_an_exec_check_is_refused_unless_allowed(tmp_path: Path) -> None:
    recorder = Recorder()
    async with running(recorder, allow_exec=False):
        recorder.offer(instance("a", script(f"touch {tmp_path}/ran")))
        assert await recorder.next_result() == ("a", "script", Status.CRITICAL, EXEC_REFUSED)
    assert not (tmp_path / "ran").exists()


async def test_a_changed_check_goes_on_with_its_new_settings() -> None:
    recorder = Recorder()
    async with running(recorder):
        recorder.offer(instance("a", script("echo old", interval_s=3600)))
        assert (await recorder.next_result())[3] == "old"
        recorder.offer(instance("a", script("echo new", interval_s=3600)))
        assert (await recorder.next_result())[3] == "new"


async def test_a_check_changed_while_it_runs_is_cancelled_and_run_anew() -> None:
    recorder = Recorder()
    asked = asyncio.Event()
    async with running(recorder), tcp_server(lambda _: asked.set()) as port:
        hanging = Check(
            CheckType.HTTP, "c", url=f"http://127.0.0.1:{port}/", interval_s=1, timeout_s=3600
        )
        recorder.offer(instance("a", hanging))
        await asked.wait()
        recorder.offer(instance("a", Check(CheckType.TCP, "c", port=port, interval_s=1)))
        assert await recorder.next_result() == ("a", "c", Status.PASSING, "connected")


async def test_a_removed_check_stops_and_its_process_with_it(tmp_path: Path) -> None:
    recorder = Recorder()
    pid_file = tmp_path / "pid"
    async with running(recorder):
        recorder.offer(
            instance("a", script(f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; "
                                 "sleep 3600", timeout_s=3600))
        )  # fmt: skip
        pid = int(await content_of(pid_file))
        recorder.offer()
        await process_gone(pid)
        assert recorder.results == []


async def test_stopping_the_runner_leaves_no_process(tmp_path: Path) -> None:
    recorder = Recorder()
    pid_file = tmp_path / "pid"
    async with running(recorder):
        recorder.offer(
            instance("a", script(f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; "
                                 "sleep 3600", timeout_s=3600))
        )  # fmt: skip
        pid = int(await content_of(pid_file))
    assert not Path(f"/proc/{pid}").exists()


async def test_a_slow_check_never_runs_twice_at_once(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    recorder = Recorder()
    async with running(recorder):
        slow = script(f"mkdir {lock} && sleep 0.05 && rmdir {lock}", interval_s=0.01)
        for _ in range(3):
            recorder.offer(instance("a", slow))
            await recorder.next_result()
    assert {result[2] for result in recorder.results} == {Status.PASSING}


async def test_no_more_checks_run_at_once_than_allowed() -> None:
    open_now, most = 0, 0

    def hold(writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        asyncio.get_running_loop().call_later(0.02, answer, writer)

    def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now -= 1
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    recorder = Recorder()
    async with tcp_server(hold) as port, running(recorder, concurrency=3):
        url = f"http://127.0.0.1:{port}/"
        recorder.offer(
            *(instance(f"i-{n}", Check(CheckType.HTTP, "c", url=url, interval_s=0.1))
              for n in range(12))
        )  # fmt: skip
        await recorder.wait_for(lambda results: len({result[0] for result in results}) == 12)
    assert most == 3
    assert {result[2] for result in recorder.results} == {Status.PASSING}


async def test_a_hanging_server_costs_only_its_own_check() -> None:
    recorder = Recorder()
    async with tcp_server(hang) as hanging, tcp_server(close) as fine, running(recorder):
        url = f"http://127.0.0.1:{hanging}/"
        recorder.offer(
            instance("slow", Check(CheckType.HTTP, "c", url=url, timeout_s=0.3)),
            instance("fast", Check(CheckType.TCP, "c", port=fine, interval_s=0.02)),
        )
        await recorder.wait_for(lambda results: any(r[0] == "slow" for r in results))
    slow = [result for result in recorder.results if result[0] == "slow"]
    assert slow == [("slow", "c", Status.CRITICAL, "timed out after 0.3 s")]
    assert len(recorder.results) > 5


async def test_the_runner_can_be_started_again() -> None:
    recorder = Recorder()
    runner = HealthRunner(recorder, allow_exec=True, rng=random.Random(3))
    recorder.offer(instance("a", script("exit 0", interval_s=3600)))
    for _ in range(2):
        task = asyncio.create_task(runner.run())
        await recorder.next_result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(recorder.results) == 2


async def content_of(path: Path) -> str:
    """Poll for a file that another process is about to rename into place."""
    ends_at = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < ends_at
        await asyncio.sleep(0.01)
    return path.read_text()


async def process_gone(pid: int) -> None:
    ends_at = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < ends_at
        await asyncio.sleep(0.01)
