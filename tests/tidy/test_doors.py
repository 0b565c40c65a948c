"""Which room of beacond may import which: the table of docs/architecture.md as a test.

A room is a package or module right below `beacond`. What it may import is listed here and nowhere
else; whoever needs another door adds it here, in sight of a reviewer.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CORE_TYPES = frozenset(
    f"core.{name}" for name in ("effects", "events", "local", "messages", "model", "names", "view")
)
"""The part of the core that shells may see: values, and the view. The deciding is the driver's."""

SHELL = CORE_TYPES | {"spec", "driver", "status", "metrics"}

DOORS: dict[str, frozenset[str]] = {
    "core": frozenset(),
    "wire": CORE_TYPES,
    "bus": frozenset(),
    "spec": CORE_TYPES,
    "driver": frozenset({"core", "wire", "bus.base", "doors", "readers", "saver", "status"}),
    "buses": frozenset({"bus.base", "driver"}),
    "saver": CORE_TYPES | {"doors"},
    "doors": CORE_TYPES,
    "readers": CORE_TYPES,
    "status": CORE_TYPES | {"bus.base"},
    "disk": frozenset({"core", "wire", "driver", "store"}),
    "http": SHELL | {"readers"},
    "dns": SHELL,
    "health": SHELL,
    "store": SHELL,
    "services_dir": SHELL,
    "metrics": CORE_TYPES | {"driver", "status"},
    "journal": CORE_TYPES,
    "logs": frozenset(),
    "sdnotify": frozenset(),
    "supervise": frozenset(),
    "config": CORE_TYPES | {"spec", "bus", "wire.keyring"},
}
DOORS |= {
    "agent": frozenset(DOORS),
    "cli": frozenset({"agent", "config", "spec", "logs"}),
    "__main__": frozenset({"cli"}),
}
"""Room → the rooms, or modules of rooms, that it may import; always itself, and the version."""

LIBRARIES: dict[str, frozenset[str]] = {
    "aiormq": frozenset({"bus"}),
    "pamqp": frozenset({"bus"}),
    "aiohttp": frozenset({"http", "health"}),
    "multidict": frozenset({"http"}),
    "yarl": frozenset({"http", "health"}),
    "click": frozenset({"cli"}),
    "rich": frozenset({"cli"}),
    "msgpack": frozenset({"wire", "store"}),
    "prometheus_client": frozenset({"metrics"}),
    "pydantic": frozenset({"spec"}),
    "pydantic_core": frozenset({"spec"}),
    "pythonjsonlogger": frozenset({"logs"}),
    "uvloop": frozenset({"agent", "cli"}),
    "watchfiles": frozenset({"services_dir"}),
}
"""Third-party library → the rooms that may use it. Each protocol is one room's business."""

CORE_STDLIB = frozenset(
    (
        "abc",
        "bisect",
        "collections",
        "copy",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "ipaddress",
        "itertools",
        "math",
        "operator",
        "random",
        "re",
        "string",
        "struct",
        "types",
        "typing",
    )
)
"""What the core may use of Python: neither clock, nor I/O, nor threads, nor logging."""

CORE_NEVER_CALLS = {
    "open": "does I/O",
    "print": "does I/O",
    "input": "does I/O",
    "exec": "hides what it does",
    "eval": "hides what it does",
    "id": "differs from process to process",
    "hash": "differs from process to process",
}


def imports(tree: ast.Module, module: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported, lazily or for types too.

    `from a import b` counts as `a.b`: b may be a module, and a rule about `a` covers it anyway.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, name.name) for name in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                parents = module.split(".")[: -level or None] if level else []
                base = ".".join([*parents, *([source] if source else [])])
                yield from ((node.lineno, f"{base}.{name.name}") for name in names)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[first, *_]):
                if name == "import_module" and isinstance(first, ast.Constant):
                    yield node.lineno, str(first.value)


def within(name: str, doors: frozenset[str] | set[str]) -> bool:
    return any(name == door or name.startswith(f"{door}.") for door in doors)


def import_problem(room: str, name: str) -> str | None:
    top, _, rest = name.partition(".")
    if top == "beacond":
        if within(rest, DOORS[room] | {room}) or (rest == "__version__" and room != "core"):
            return None
        return f"{room} may not import {name}"
    if top in sys.stdlib_module_names:
        if room == "core" and top not in CORE_STDLIB:
            return f"core may not import {name}: no clock, no I/O, no threads, no logging"
        if room == "core" and top == "random" and rest not in ("", "Random"):
            return f"core may not import {name}: randomness comes as a random.Random"
        return None
    if room not in LIBRARIES.get(top, frozenset()):
        return f"{room} may not import {name}: see LIBRARIES"
    return None


