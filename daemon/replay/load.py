# SPDX-License-Identifier: Apache-2.0
"""Real load: memory that is touched, CPU that is burned, along the steps of a plan."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
import zlib

from agentcg.daemon.replay.plan import Step

PAGE_BYTES = 4096
BURN_BYTES = 16 << 10  # checksummed at a time: well under the shortest step at any speed
SLEEP_MIN_S = 0.0005  # below this, waking up costs more than waiting
_PR_SET_THP_DISABLE = 41
_PR_SET_PDEATHSIG = 1
_SIGKILL = 9

_libc = ctypes.CDLL(None, use_errno=True)


def content(size_bytes: int) -> bytes:
    """Pages that are half random and half zeros: they compress about 2:1, as memory does."""
    half = PAGE_BYTES // 2
    pages = -(-size_bytes // PAGE_BYTES)
    return b"".join(os.urandom(half) + bytes(half) for _ in range(pages))[:size_bytes]


def small_pages_only() -> None:
    """No transparent huge pages here and in children: one allocation charges what it says."""
    _libc.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """SIGKILL to this process when its parent, of that pid, ends, or if it has ended already."""
    _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + _SIGKILL)


class Memory:
    """Private anonymous memory held in chunks; each allocation is timed on the board."""

    def __init__(self, chunk: bytes, latencies: memoryview[int]) -> None:
        self._chunk = chunk
        self._latencies = latencies
        self._allocated = 0
        self._fixed: list[mmap.mmap] = []
        self._held: list[mmap.mmap] = []
        self._cursor = 0
        self._owed_s = 0.0
        self.chunk_cpu_s = 0.0
        """CPU that touching a chunk takes when nothing is in the way; part of recorded CPU."""

    @property
    def held(self) -> int:
        """Chunks held at the moment, besides those held for good."""
        return len(self._held)

    def hold(self, chunks: int) -> None:
        """Hold so many chunks for good; children do not get them, so that forking is cheap.

        Learns `chunk_cpu_s` (the median) on the way.
        """
        costs_s: list[float] = []
        for _ in range(chunks):
            begun_s = time.thread_time()
            self._fixed.append(self._touched())
            costs_s.append(time.thread_time() - begun_s)
        self.chunk_cpu_s = sorted(costs_s)[chunks // 2] if costs_s else 0.0

    def play(self, steps: list[Step], *, begun_s: float | None = None) -> float:
        """Go through `steps`; returns when the last was to end, or when it did if that was later.

        A step that is held up (an allocation waits, the CPU is taken) ends late and those after
        it move back; nothing is made up for. Only the time by which the kernel oversleeps is.
        """
        due_s = time.monotonic() if begun_s is None else begun_s
        for step in steps:
            change = step.chunks - len(self._held)
            parts = max(1, abs(change))
            for part in range(1, parts + 1):
                if change > 0:
                    self._allocate()
                    self._owed_s -= self.chunk_cpu_s
                elif change < 0:
                    self._held.pop().close()
                self._burn(step.cpu_s / parts)
                ahead_s = due_s + step.duration_s * part / parts - time.monotonic()
                if ahead_s > SLEEP_MIN_S:
                    time.sleep(ahead_s)
            due_s = due_s + step.duration_s if ahead_s > 0 else time.monotonic()
        return due_s

    def _allocate(self) -> None:
        """Map and touch one chunk; an allocation that never ends leaves its beginning."""
        begun_ns = time.monotonic_ns()
        self._latencies[self._allocated] = -begun_ns
        self._held.append(self._touched())
        self._latencies[self._allocated] = max(1, time.monotonic_ns() - begun_ns)
        self._allocated += 1

    def _touched(self) -> mmap.mmap:
        chunk = mmap.mmap(-1, len(self._chunk), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        chunk.madvise(mmap.MADV_DONTFORK)
        chunk[:] = self._chunk
        return chunk

    def _burn(self, cpu_s: float) -> None:
        """Use `cpu_s` of CPU time; what was used too much before is taken off."""
        self._owed_s += cpu_s
        if self._owed_s <= 0:
            return
        begun_s = time.thread_time()
        used_s = 0.0
        while used_s < self._owed_s:
            zlib.crc32(self._piece())
            used_s = time.thread_time() - begun_s
        self._owed_s -= used_s

    def _piece(self) -> bytes:
        """The next piece of all that is held, in turn: what was reclaimed is needed again."""
        pieces = len(self._chunk) // BURN_BYTES
        chunks = len(self._fixed) + len(self._held)
        self._cursor = (self._cursor + 1) % (pieces * max(1, chunks))
        index, piece = divmod(self._cursor, pieces)
        if index < len(self._fixed):
            source: mmap.mmap | bytes = self._fixed[index]
        elif chunks:
            source = self._held[index - len(self._fixed)]
        else:
            source = self._chunk
        return source[piece * BURN_BYTES : (piece + 1) * BURN_BYTES]
