"""The text of one service file → the instances it declares, or every problem with its line."""

import re
import tomllib
from collections.abc import Iterator

from beacond.core.model import InstanceSpec
from beacond.spec.problems import SpecError
from beacond.spec.registration import parse_instance

INSTANCES_MAX = 2048
"""In one file; a host offers no more either."""
PROBLEMS_MAX = 10

_HEADER = re.compile(r"\s*\[\[\s*(?:instance|\"instance\"|'instance')\s*\]\]")


class FileError(ValueError):
    """A file that can't be used as it is; `lines` say why, the first problems."""

    def __init__(self, lines: list[str]) -> None:
        more = len(lines) - PROBLEMS_MAX
        self.lines = (*lines[:PROBLEMS_MAX], *([f"and {more} more"] if more > 0 else []))
        super().__init__("; ".join(self.lines))


def parse_file(
    data: bytes, *, default_address: str, allow_exec: bool = False
) -> tuple[InstanceSpec, ...]:
    """The instances of a file, in its order. Raises FileError; then none of it is to be used."""
    try:
        text = data.decode()
        tables = _tables(tomllib.loads(text))
    except UnicodeDecodeError as error:
        raise FileError([f"not UTF-8 at byte {error.start}"]) from error
    except tomllib.TOMLDecodeError as error:
        raise FileError([f"not TOML: {error}"]) from error
    except RecursionError as error:
        raise FileError(["not TOML: nested too deeply"]) from error
    lines = _header_lines(text)
    specs: list[InstanceSpec] = []
    problems: list[str] = []
    seen: set[str] = set()
    for number, table in enumerate(tables):
        # Text that only looks like a header (in a long string) makes line numbers worthless.
        at = f"line {lines[number]}: " if len(lines) == len(tables) else ""
        where = f"{at}instance[{number}]"
        try:
            spec = parse_instance(table, default_address=default_address, allow_exec=allow_exec)
        except SpecError as error:
            problems += _told(where, error)
            continue
        if spec.id in seen:
            problems.append(f"{where}.id: {spec.id!r} is there twice")
        seen.add(spec.id)
        specs.append(spec)
    if problems:
        raise FileError(problems)
    return tuple(specs)


def _tables(content: dict[str, object]) -> list[object]:
    """Raises FileError."""
    unknown = sorted(set(content) - {"instance"})
    if unknown:
        raise FileError([f"{unknown[0]!r}: only [[instance]] tables belong here"])
    tables = content.get("instance", [])
    if not isinstance(tables, list):
        raise FileError(["instance: must be [[instance]] tables, in double brackets"])
    if len(tables) > INSTANCES_MAX:
        raise FileError([f"{len(tables)} instances, of at most {INSTANCES_MAX}"])
    return tables


def _header_lines(text: str) -> list[int]:
    return [n for n, line in enumerate(text.split("\n"), 1) if _HEADER.match(line)]


def _told(where: str, error: SpecError) -> Iterator[str]:
    for problem in error.problems:
        field = f"{where}.{problem.field}" if problem.field else where
        yield f"{field}: {problem.message}"
