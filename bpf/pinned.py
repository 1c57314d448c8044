# SPDX-License-Identifier: Apache-2.0
"""What the daemon's handles on pinned programs have in common: maps, a ring, a scope."""

from __future__ import annotations

import errno
import os
from ctypes import c_uint32, c_uint64
from pathlib import Path
from typing import Any, ClassVar, Self

from agentcg.bpf import libbpf, pins
from agentcg.bpf.tunables import Tunables
from agentcg.closing import Closing
from agentcg.errors import BpfError


class Pinned(Closing):
    """The maps of one program in a set of pins, with its ring of records. Not thread-safe.

    What the program counts and has written lives in the kernel and outlasts the process; one
    process at a time reads the ring.
    """

    WHAT: ClassVar[str]
    RING: ClassVar[str]
    LOST: ClassVar[str]
    """Name of the array whose one element counts records that found the ring full."""
    SCOPE: ClassVar[str]
    """Name of the array of cgroups whose one element has all that matters below it."""
    PER_POLL: ClassVar[int]
    """Bounds the time and memory of one poll; more waits for the next."""

    def __init__(self, directory: Path) -> None:
        """Open the set of pins in `directory`; `open` is the way to get one."""
        self._directory = directory
        self._maps: list[libbpf.Map] = []
        self._lost = self._map(self.LOST, c_uint32, c_uint64)
        self._scope = self._map(self.SCOPE, c_uint32, c_uint32)
        self._ring_map = self._map(self.RING, c_uint32, c_uint32)  # only its descriptor is used
        self._ring: libbpf.Ring | None = libbpf.Ring(self._ring_map.fd, self.PER_POLL)

    def _map(self, name: str, key: type[Any], value: type[Any]) -> libbpf.Map:
        """A map of the set; closed with it."""
        opened = libbpf.Map(libbpf.get_pinned(self._directory / f"map_{name}"), key, value)
        self._maps.append(opened)
        return opened

    @classmethod
    def attach(
        cls, pin_root: Path | str, timeout_s: float, tunables: Tunables | None, scope: Path | None
    ) -> Self:
        """Attach to the running program, or compile and start it (a second natively).

        Blocks up to `timeout_s`. Sets of other versions or sizes below `pin_root` are removed
        with their counts. `scope` is a cgroup that has all that matters below it, None: anything
        may matter. BpfError says what is missing.
        """
        try:
            with pins.locked_set(Path(pin_root), tunables or Tunables(), timeout_s) as directory:
                opened = cls(directory)
            opened._limit_to(scope)
        except OSError as error:
            raise BpfError(
                f"{cls.WHAT} cannot be opened: {error.filename or pin_root}: {error.strerror}",
                remedy="see agentcg doctor",
            ) from error
        return opened

    def fileno(self) -> int:
        """A descriptor that is readable while records wait."""
        return self._opened_ring().fileno()

    def _read(self) -> list[bytes]:
        """Records that wait, oldest first, at most `PER_POLL`; never blocks."""
        return self._opened_ring().read()

    def _opened_ring(self) -> libbpf.Ring:
        if self._ring is None:
            raise BpfError(f"{self.WHAT} is closed")
        return self._ring

    @property
    def lost(self) -> int:
        """Records dropped because the ring was full, since the program was attached."""
        total = self._lost.get(0)
        return 0 if total is None else int(total.value)

    def close(self) -> None:
        """Let go; the program goes on counting and filling the ring. Twice does no harm."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        for each in self._maps:
            each.close()

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


def refused(cgroup_id: int, what: str, error: OSError, remedy: str) -> BpfError:
    """The error to raise where a cgroup cannot be entered in a map; `remedy`: if it is full."""
    full = error.errno in (errno.E2BIG, errno.ENOMEM)
    return BpfError(
        f"cgroup {cgroup_id} cannot be {what}: {error.strerror}", remedy=remedy if full else ""
    )
