"""HTTP lookups beside nginx and a bare aiohttp server that answer the same bytes."""

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench import process, wrk
from tests.bench.looked_up import Agent
from tests.bench.population import LOOKED_UP
from tests.bench.reference_nginx import KEPT_OPEN, PACKAGED, nginx
from tests.bench.report import Section
from tests.bench.rounds import Load, Side, Target, alternate, report

WITHIN_S = 10.0


def measure(ours: Agent, folder: Path, seconds: int, rounds: int) -> Section:
    folder.mkdir()
    section = Section("HTTP, GET /v1/services/NAME, the same services, connections kept open")
    if absent := process.missing("wrk"):
        section.skipped.append(absent)
        return section
    asked = Lookups(ours.http, folder)
    targets, aims = [ours.http], []
    with ExitStack() as stack:
        if absent := process.missing("nginx"):
            section.skipped.append(f"nginx beside it: {absent}")
        else:
            for name, how, aim in (
                ("nginx", PACKAGED, "at least 1.0"),
                ("nginx, open files", KEPT_OPEN, ""),
            ):
                place = folder / name.replace(" ", "-")
                server = nginx(place, asked.bodies, name=name, how=how)
                targets.append(stack.enter_context(server))
                aims.append(aim)
        targets.append(stack.enter_context(_bare_aiohttp(folder, asked.bodies)))
        aims.append("")
        sides = [asked.side(target, seconds) for target in targets]
        report(section, "GET", alternate(sides, rounds), aims)
    section.notes.append(
        "nginx: from files, as Debian sets it up; open files: kept open, without sendfile"
    )
    return section


class Lookups:
    """What wrk asks, and what is a right answer: what this agent answers now."""

    def __init__(self, ours: Target, folder: Path) -> None:
        self._folder = folder
        paths = [f"/v1/services/{name}" for name in LOOKED_UP.service_names()]
        self.bodies = dict(zip(paths, _bodies(ours, paths), strict=True))
        self._paths = folder / "paths"
        self._paths.write_text("".join(f"{path}\n" for path in paths))

    def side(self, target: Target, seconds: int) -> Side:
        return Side(target.name, lambda number: self.load(target, seconds, number))

    def load(self, target: Target, seconds: int, seed: int) -> Load:
        """Raises RuntimeError where one of the answers before, or their octets all in all, are not
        right."""
        paths = list(self.bodies)
        for path, body in zip(paths, _bodies(target, paths), strict=True):
            if body != self.bodies[path]:
                raise RuntimeError(f"{target.name}, {path}: another body, {body!r}")
        used_s = target.cpu_s()
        told = wrk.run(target.port, self._paths, seconds, self._folder / "wrk", seed=seed)
        used_s = target.cpu_s() - used_s
        right = told.answers - told.wrong
        if told.octets < right * min(map(len, self.bodies.values())):
            raise RuntimeError(f"{target.name}: {told.octets} octets in {right} answers")
        return Load(right, told.wrong + told.lost, told.wall_us / 1e6, used_s, told.tool_cpu_s)


def _bodies(target: Target, paths: Sequence[str]) -> list[bytes]:
    """Over one connection. Raises RuntimeError where one is not answered with 200."""
    bodies = []
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=WITHIN_S)
    try:
        for path in paths:
            connection.request("GET", path)
            with connection.getresponse() as answer:
                if answer.status != 200:
                    raise RuntimeError(f"{target.name}, {path}: {answer.status}")
                bodies.append(answer.read())
    finally:
        connection.close()
    return bodies


@contextmanager
def _bare_aiohttp(folder: Path, bodies: Mapping[str, bytes]) -> Iterator[Target]:
    answers = folder / "answers.json"
    answers.write_text(json.dumps({path: body.decode() for path, body in bodies.items()}))
    server = process.start("reference_http", answers)
    try:
        yield Target("bare aiohttp", int(process.next_line(server)), (server.pid,))
    finally:
        process.end(server)
