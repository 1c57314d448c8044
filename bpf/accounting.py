# SPDX-License-Identifier: Apache-2.0
"""The daemon's handle on the accounting program."""

from __future__ import annotations

import errno
import os
from ctypes import c_uint32, c_uint64
from pathlib import Path

from agentcg.bpf import libbpf, pins
from agentcg.bpf.events import Counters, ExecEvent, ExitEvent, OomEvent, counters_of, event_of
from agentcg.bpf.records import AccountRecord
from agentcg.bpf.tunables import Tunables
from agentcg.errors import BpfError

EVENTS_PER_POLL = 4096  # bounds the time and memory of one poll; more waits for the next


class Accounting:
    """Tracked leaves, their counters and events.

    Tracking, counters and unread events live in the kernel: they outlast `close`, the process
    and its death. One process at a time reads events. Not thread-safe.
    """

    def __init__(self, directory: Path) -> None:
        """Open the set of pins in `directory`; `open` is the way to get one."""
        accounts, lost, scope, events = (
            libbpf.get_pinned(directory / f"map_{name}")
            for name in ("accounts", "lost", "scope", "events")
        )
        self._accounts = libbpf.Map(accounts, c_uint64, AccountRecord)
        self._lost = libbpf.Map(lost, c_uint32, c_uint64)
        self._scope = libbpf.Map(scope, c_uint32, c_uint32)
        self._events = events
        self._ring = libbpf.Ring(events, EVENTS_PER_POLL)
        self._sees_oom = (directory / "link_on_victim").exists()
        self._pin_root = directory.parent

    @classmethod
    def open(
        cls,
        pin_root: Path | str = pins.PIN_ROOT,
        timeout_s: float = 60.0,
        tunables: Tunables | None = None,
        scope: Path | None = None,
    ) -> Accounting:
        """Attach to the running program, or compile and start it (a second natively).

        Blocks up to `timeout_s`. Sets of other versions or sizes below `pin_root` are removed
        with their counts. `scope` is a cgroup that has all tracked leaves below it: with it, the
        rest of the host pays next to nothing. BpfError says what is missing.
        """
        try:
            with pins.locked_set(Path(pin_root), tunables or Tunables(), timeout_s) as directory:
                accounting = cls(directory)
            accounting._limit_to(scope)
        except OSError as error:
            raise BpfError(
                f"accounting cannot be opened: {error.filename or pin_root}: {error.strerror}",
                remedy="see agentcg doctor",
            ) from error
        return accounting

    def track(self, cgroup_id: int) -> None:
        """Count what happens in this cgroup from now on; counts of one already tracked go on.

        BpfError when the map is full: nothing is evicted for it.
        """
        try:
            self._accounts.put(cgroup_id, AccountRecord(), libbpf.NOEXIST)
        except OSError as error:
            if error.errno == errno.EEXIST:
                return
            full = error.errno in (errno.E2BIG, errno.ENOMEM)
            raise BpfError(
                f"cgroup {cgroup_id} cannot be tracked: {error.strerror}",
                remedy="end calls that linger, or raise the size of the map" if full else "",
            ) from error

    def untrack(self, cgroup_id: int) -> Counters | None:
        """Stop counting; the last counters, or None if the cgroup was not tracked."""
        return self._counters(self._accounts.pop(cgroup_id))

    def counters(self, cgroup_id: int) -> Counters | None:
        """Counters so far; None if the cgroup is not tracked."""
        return self._counters(self._accounts.get(cgroup_id))

    def tracked(self) -> set[int]:
        """Ids of all tracked cgroups, also those that an earlier daemon tracked."""
        return set(self._accounts.keys())

    def fileno(self) -> int:
        """A descriptor that is readable while events wait."""
        return self._ring.fileno()

    def poll(self) -> list[ExecEvent | ExitEvent | OomEvent]:
        """Events that wait, oldest first, at most EVENTS_PER_POLL; never blocks."""
        events = map(event_of, self._ring.read())
        return [event for event in events if event is not None]

    @property
    def events_lost(self) -> int:
        """Events dropped because the ring was full, since the program was attached."""
        total = self._lost.get(0)
        return 0 if total is None else int(total.value)

    def close(self) -> None:
        """Let go; the program goes on counting and filling the ring."""
        self._ring.close()
        os.close(self._events)
        self._accounts.close()
        self._lost.close()
        self._scope.close()

    def unpin(self) -> None:
        """Detach the program and forget all counts (for uninstalling). Closes too."""
        self.close()
        pins.remove_all(self._pin_root, timeout_s=10)

    def _limit_to(self, scope: Path | None) -> None:
        """Set the scope, or remove the one that an earlier process set."""
        if scope is None:
            self._scope.remove(0)
            return
        directory = os.open(scope, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._scope.put(0, c_uint32(directory))
        finally:
            os.close(directory)

    def _counters(self, record: AccountRecord | None) -> Counters | None:
        return None if record is None else counters_of(record, sees_oom=self._sees_oom)
