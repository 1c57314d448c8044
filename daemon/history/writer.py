# SPDX-License-Identifier: Apache-2.0
"""A thread that writes the history, so that nobody waits for a disk.

Entries wait in a bounded queue and are written together four times a second. While the database
cannot be written they go on waiting, and it is tried again every few seconds; what finds the
queue full is lost and counted. A daemon that is killed loses what was waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from agentcg.daemon.history.store import Bounds, Entry, Store, open_store
from agentcg.errors import HistoryError

log = logging.getLogger(__name__)

WAITING_MAX = 8192  # some 20 MiB
GATHER_S = 0.25
RETRY_S = 5.0
PRUNE_S = 60.0
FLUSH_S = 5.0
_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Status:
    """How the history is. `problem`: why it is not written now; `set_aside`: what was renamed."""

    path: Path
    problem: str | None
    set_aside: str | None
    lost: int
    waiting: int


class Writer:
    """Takes entries on any thread, writes them on its own."""

    def __init__(
        self, path: Path, bounds: Bounds | None = None, *, waiting_max: int = WAITING_MAX,
        retry_s: float = RETRY_S,
    ) -> None:  # fmt: skip
        self.path = path
        self._bounds = bounds or Bounds()
        self._waiting: deque[Entry] = deque()
        self._waiting_max = waiting_max
        self._retry_s = retry_s
        self._store: Store | None = None
        self._useless: HistoryError | None = None
        self._problem: str | None = None
        self._set_aside: str | None = None
        self._lost = 0
        self._prune_at = 0.0
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        """Open the database, or find that it cannot be opened now, and begin to write."""
        if not self._write():
            self._news.set()
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Have `entry` written soon; never blocks."""
        if len(self._waiting) >= self._waiting_max:
            self._lost += 1
            return
        self._waiting.append(entry)
        if not self._news.is_set():
            self._news.set()

    def status(self) -> Status:
        """As it is now."""
        return Status(
            self.path, self._problem, self._set_aside, self._lost, waiting=len(self._waiting)
        )

    def stop(self) -> None:
        """Write what waits, if that is possible now, and end."""
        self._stopping.set()
        self._news.set()
        self._thread.join(FLUSH_S)
        if self._waiting:
            log.error("history: %d calls are lost, not written: %s",
                      len(self._waiting), self._problem)  # fmt: skip

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._news.wait(PRUNE_S)
            self._stopping.wait(GATHER_S)
            self._news.clear()
            if not self._write() and not self._stopping.wait(self._retry_s):
                self._news.set()
        self._write()
        if self._store is not None:
            self._store.close()

    def _write(self) -> bool:
        """Write all that waits; False if it must be tried again."""
        try:
            store = self._opened()
            while self._waiting:
                batch = [self._waiting[i] for i in range(min(_AT_ONCE, len(self._waiting)))]
                try:
                    store.add(batch)
                except HistoryError:
                    raise
                except Exception:  # a bug with one batch must not end the history
                    log.exception("history: %d calls cannot be written", len(batch))
                    self._lost += len(batch)
                for _ in batch:
                    self._waiting.popleft()
            if time.monotonic() >= self._prune_at:
                self._prune_at = time.monotonic() + (0 if store.prune(self._bounds, time.time())
                                                     else PRUNE_S)  # fmt: skip
        except HistoryError as error:
            self._failed(error)
            return False
        if self._problem is not None:
            log.warning("history: written again")
        self._problem = None
        return True

    def _opened(self) -> Store:
        if self._store is not None and not self._store.is_there():
            log.error("history: %s was removed or replaced; a new one is begun", self.path)
            self._store.close()
            self._store = None
        if self._store is None:
            self._store, set_aside = open_store(self.path, self._useless)
            self._useless = None
            if set_aside is not None:
                self._set_aside = set_aside
                log.error("history: %s", set_aside)
        return self._store

    def _failed(self, error: HistoryError) -> None:
        if str(error) != self._problem:  # said once, not every few seconds
            log.error("history: %s", error)
        self._problem = str(error)
        if error.set_aside and self._store is not None:
            self._store.close()
            self._store, self._useless = None, error
