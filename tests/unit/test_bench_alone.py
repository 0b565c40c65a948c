"""The process beside an agent has loaded what the agent has, and nothing else."""

import subprocess
import sys

from tests.support.agent_process import environment

LOADED = """
import sys
print(*{name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names)
"""
AGENT = """
import beacond.cli.agent, beacond.agent
beacond.agent._load_http()
beacond.agent._load_rest()
"""


def libraries(imports: str) -> set[str]:
    """The third-party packages that a program has loaded after these imports."""
    done = subprocess.run(
        [sys.executable, "-c", imports + LOADED],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return set(done.stdout.split()) - {"beacond", "tests"}


def test_the_bare_stack_is_the_libraries_of_an_agent() -> None:
    found = libraries("import tests.bench.bare_stack")
    assert found == libraries(AGENT)
    assert {"aiohttp", "click", "msgpack", "prometheus_client", "pydantic", "uvloop"} <= found
