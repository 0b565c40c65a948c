import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beacond.cli.checkspec import KEYS, parse_check
from beacond.spec.registration import parse_registration


@pytest.mark.parametrize(
    ("spec", "check"),
    [
        ("http:/health", {"type": "http", "path": "/health"}),
        ("http:/health,interval=5s", {"type": "http", "path": "/health", "interval": "5s"}),
        ("http:/h,port=9000", {"type": "http", "path": "/h", "port": 9000}),
        ("http:/a,b?c=1,2", {"type": "http", "path": "/a,b?c=1,2"}),
        ("http://127.0.0.1:1/x", {"type": "http", "url": "http://127.0.0.1:1/x"}),
        (
            "https://[::1]:1/x,timeout=1s",
            {"type": "http", "url": "https://[::1]:1/x", "timeout": "1s"},
        ),
        ("tcp", {"type": "tcp"}),
        ("tcp:9000,failures=2,passes=3", {"type": "tcp", "port": 9000, "failures": 2, "passes": 3}),
        ("ttl:30s", {"type": "ttl", "ttl": "30s"}),
        (
            "ttl:30s,name=beat,deregister_after=5m,status=passing",
            {
                "type": "ttl",
                "ttl": "30s",
                "name": "beat",
                "deregister_after": "5m",
                "status": "passing",
            },
        ),
    ],
)
def test_a_spec_becomes_a_check_that_the_agent_takes(spec, check):
    assert parse_check(spec) == check
    body = {"service": "web", "port": 80, "checks": [parse_check(spec)]}
    registered = parse_registration("web-80", body, default_address="192.0.2.1")
    assert registered.checks[0].type.value == check["type"]


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("", "'' is no check; write http:/PATH"),
        ("http", "'http' is no check"),
        ("http:health", "'http:health' is no check"),
        ("udp:53", "'udp:53' is no check"),
        ("ttl", "'ttl' is no check"),
        ("ttl:", "'ttl:' is no check"),
        ("tcp:", "'tcp:' is no check"),
        ("tcp:http", "port must be a whole number, not 'http'"),
        ("tcp,failures=many", "failures must be a whole number, not 'many'"),
        ("tcp,failures=²", "failures must be a whole number"),
        ("http:/h,intervall=5s", "'intervall' is no option of a check; did you mean 'interval'?"),
        ("http:/h,x=5s", "'x' is no option of a check; there are name, port, interval"),
        ("tcp,name=a,name=b", "'name' is given twice"),
        ("tcp:1,port=2", "'port' is given twice"),
        ("exec:/bin/true", "exec checks come only from the configuration or services_dir"),
    ],
)
def test_a_wrong_spec_is_refused_with_what_is_allowed(spec, complaint):
    with pytest.raises(ValueError, match="^" + re.escape(complaint)):
        parse_check(spec)


_PIECES = st.sampled_from(["http:", "tcp", "ttl:", "/", ",", "=", "1", "5s", *KEYS]) | st.text(
    max_size=3
)


@given(st.lists(_PIECES, max_size=8).map("".join))
def test_any_text_is_a_check_or_a_complaint(spec):
    try:
        check = parse_check(spec)
    except ValueError:
        return
    assert check["type"] in ("http", "tcp", "ttl")
