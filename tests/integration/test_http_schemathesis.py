"""The server does what `proto/openapi.json` says, for requests nobody thought of."""

import asyncio
from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core.control import SkipTest

from tests.support.http_agent import http_agent

# What the description can't say as a pattern: durations in range, URLs that parse.
schemathesis.openapi.format("beacond-duration", st.sampled_from(["1s", "2.5s", "1m30s", "5m"]))
schemathesis.openapi.format("uri", st.sampled_from(["http://a.example", "https://[::1]:8/x?y"]))

EXAMPLES = 12
"""For each operation and mode."""


def try_out(base: str, mode: GenerationMode) -> int:
    """How many operations were tried; raises what schemathesis finds."""
    config = SchemathesisConfig(
        projects=ProjectsConfig(default=ProjectConfig(generation=GenerationConfig(modes=[mode])))
    )
    schema = schemathesis.openapi.from_url(f"{base}/openapi.json", config=config)
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def try_one(case: schemathesis.Case) -> None:
            case.call_and_validate(timeout=10)

        # There is nothing to get wrong where there are neither parameters nor a body.
        with suppress(SkipTest):
            try_one()
            tried += 1
    return tried


@pytest.mark.parametrize(
    ("mode", "least"), [(GenerationMode.POSITIVE, 17), (GenerationMode.NEGATIVE, 9)]
)
async def test_answers_are_as_described(mode: GenerationMode, least: int) -> None:
    async with http_agent() as agent:
        await agent.register("web-1", checks=[{"type": "ttl", "ttl": "1h"}])
        tried = await asyncio.to_thread(try_out, agent.base, mode)
    assert tried >= least
