# SPDX-License-Identifier: Apache-2.0
"""The daemon's handle on the detection program."""

from __future__ import annotations

import os
from collections.abc import Iterable
from ctypes import c_uint32, c_uint64
from pathlib import Path

from agentcg.bpf import libbpf, pins
from agentcg.bpf.pinned import Pinned, refused
from agentcg.bpf.sights import Sight, sight_of
from agentcg.bpf.tunables import Tunables
from agentcg.errors import BpfError

SIGHTS_PER_POLL = 1024
NAMES_MAX = 64
PREFIX_BYTES = 8
"""Names are told apart by so many first bytes in the kernel: compare `comm` and `environment`."""


class Detection(Pinned):
    """Watched cgroups, and what their processes do. Not thread-safe.

    What is watched and what was not read yet outlasts the process; one process at a time reads.
    """

    WHAT, RING, LOST, SCOPE = "detection", "news", "news_lost", "detection_scope"
    PER_POLL = SIGHTS_PER_POLL

    def __init__(self, directory: Path) -> None:
        """Open the set of pins in `directory`; `open` is the way to get one."""
        super().__init__(directory)
        self._watched = self._map("watched", c_uint64, c_uint32)
        self._names = self._map("names", c_uint64, c_uint32)
        self._at_once = self._map("at_once", c_uint64, c_uint32)
        self._variables = self._map("variables", c_uint64, c_uint32)

    @classmethod
    def open(
        cls,
        scope: Path,
        pin_root: Path | str = pins.PIN_ROOT,
        timeout_s: float = 240.0,
        tunables: Tunables | None = None,
    ) -> Detection:
        """Attach to the running program, or compile and start it; `scope` is the cgroup that has
        all sessions below it. Blocks up to `timeout_s`. BpfError says what is missing."""
        return cls.attach(pin_root, timeout_s, tunables, scope)

    def watch(self, cgroup_id: int, *, each: bool = False) -> None:
        """Report what processes in this cgroup itself do. BpfError when the map is full.

        `each`: the descriptor becomes readable for every program executed there; else for those
        that `tell_at_once` names, for those with a variable, and by and by for all others.
        """
        try:
            self._watched.put(cgroup_id, c_uint32(each))
        except OSError as error:
            remedy = "close sessions, or raise the size of the map"
            raise refused(cgroup_id, "watched", error, remedy) from error

    def unwatch(self, cgroup_id: int) -> None:
        """Stop that."""
        self._watched.remove(cgroup_id)

    def watched(self) -> set[int]:
        """Ids of all watched cgroups, also those of an earlier daemon."""
        return set(self._watched.keys())

    def look_for(self, names: Iterable[str]) -> None:
        """Report executions of programs of such names (a task's `comm`: the first 15 bytes of
        the file's name) also outside of the scope. Replaces what was looked for before."""
        self._replace(self._names, {os.fsencode(name) for name in names})

    def tell_at_once(self, names: Iterable[str]) -> None:
        """Programs of which to be told at once, likewise. Replaces those before."""
        self._replace(self._at_once, {os.fsencode(name) for name in names})

    def read_variables(self, names: Iterable[str]) -> None:
        """Report these variables of the environment. Replaces those before."""
        self._replace(self._variables, {f"{name}=".encode() for name in names})

    @staticmethod
    def _replace(table: libbpf.Map, names: set[bytes]) -> None:
        keys = {
            int.from_bytes(name[:PREFIX_BYTES].ljust(PREFIX_BYTES, b"\0"), "little")
            for name in names
        }
        if len(keys) > NAMES_MAX:
            raise BpfError(f"{len(keys)} names to look for, at most {NAMES_MAX}")
        for old in set(table.keys()) - keys:
            table.remove(old)
        for key in keys:
            table.put(key, c_uint32(1))

    def poll(self) -> list[Sight]:
        """Sights that wait, oldest first, at most SIGHTS_PER_POLL; never blocks."""
        sights = map(sight_of, self._read())
        return [sight for sight in sights if sight is not None]
