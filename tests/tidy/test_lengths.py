"""A function fits a screen, a file a few."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500


def long_functions(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.lineno}: {node.name}() has {lines} lines of {FUNCTION_LINES_MAX}"


def sources() -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / "beacond").rglob("*.py")):
        yield path.relative_to(ROOT), path.read_text()


def test_functions_fit_a_screen() -> None:
    found = [f"{path}:{what}" for path, source in sources() for what in long_functions(source)]
    assert not found, "\n".join(found)


def test_files_fit_a_few_screens() -> None:
    lengths = {path: len(source.splitlines()) for path, source in sources()}
    assert lengths
    found = [f"{path}: {n} lines" for path, n in lengths.items() if n > FILE_LINES_MAX]
    assert not found, "\n".join(found)


def test_long_function_is_found_wherever_it_is() -> None:
    body = "        x = 1\n"
    fits = "class C:\n    async def f(self):\n" + body * (FUNCTION_LINES_MAX - 1)
    assert not list(long_functions(fits))
    assert list(long_functions(fits + body)) == ["2: f() has 61 lines of 60"]
