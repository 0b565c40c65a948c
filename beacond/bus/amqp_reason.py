"""What went wrong with a broker, in one line for people: the same line for the same cause."""

import asyncio
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from aiormq.exceptions import AMQPError, InvalidFrameError, ProbableAuthenticationError
from pamqp.exceptions import PAMQPException

REASON_LENGTH_MAX = 200

LIBRARY_ERRORS = (
    *(AMQPError, PAMQPException, OSError, StopAsyncIteration, EOFError),
    *(RuntimeError, ValueError, LookupError, AttributeError),
)
"""What the libraries raise when a broker refuses, goes away, or is no broker at all."""

_OUR_QUEUE = re.compile(r"amq\.gen-[\w-]+")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


def explain(error: BaseException | None) -> str:
    text = _explain(error)
    # The broker names our queue anew at every attempt.
    text = _UNPRINTABLE.sub(" ", _OUR_QUEUE.sub("amq.gen-*", text)).strip()
    return text[:REASON_LENGTH_MAX]


def _explain(error: BaseException | None) -> str:
    cause = error.__cause__ if error is not None else None
    match error:
        case None:
            return "closed"
        case ProbableAuthenticationError():
            return "the broker refuses user or password"
        case ssl.SSLCertVerificationError():
            return f"the broker's certificate is not accepted: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        case TimeoutError():
            return "no answer in time"
        case AMQPError() if isinstance(cause, OSError):
            return _explain(cause)
        case StopAsyncIteration():
            # So the library says that the connection ended before the first byte, as it does
            # behind a load balancer that has no broker to offer.
            return "closed without a reason"
        case AMQPError() if "unexpectedly closed" in str(error):
            return "closed without a reason"
        case InvalidFrameError() if "Connection.OpenOk" in str(error):
            # The library keeps the broker's text to itself here.
            return "the broker refuses the vhost: there is none of that name, or no access to it"
        case OSError(errno=int(number)) if number > 0 and not isinstance(error, AMQPError):
            return os.strerror(number).lower()
        case _:
            texts = [part for part in error.args if isinstance(part, str) and part]
            return " ".join(texts) or type(error).__name__


class SessionError(Exception):
    """Why no session could be made: one line for people. `refused`: the broker is there, and said
    no to us."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


@contextmanager
def failing(step: str) -> Iterator[None]:
    """Turn what the libraries raise into a SessionError that names the step.

    Who is cancelled meanwhile ends so, whatever became of the step. The library can't be trusted
    with that: where its answer comes in the same moment, `asyncio.wait_for` (until Python 3.12)
    goes on as if nobody had been cancelled, and where the connection ends, only that is raised.
    """
    try:
        yield
    except (asyncio.CancelledError, *LIBRARY_ERRORS) as error:
        if _is_cancelled():
            raise asyncio.CancelledError from error
        if isinstance(error, asyncio.CancelledError):
            # Nobody cancelled us: so the library ends calls on a connection that closed.
            raise SessionError(f"{step}: connection closed") from error
        raise SessionError(f"{step}: {explain(error)}", refused=_is_refusal(error)) from error
    if _is_cancelled():
        raise asyncio.CancelledError


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_refusal(error: BaseException) -> bool:
    """Said by the broker; not: it is away, standing still or going down."""
    if isinstance(error, ProbableAuthenticationError | ssl.SSLCertVerificationError):
        return True
    lost = isinstance(error, OSError | StopAsyncIteration) or isinstance(error.__cause__, OSError)
    return not lost and "unexpectedly closed" not in str(error)
