"""Server-sent events, read line by line; resumed after a lost connection."""

import http.client
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from beacond.cli.client import Client, Params
from beacond.cli.errors import Refused, Unreachable

SILENCE_MAX_S = 45.0
"""The agent sends a comment every 15 s; after three missed ones the connection is dead."""
LINE_MAX = 64 * 1024 * 1024
RETRY_S = 2.0
RETRY_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class Message:
    event: str
    data: str
    id: str


def follow(
    client: Client, params: Params, since: str | None, lost: Callable[[str], None]
) -> Iterator[Message]:
    """Messages for ever; after a lost connection on from the last id seen.

    `lost` is told once for each outage. Raises Unreachable if the first connection fails, Refused
    if the agent says no.
    """
    last_id, retry_s, connected, told = since, RETRY_S, False, False
    while True:
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        why = "the connection was lost"
        try:
            with client.stream("/v1/events", params, headers, SILENCE_MAX_S) as response:
                connected, told, retry_s = True, False, RETRY_S
                for message in read(response):
                    last_id = message.id or last_id
                    yield message
        except (Refused, Unreachable) as error:
            said_no = isinstance(error, Refused) and error.status < 500
            if said_no or not connected:
                raise
            why = error.message
        except (OSError, http.client.HTTPException):
            pass
        if not told:
            lost(why)
            told = True
        time.sleep(retry_s * random.uniform(0.5, 1.0))
        retry_s = min(retry_s * 2, RETRY_MAX_S)


def read(response: http.client.HTTPResponse) -> Iterator[Message]:
    """Until the stream ends. What broke off in the middle of a message is not told (as the HTML
    standard has it, section 9.2.6). Raises OSError or HTTPException for a broken connection."""
    event, event_id = "message", ""
    data: list[str] = []
    while line := response.readline(LINE_MAX):
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "" if not text:
                if data:
                    yield Message(event, "\n".join(data), event_id)
                event, data = "message", []
            case "event":
                event = value
            case "data":
                data.append(value)
            case "id":
                event_id = value
