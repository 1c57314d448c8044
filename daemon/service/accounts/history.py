# SPDX-License-Identifier: Apache-2.0
"""Ended calls on disk: the loop's side of `agentcg.daemon.history`.

Whoever may see a call may see its history: its owner, root and group agentcg, and a process that
lives in the very session (by id: a later session of the same name is another one).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from agentcg.daemon.history import Bounds, Entry, Found, Reader, Wanted, Writer
from agentcg.daemon.messages import Action, Call, Control, Curve, HistoryHealth, HistoryList
from agentcg.daemon.service.accounts.curves import unpack
from agentcg.daemon.service.state import EndedCall
from agentcg.errors import LimitExceeded, NotFound, Unavailable

log = logging.getLogger(__name__)

FILE = "history.db"
SEARCHES_PER_UID_MAX = 16
"""Searches of one user that run or wait; one of all runs at a time."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Call).decode
_decode_actions = msgspec.json.Decoder(list[Action]).decode
_Result = TypeVar("_Result")


class History:
    """Keeps calls and finds them again. `directory`: where; None: nothing is kept."""

    def __init__(self, directory: Path | None, bounds: Bounds | None = None) -> None:
        self._directory = directory
        self._bounds = bounds
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._searcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="history-search")
        self._searches: Counter[int] = Counter()  # by uid; none without any

    def start(self) -> None:
        """Begin to write. A directory that cannot be made is said in health, like a full disk."""
        if self._directory is None:
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            log.error("history: %s cannot be made: %s", self._directory, error.strerror)
        path = self._directory / FILE
        self._writer, self._reader = Writer(path, self._bounds), Reader(path)
        self._writer.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._searcher.shutdown(wait=False, cancel_futures=True)
        if self._writer is not None:
            self._writer.stop()

    def keep(self, ended: EndedCall) -> None:
        """Have the record of an ended call written, or written again with what came later."""
        if self._writer is None:
            return
        call = ended.call
        self._writer.put(
            Entry(
                id=call.id,
                session=call.session,
                session_id=ended.session_id,
                owner=ended.owner,
                tool=call.tool,
                category=call.category,
                command=call.command,
                begun_at=call.begun_at,
                ended_at=call.begun_at if call.ended_at is None else call.ended_at,
                record=_encode(call),
                curve=ended.curve,
                actions=_encode(ended.actions),
            )
        )

    async def calls(self, uid: int, wanted: Wanted) -> HistoryList:
        """The latest calls that match, for user `uid`; raises `Unavailable`, `HistoryError`,
        `LimitExceeded`."""
        found = await self._search(uid, lambda reader: reader.calls(wanted))
        calls = [call for one in found if (call := _call(one)) is not None]
        more = len(found) == wanted.limit
        return HistoryList(calls=calls, next_before=found[-1].number if found and more else None)

    async def call(self, uid: int, call_id: str, wanted: Wanted) -> Call:
        """One call, of what `wanted` lets the asker see; raises `NotFound`, too."""
        return (await self._one(uid, call_id, wanted))[1]

    async def curve(self, uid: int, call_id: str, wanted: Wanted) -> Curve:
        """How the use of one call went, likewise."""
        found, call = await self._one(uid, call_id, wanted)
        return unpack(found.curve, call)

    async def actions(self, uid: int, call_id: str, wanted: Wanted) -> list[Action]:
        """What was decided about one call and done to it, likewise."""
        found, _ = await self._one(uid, call_id, wanted)
        try:
            return [] if found.actions is None else _decode_actions(found.actions)
        except msgspec.DecodeError as error:  # a newer agentcg wrote it
            log.warning("history: actions of number %d are not readable: %s", found.number, error)
            return []

    async def _one(self, uid: int, call_id: str, wanted: Wanted) -> tuple[Found, Call]:
        found = None
        if self._reader is not None:
            found = await self._search(uid, lambda reader: reader.call(call_id, wanted))
        call = None if found is None else _call(found)
        if found is None or call is None:
            raise NotFound(
                f"there is no call {call_id!r}", remedy="it is unknown, or older than the history"
            )
        return found, call

    async def _search(self, uid: int, look: Callable[[Reader], _Result]) -> _Result:
        reader = self._reader
        if reader is None:
            raise Unavailable(
                "no history is kept", remedy="start agentcgd with --state DIR, a directory"
            )
        with self._one_more(uid):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._searcher, look, reader)

    @contextmanager
    def _one_more(self, uid: int) -> Iterator[None]:
        """One more search of `uid`; raises `LimitExceeded`."""
        if self._searches[uid] >= SEARCHES_PER_UID_MAX:
            raise LimitExceeded(
                f"{SEARCHES_PER_UID_MAX} searches of the history by uid {uid} wait",
                remedy="wait for some of them",
            )
        self._searches[uid] += 1
        try:
            yield
        finally:
            self._searches[uid] -= 1
            if self._searches[uid] == 0:
                del self._searches[uid]

    # --- How it is ---

    def health(self) -> HistoryHealth | None:
        """Where it is, what is wrong with it, what was lost."""
        if self._writer is None:
            return None
        status = self._writer.status()
        return HistoryHealth(
            path=str(status.path),
            problem=status.problem,
            set_aside=status.set_aside,
            lost=status.lost,
            waiting=status.waiting,
        )

    def controls(self) -> list[Control]:
        """Degraded while it is not written, and once anything was lost or set aside."""
        health = self.health()
        if health is None:
            return []
        lost = f"{health.lost} calls were not kept" if health.lost else None
        wrong = [text for text in (health.problem, lost, health.set_aside) if text]
        return [
            Control(
                name="history",
                state="degraded" if wrong else "enforced",
                backend="sqlite",
                detail="; ".join(wrong),
            )
        ]


def _call(found: Found) -> Call | None:
    """The call as it was kept; None if this version cannot read it."""
    try:
        return _decode(found.record)
    except msgspec.DecodeError as error:
        log.warning("history: number %d is not readable: %s", found.number, error)
        return None


def default_directory() -> Path:
    """What systemd made for the unit (StateDirectory=), else the same by its usual name."""
    return Path(os.environ.get("STATE_DIRECTORY", "/var/lib/agentcg").split(":")[0])
