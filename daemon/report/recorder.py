# SPDX-License-Identifier: Apache-2.0
"""Recording what the daemon says: samples of sessions, and each call once it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from agentcg.daemon.client import Client
from agentcg.daemon.client.client import CALLS_LISTED_MAX
from agentcg.daemon.messages import Call, HistoryQuery
from agentcg.daemon.report.recording import RecordedCall, Recording, sample_of
from agentcg.errors import NotFound


class Recorder:
    """Takes a look at a time; every call that ended since `since` comes once."""

    def __init__(self, client: Client, session: str | None, since: float) -> None:
        self._client = client
        self._session = session
        self._since = since
        self._seen: set[tuple[str, float]] = set()

    def look(self) -> Recording:
        """What is new. Raises `Unavailable`."""
        now = time.time()
        sessions = [self._client.session(self._session)] if self._session else None
        samples = [sample_of(one, now) for one in sessions or self._client.sessions()]
        calls = self._client.calls(session=self._session, state="ended", limit=CALLS_LISTED_MAX)
        return Recording(calls=[self._with_curve(one) for one in self._new(calls)], samples=samples)

    def _new(self, calls: list[Call]) -> Iterator[Call]:
        for call in calls:
            key = (call.id, call.begun_at)
            if (call.ended_at or 0.0) >= self._since and key not in self._seen:
                self._seen.add(key)
                yield call

    def _with_curve(self, call: Call) -> RecordedCall:
        return with_curve(self._client, call)


def with_curve(client: Client, call: Call) -> RecordedCall:
    """`call` with its curve, if that is still known."""
    try:
        return RecordedCall(call=call, curve=client.curve(call.id))
    except NotFound:
        return RecordedCall(call=call)


def from_history(
    client: Client, query: HistoryQuery, limit: int,
    pages: Callable[[Client, HistoryQuery, int], Iterator[Call]],
) -> Recording:  # fmt: skip
    """The latest `limit` calls from the daemon's disk; there are no samples of the session."""
    calls = list(pages(client, query, limit))[::-1]
    return Recording(calls=[with_curve(client, call) for call in calls])
