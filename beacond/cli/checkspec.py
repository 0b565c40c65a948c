"""Checks as the command line has them: `http:/health,interval=5s`, `tcp`, `ttl:30s`."""

import difflib
import re
from typing import Any

KEYS = (
    "name",
    "port",
    "interval",
    "timeout",
    "failures",
    "passes",
    "deregister_after",
    "status",
)
_NUMBERS = ("port", "failures", "passes")

RULE = (
    "http:/PATH, http://HOST:PORT/PATH, tcp, tcp:PORT or ttl:DURATION, "
    "each with ,KEY=VALUE where wanted"
)

# A comma begins an option only before `word=`: paths and queries may hold commas.
_OPTION = re.compile(r",(?=[a-z_]+=)")


def parse_check(spec: str) -> dict[str, Any]:
    """A check as the API takes it. Durations and limits are the agent's to judge.

    Raises ValueError, whose message says what is allowed.
    """
    head, *options = _OPTION.split(spec.strip())
    check = _head(head)
    for option in options:
        key, _, value = option.partition("=")
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KEYS)}"
            raise ValueError(f"{key!r} is no option of a check; {hint}")
        if key in check:
            raise ValueError(f"{key!r} is given twice")
        check[key] = _number(key, value) if key in _NUMBERS else value
    return check


def _head(head: str) -> dict[str, Any]:
    kind, colon, rest = head.partition(":")
    match kind:
        case "http" | "https" if rest.startswith("//"):
            return {"type": "http", "url": head}
        case "http" if rest.startswith("/"):
            return {"type": "http", "path": rest}
        case "tcp" if not colon:
            return {"type": "tcp"}
        case "tcp" if rest:
            return {"type": "tcp", "port": _number("port", rest)}
        case "ttl" if rest:
            return {"type": "ttl", "ttl": rest}
        case "exec":
            raise ValueError("exec checks come only from the configuration or services_dir")
        case _:
            raise ValueError(f"{head!r} is no check; write {RULE}")


def _number(key: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise ValueError(f"{key} must be a whole number, not {text!r}")
    return int(text)
