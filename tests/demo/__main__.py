"""`python -m tests.demo`: exit status 0 where every statement was true, 1 where one was not."""

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from tests.demo.fleet import Fleet
from tests.demo.processes import adopt_orphans, end_all_that_is_left, left_behind
from tests.demo.report import Report, UntrueError
from tests.demo.script import Script
from tests.support.rabbitmq import RabbitMQ, RabbitMQError, missing_program

LIMIT_S = 115.0
LOG_LINES = 25
SIGNALLED = 128


def main() -> int:
    if program := missing_program():
        print(
            f"demo: {program} is not on this machine; `make test`, as root on a Debian or Ubuntu,"
            " installs it (package rabbitmq-server)",
            file=sys.stderr,
        )
        return 1
    adopt_orphans()
    broker, report = RabbitMQ(), Report()
    ended_by: list[int] = []
    with tempfile.TemporaryDirectory(prefix="bcn-demo-", ignore_cleanup_errors=True) as folder:
        try:
            asyncio.run(_run(report, broker, Path(folder), ended_by))
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("\ndemo: interrupted", file=sys.stderr)
            return SIGNALLED + (ended_by or [signal.SIGINT])[0]
        except (UntrueError, RabbitMQError) as error:
            _tell_untrue(str(error), Path(folder))
            return 1
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            end_all_that_is_left()
            shutil.rmtree(broker.folder, ignore_errors=True)
            for process in left_behind():
                print(f"demo: left behind: {process}", file=sys.stderr)
    took_s = time.monotonic() - report.began_at
    print(f"\ndemo: all {report.true} statements true in {took_s:.0f} s")
    return 0


async def _run(report: Report, broker: RabbitMQ, folder: Path, ended_by: list[int]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end(number: int) -> None:
        ended_by.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end, number)
    try:
        async with asyncio.timeout(LIMIT_S), _session() as session:
            fleet = Fleet(folder, broker.url(), session)
            await Script(report, fleet, broker).play()
            await _end(report, broker, fleet)
    except TimeoutError:
        raise UntrueError(f"all of this takes less than {LIMIT_S:.0f} s") from None


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def _end(report: Report, broker: RabbitMQ, fleet: Fleet) -> None:
    report.step("The end")
    statuses = await fleet.end()
    report.seen("every agent ends with status 0", set(statuses) == {0}, str(statuses))
    await broker.close()

    async def left() -> str:
        return "; ".join(left_behind())

    await report.sees("no process is left behind", left)


def _tell_untrue(what: str, folder: Path) -> None:
    print(f"\ndemo: untrue: {what}", file=sys.stderr)
    for path in sorted(folder.glob("agent-*.log")):
        print(f"\n---- the end of {path.stem}'s log", file=sys.stderr)
        lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:]
        print("\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
