"""Answers with the heads that every read bears, and a bounded keep of rendered ones."""

from collections.abc import Callable, Hashable

from aiohttp import web

from beacond.driver import Driver

JSON = "application/json"
ROUTE = web.RequestKey("route", str)
"""What a handler sets where the metrics should not count a request under its path's pattern."""
KEPT_MAX = 1024
"""Rendered answers kept."""
KEPT_BYTES_MAX = 32 * 1024 * 1024


class Replies:
    """Makes responses to reads of this driver's view."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def read(
        self,
        body: bytes,
        *,
        index: int | None = None,
        status: int = 200,
        content_type: str = JSON,
    ) -> web.Response:
        """`index`: of what the body tells; None: of the whole view."""
        return web.Response(
            body=body, status=status, headers={"Content-Type": content_type, **self.heads(index)}
        )

    def heads(self, index: int | None = None) -> dict[str, str]:
        view = self._driver.view
        heads = {
            "Cache-Control": "no-store",
            "X-Beacond-Index": str(view.index if index is None else index),
        }
        stale_since = view.sight.stale_since
        if stale_since is not None:
            stale_s = max(0, int(self._driver.now_unix() - stale_since))
            heads["X-Beacond-Stale"] = str(stale_s)
        return heads


class Kept:
    """Rendered answers by question, each valid for one stamp. The oldest go first."""

    def __init__(self, most: int = KEPT_MAX, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._most = most
        self._bytes_max = bytes_max
        self._bytes = 0
        self._answers: dict[Hashable, tuple[Hashable, bytes]] = {}

    def get(self, question: Hashable, stamp: Hashable, render: Callable[[], bytes]) -> bytes:
        """The answer to `question` as of `stamp`, rendered at most once while it is kept."""
        found = self._answers.get(question)
        if found is not None and found[0] == stamp:
            return found[1]
        if found is not None:
            self._drop(question)
        body = render()
        if len(body) <= self._bytes_max:
            self._answers[question] = (stamp, body)
            self._bytes += len(body)
        while len(self._answers) > self._most or self._bytes > self._bytes_max:
            self._drop(next(iter(self._answers)))
        return body

    def _drop(self, question: Hashable) -> None:
        self._bytes -= len(self._answers.pop(question)[1])
