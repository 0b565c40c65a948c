"""Each text in `scenarios/` played: see `script.py` for the language.

`pytest tests/sim/test_scenarios.py --rewrite` writes the events below the line anew.
"""

from pathlib import Path

import pytest

from tests.sim.script import DIVIDER, Play, ScriptError, load

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    script = load(path)
    play = Play(script)
    assert play.run() == [], "\n" + play.log()
    if request.config.getoption("--rewrite"):
        path.write_text(f"{script.head}{DIVIDER}\n{play.log()}")
    else:
        assert play.log() == script.log, "what is told has changed: --rewrite, if it should"


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 20


def test_scenario_that_is_not_as_expected_says_what_it_saw(tmp_path: Path) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text(
        "fleet a b\nat 30s expect a sees web on a\nexpect a tells view.blind\nuntil 40s\n---\n"
    )
    assert Play(load(path)).run() == [
        "at 30s a sees web on a b, not on a",
        "expect a tells view.blind",
    ]


@pytest.mark.parametrize("line", ["at 3s dance a", "whatever", "expect a sings"])
def test_line_that_is_not_understood_is_an_error(line: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text(f"fleet a b\n{line}\nuntil 40s\n---\n")
    with pytest.raises(ScriptError):
        Play(load(path)).run()