def core_problem(node: ast.AST) -> str | None:
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in CORE_NEVER_CALLS:
            return f"core calls {name}(), which {CORE_NEVER_CALLS[name]}"
        case ast.Attribute(value=ast.Name(id="random"), attr=attr) if attr != "Random":
            return f"core uses random.{attr}: randomness comes as a random.Random"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="random"), attr="Random"), args=[]):
            return "core seeds its own random.Random"
        case ast.AsyncFunctionDef() | ast.Await():
            return "core waits"
    return None


def problems(module: str, source: str) -> list[str]:
    """What is wrong with a module, by its dotted name: "LINE: WHAT"."""
    room = module.split(".")[1]
    tree = ast.parse(source)
    found = [(line, import_problem(room, name)) for line, name in imports(tree, module)]
    if room == "core":
        found += [(getattr(node, "lineno", 0), core_problem(node)) for node in ast.walk(tree)]
    return [f"{line}: {problem}" for line, problem in found if problem]


def modules() -> list[tuple[str, Path]]:
    paths = sorted((ROOT / "beacond").rglob("*.py"))
    named = [(".".join(path.relative_to(ROOT).with_suffix("").parts), path) for path in paths]
    return [(name, path) for name, path in named if name != "beacond.__init__"]


@pytest.mark.parametrize(("module", "path"), modules(), ids=[name for name, _ in modules()])
def test_module_uses_only_the_doors_of_its_room(module: str, path: Path) -> None:
    found = problems(module, path.read_text())
    assert not found, "\n".join(f"{path.relative_to(ROOT)}:{problem}" for problem in found)


def test_every_room_is_in_the_table() -> None:
    rooms = {module.split(".")[1] for module, _ in modules()}
    assert rooms <= DOORS.keys()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("beacond.core.node", "import asyncio"),
        ("beacond.core.node", "import time"),
        ("beacond.core.node", "from datetime import datetime"),
        ("beacond.core.node", "from logging import getLogger"),
        ("beacond.core.node", "import beacond.wire.codec"),
        ("beacond.core.node", "from beacond import __version__"),
        ("beacond.core.node", "import msgpack"),
        ("beacond.core.node", "from random import choice"),
        ("beacond.core.node", "import random\nx = random.random()"),
        ("beacond.core.node", "import random\nrng = random.Random()"),
        ("beacond.core.node", "x = hash('a')"),
        ("beacond.core.node", "def f():\n    open('x')"),
        ("beacond.core.node", "async def f(): pass"),
        ("beacond.core.deep.node", "from ...wire import codec"),
        ("beacond.core.node", "from .. import wire"),
        ("beacond.bus.amqp", "from beacond.core.model import Status"),
        ("beacond.bus.amqp", "import aiohttp"),
        ("beacond.wire.codec", "from beacond.core.node import Node"),
        ("beacond.wire.codec", "from beacond.core import node"),
        ("beacond.http.routes", "def lazily():\n    import beacond.dns.server"),
        ("beacond.http.routes", "import importlib\nimportlib.import_module('beacond.dns.server')"),
        ("beacond.http.routes", "from beacond.dns import server"),
        ("beacond.dns.server", "from beacond.core.node import Node"),
        ("beacond.driver", "from beacond.bus.amqp import AmqpBus"),
        ("beacond.driver", "from beacond.http import server"),
        ("beacond.agent", "from beacond.cli import main"),
        ("beacond.cli.main", "from beacond.core.model import Status"),
        ("beacond.cli.main", "import requests"),
    ],
)
def test_wrong_door_is_found(module: str, source: str) -> None:
    assert problems(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("beacond.core.node", "import random\ndef f(rng: random.Random) -> None: ..."),
        ("beacond.core.node", "from random import Random\nfrom collections.abc import Mapping"),
        ("beacond.core.node", "from .model import Status\nfrom . import model"),
        ("beacond.bus.amqp", "import asyncio, time, aiormq\nfrom beacond import __version__"),
        ("beacond.driver", "from beacond.core.node import Node\nfrom beacond.bus.base import Bus"),
        ("beacond.dns.server", "from beacond.core.view import View\nimport socket"),
    ],
)
def test_right_door_is_not_found(module: str, source: str) -> None:
    assert not problems(module, source)
